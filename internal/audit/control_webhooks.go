package audit

import (
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func webhookChecks() []Check {
	return []Check{{
		ID: "CTL-005", Title: "istiod's webhooks leave something out", Severity: v1alpha1.SeverityHigh,
		Compliance:  []string{"NIST SP 800-204A SM-DR12"},
		Remediation: "install the webhooks again as Istio's charts have them; to leave a namespace or a pod out, use Istio's own labels, which ENR-001 and ENR-002 report",
		Limits: "Looked at are configurations with the names and labels of Istio's charts, of the istiods in the mesh's namespace and outside of the cluster. Istio's charts have validation go through until istiod is ready, and istiod changes that itself. " +
			"Which authority a webhook trusts, what its rules ask about, and whether istiod answers it, is not looked at. Labels of namespaces that the API server itself sets, like kubernetes.io/metadata.name, leave nothing out that a tenant decides.",
		References: []string{"https://istio.io/latest/docs/ops/configuration/mesh/webhook/", "https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/", "https://istio.io/latest/docs/reference/config/analysis/ist0139/"},
		Aliases:    []string{"IST0139"},
		Reads:      webhookKinds,
		cluster:    webhooksLeaveOut,
	}}
}

var webhookKinds = []string{"MutatingWebhookConfiguration.admissionregistration.k8s.io", "ValidatingWebhookConfiguration.admissionregistration.k8s.io"}

// ownLabels are those by which Istio's own webhooks choose (istio/istio,
// manifests/charts/istio-control), and one that the API server sets itself.
var ownLabels = []string{"istio-injection", "istio.io/rev", "istio.io/tag", "istio.io/dataplane-mode", "sidecar.istio.io/inject", "kubernetes.io/metadata.name"}

func webhooksLeaveOut(s *ClusterScene) []Finding {
	out := s.untold(webhookKinds, "whether pods get proxies and configuration is looked at")
	for _, c := range s.Control.Webhooks {
		out = append(out, leftOut(c)...)
	}
	for _, cp := range s.ControlPlanes {
		for i, means := range []string{"no pod gets a proxy", "nobody refuses configuration that it can't use"} {
			asked := slices.ContainsFunc(s.Control.Webhooks, func(c facts.WebhookConfiguration) bool { return c.Injector == (i == 0) && calls(c, cp) })
			if !asked && !slices.Contains(s.Unread, webhookKinds[i]) {
				kind, _, _ := strings.Cut(webhookKinds[i], ".")
				out = append(out, open(cp.In(""), "no %s has the API server ask it: %s", kind, means))
			}
		}
	}
	return out
}

// calls says whether a configuration has the API server ask an istiod: one of its
// revision, or one that calls its service.
func calls(c facts.WebhookConfiguration, cp facts.ControlPlane) bool {
	return len(c.Hooks) > 0 && (c.Revision == cp.Revision ||
		slices.ContainsFunc(c.Hooks, func(h facts.Webhook) bool { return h.Service.Namespace == cp.Namespace && h.Service.Name == cp.Name }))
}

// leftOut are the findings about one configuration.
func leftOut(c facts.WebhookConfiguration) []Finding {
	means, absent := "what istiod can't use is let in", "configuration is looked at by nobody"
	if c.Injector {
		means, absent = "pods start without a proxy", "no pod gets a proxy"
	}
	var opens, missing, holes []string
	for _, h := range c.Hooks {
		if h.Open {
			opens = append(opens, h.Name)
		}
		if h.Service.Name != "" && !h.Exists {
			missing = append(missing, h.Service.String())
		}
		holes = append(holes, requirements("namespaces", h.Namespaces)...)
		holes = append(holes, requirements("objects", h.Objects)...)
		for _, name := range h.Conditions {
			holes = append(holes, "the match condition "+name)
		}
	}
	var out []Finding
	if len(opens) > 0 {
		out = append(out, open(c.In(""), "failurePolicy of %s is Ignore: while istiod does not answer, %s", mesh.Some(opens), means))
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		out = append(out, open(c.In(""), "it calls service %s, which does not exist: %s", mesh.Some(slices.Compact(missing)), absent))
	}
	if len(holes) > 0 {
		slices.Sort(holes)
		out = append(out, open(c.In(""), "it is asked about a part alone, by %s: for the rest %s", mesh.Some(slices.Compact(holes)), strings.Replace(means, "is let in", "is let in unseen", 1)))
	}
	return out
}

// requirements are those of a selector that are not about Istio's own labels, in
// words.
func requirements(of string, s facts.LabelSelector) []string {
	var out []string
	for k, v := range s.Labels {
		if !slices.Contains(ownLabels, k) {
			out = append(out, "the label "+k+"="+v+" of "+of)
		}
	}
	for _, r := range s.Requirements {
		if !slices.Contains(ownLabels, r.Key) {
			out = append(out, "the label "+r.Key+" of "+of+" ("+r.Operator+")")
		}
	}
	return out
}
