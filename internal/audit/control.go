package audit

import (
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func controlChecks() []Check {
	return []Check{
		{
			ID: "CTL-002", Title: "calls are led or mirrored out of where they belong", Severity: v1alpha1.SeverityCritical,
			Compliance:  []string{"NIST SP 800-204A SM-DR12"},
			Remediation: "take the destination out of the VirtualService; where calls have to go there, add an egress rule for its host, service or namespace",
			Limits:      "Looked at are VirtualServices for calls within the mesh, of the namespace and of the mesh's root namespace where they are exported to it, and for the cluster as a whole those by which a namespace leads away the calls of others for hosts that are not its own; not routes of the Gateway API. Destinations in a namespace in which a gateway of the mesh runs are taken for that gateway. High where it is another namespace, Critical where it is outside the cluster.",
			References:  []string{"https://istio.io/latest/docs/reference/config/networking/virtual-service/", "https://istio.io/latest/news/security/istio-security-2026-002/"},
			examine:     ledAway, cluster: ledAwayByOthers,
		},
		{
			ID: "CTL-003", Title: "somebody adds code or settings to the proxies", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-204A SM-DR12"},
			Remediation: "express it by the profile or by the mesh's own kinds and delete it; where it is needed, have it reviewed and an exception from CTL-003 granted",
			Limits:      "EnvoyFilters and WasmPlugins are known by name alone: which workloads they select, and what they do, is not read. Medium where the mesh's root namespace has it, whose administrators decide about every proxy anyway.",
			References:  []string{"https://istio.io/latest/docs/reference/config/networking/envoy-filter/", "https://istio.io/latest/docs/reference/config/proxy_extensions/wasm-plugin/"},
			examine:     proxyCode,
		},
		{
			ID: "CTL-009", Title: "an object of the operator was changed and is left so", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-204A SM-DR12"},
			Remediation: "undo the change, or set drift.policy to Correct and take off the annotation that pauses the profile; where somebody keeps changing it, stop who does",
			Limits:      "What is corrected at once is no finding; status.drift and the metric meshsec_drift_total tell of it.",
			References:  []string{"https://istio.io/latest/docs/ops/best-practices/security/"},
			examine:     driftLeft,
		},
	}
}

// driftLeft reports what is not as desired and not corrected.
func driftLeft(s *Scene) []Finding {
	var out []Finding
	for _, d := range s.Drift {
		out = append(out, open(d.Resource, "it is not as the profile has it, and is left so: %s", d.What))
	}
	return out
}

// proxyCode looks for objects that change proxies in ways that nobody here can judge.
func proxyCode(s *Scene) []Finding {
	var out []Finding
	for _, i := range s.Influences {
		if i.Kind != "EnvoyFilter" && i.Kind != "WasmPlugin" {
			continue
		}
		f := open(facts.Source{Kind: i.Kind, Namespace: i.Namespace, Name: i.Name}.In(s.Facts.Namespace.Name), "it %s", i.What)
		if i.Namespace != s.Facts.Namespace.Name {
			f.Severity = v1alpha1.SeverityMedium
		}
		out = append(out, f)
	}
	return out
}

// ledAway looks for routes that lead calls elsewhere than to whom they are for.
func ledAway(s *Scene) []Finding {
	var out []Finding
	for _, r := range s.Routings {
		subject := facts.Source{Kind: "VirtualService", Namespace: r.Namespace, Name: r.Name}.In(s.Facts.Namespace.Name)
		var outside, elsewhere []string
		for _, d := range r.Destinations {
			if slices.ContainsFunc(r.Hosts, func(h string) bool { return same(h, d) }) {
				continue
			}
			namespace, inside := s.place(r, d)
			switch {
			case !inside && !s.declaredByAny(d):
				outside = append(outside, d)
			case inside && !s.belongs(r, d, namespace):
				elsewhere = append(elsewhere, d)
			}
		}
		slices.Sort(outside)
		slices.Sort(elsewhere)
		switch {
		case len(outside) > 0:
			out = append(out, open(subject, "it leads or mirrors calls for %s to %s, outside of the cluster", mesh.Some(r.Hosts), mesh.Some(append(outside, elsewhere...))))
		case len(elsewhere) > 0:
			f := open(subject, "it leads or mirrors calls for %s to %s, of another namespace", mesh.Some(r.Hosts), mesh.Some(elsewhere))
			f.Severity = v1alpha1.SeverityHigh
			out = append(out, f)
		case r.Delegates:
			out = append(out, unknown(subject, "it leaves calls for %s to another VirtualService, which is not looked up", mesh.Some(r.Hosts)))
		}
	}
	return out
}

// same says whether calls for a host that go to another one stay where they
// belong: one of its names, where it is a wildcard below somebody's own domain.
func same(host, destination string) bool {
	return host == destination || (strings.Count(host, ".") > 1 && effective.Covers(host, destination))
}

// place is the namespace of the service that a host stands for, as a
// VirtualService has it: a short name is one of its own namespace; false for a
// host outside of the cluster.
func (s *Scene) place(r facts.Routing, host string) (namespace string, inside bool) {
	short, full := strings.CutSuffix(host, ".svc."+s.domain())
	if !full {
		short, full = strings.CutSuffix(host, ".svc")
	}
	name, namespace, dotted := strings.Cut(short, ".")
	switch {
	case !dotted:
		namespace = r.Namespace
	case !full && namespace != r.Namespace:
		return "", false
	}
	if svc, ok := s.service(namespace, name); ok && svc.External && !s.clusterHost(svc.ExternalName) && !s.declaredByAny(svc.ExternalName) {
		return "", false
	}
	return namespace, true
}

func (s *Scene) service(namespace, name string) (facts.Service, bool) {
	for key, svc := range s.Facts.Services {
		if key.Namespace == namespace && key.Name == name {
			return svc, true
		}
	}
	return facts.Service{}, false
}

// belongs says whether calls for the hosts of a VirtualService may go to a
// service of a namespace: theirs, a gateway's, or one that an egress rule names.
func (s *Scene) belongs(r facts.Routing, host, namespace string) bool {
	theirs := !slices.ContainsFunc(r.Hosts, func(h string) bool {
		ns, inside := s.place(r, h)
		return (!inside || ns != namespace) && !strings.HasPrefix(host, h+".svc")
	})
	gateway := slices.ContainsFunc(s.Facts.Dependants.Agents, func(a facts.Agent) bool {
		return a.Role == facts.RoleGateway && a.Namespace == namespace
	})
	if (theirs && len(r.Hosts) > 0) || gateway || namespace == s.Facts.Namespace.Name {
		return true
	}
	if s.Posture.Egress == nil {
		return false
	}
	name, _, _ := strings.Cut(host, ".")
	for _, rule := range s.Posture.Egress.Rules {
		for _, to := range rule.To {
			if string(to.Namespace) == namespace || (to.Service != nil && string(to.Service.Namespace) == namespace && string(to.Service.Name) == name) {
				return true
			}
		}
	}
	return false
}
