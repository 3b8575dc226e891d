package audit

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// meshWebhooks are istiod's, as its charts have them.
func meshWebhooks() []facts.WebhookConfiguration {
	istiod := types.NamespacedName{Namespace: "istio-system", Name: "istiod"}
	return []facts.WebhookConfiguration{
		{Source: facts.Source{Kind: "MutatingWebhookConfiguration", Name: "istio-sidecar-injector"}, Injector: true, Revision: "default", Hooks: []facts.Webhook{{
			Name: "namespace.sidecar-injector.istio.io", Service: istiod, Exists: true,
			Namespaces: facts.LabelSelector{Requirements: []facts.Requirement{{Key: "istio-injection", Operator: "In", Values: []string{"enabled"}}, {Key: "kubernetes.io/metadata.name", Operator: "NotIn", Values: []string{"kube-system"}}}},
			Objects:    facts.LabelSelector{Requirements: []facts.Requirement{{Key: "sidecar.istio.io/inject", Operator: "NotIn", Values: []string{"false"}}}},
		}}},
		{Source: facts.Source{Kind: "ValidatingWebhookConfiguration", Name: "istio-validator-istio-system"}, Revision: "default", Hooks: []facts.Webhook{{
			Name: "rev.validation.istio.io", Service: istiod, Exists: true,
			Objects: facts.LabelSelector{Requirements: []facts.Requirement{{Key: "istio.io/rev", Operator: "In", Values: []string{"default"}}}},
		}}},
	}
}

var webhookCases = []examinedCluster{
	{"CTL-005", "pods start without", func(s *ClusterScene) { s.Control.Webhooks[0].Hooks[0].Open = true },
		[]string{"MutatingWebhookConfiguration/istio-sidecar-injector: while istiod does not answer, pods start without a proxy"}},
	{"CTL-005", "configuration goes through", func(s *ClusterScene) { s.Control.Webhooks[1].Hooks[0].Open = true },
		[]string{"ValidatingWebhookConfiguration/istio-validator-istio-system: while istiod does not answer, what istiod can't use is let in"}},
	{"CTL-005", "no service", func(s *ClusterScene) { s.Control.Webhooks[0].Hooks[0].Exists = false },
		[]string{"MutatingWebhookConfiguration/istio-sidecar-injector: it calls service istio-system/istiod, which does not exist: no pod gets a proxy"}},
	{"CTL-005", "a label of a tenant's", func(s *ClusterScene) {
		h := &s.Control.Webhooks[0].Hooks[0]
		h.Namespaces.Requirements = append(h.Namespaces.Requirements, facts.Requirement{Key: "legacy", Operator: "DoesNotExist"})
		h.Objects.Labels = map[string]string{"mesh": "yes"}
		h.Conditions = []string{"not-batch"}
	}, []string{"MutatingWebhookConfiguration/istio-sidecar-injector: it is asked about a part alone, by the label legacy of namespaces (DoesNotExist), the label mesh=yes of objects, the match condition not-batch: for the rest pods start without a proxy"}},
	{"CTL-005", "none", func(s *ClusterScene) { s.Control.Webhooks = nil },
		[]string{"Deployment/istio-system/istiod: no MutatingWebhookConfiguration has the API server ask it: no pod gets a proxy", "Deployment/istio-system/istiod: no ValidatingWebhookConfiguration"}},
	{"CTL-005", "one that asks nothing", func(s *ClusterScene) { s.Control.Webhooks[0].Hooks = nil },
		[]string{"Deployment/istio-system/istiod: no MutatingWebhookConfiguration"}},
	{"CTL-005", "by a tag alone", func(s *ClusterScene) { s.Control.Webhooks[0].Revision = "stable" }, nil},
	{"CTL-005", "outside of the cluster", func(s *ClusterScene) { s.Control.Webhooks[0].Hooks[0].Service = types.NamespacedName{} }, nil},
	{"CTL-005", "not read", func(s *ClusterScene) {
		s.Unread, s.Control.Webhooks = []string{"MutatingWebhookConfiguration.admissionregistration.k8s.io"}, s.Control.Webhooks[1:]
	}, []string{"MutatingWebhookConfiguration.admissionregistration.k8s.io/*: nothing tells whether pods get proxies"}},
}
