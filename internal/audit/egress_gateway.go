package audit

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

func egressGatewayChecks() []Check {
	return []Check{
		{
			ID: "EGR-007", Title: "workloads leave past the egress gateway", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 1.3.2", "NIST SP 800-204A SM-DR12"},
			Remediation: "declare egress with defaultAction Deny and assurance Gateway, with no rule that goes directly out on the same port: the route, the NetworkPolicy and the policy at the gateway are then written; or write a NetworkPolicy that lets workloads out to the gateway alone",
			Limits:      "Looked at are egress rules that leave by a gateway, and VirtualServices of others that lead hosts outside the cluster to a service of a gateway, which is known by the arguments of its pods' proxy. Where the profile declares defaultAction Allow or assurance Proxy nothing is looked for. Tried is an address outside the cluster, by IPv4. Policies of other APIs (Cilium, Calico, AdminNetworkPolicy) are not read.",
			References:  []string{"https://istio.io/latest/docs/tasks/traffic-management/egress/egress-gateway/#additional-security-considerations", "https://istio.io/latest/docs/ops/best-practices/security/"},
			examine:     avoidableGateway,
		},
	}
}

// avoidableGateway looks for hosts that are meant to be reached by an egress
// gateway alone, and are reached past it.
func avoidableGateway(s *Scene) []Finding {
	return append(s.pastDeclaredGateway(), s.pastForeignGateway()...)
}

// pastDeclaredGateway looks at the rules whose traffic leaves by a gateway.
func (s *Scene) pastDeclaredGateway() []Finding {
	e := s.Posture.Egress
	if e == nil || e.Default != v1alpha1.DefaultDeny || e.Assurance == v1alpha1.AssuranceProxy || e.Gateway == nil {
		return nil
	}
	var out []Finding
	subject := "Namespace/" + s.Facts.Namespace.Name
	var past, unled []string
	for _, r := range e.Rules {
		for _, x := range exitsOf(*e, r) {
			if !s.leads(x.Host) {
				unled = append(unled, x.Host)
			}
			if slices.ContainsFunc(s.Facts.Select(r.Selector), func(p facts.Pod) bool { return s.goesPast(p, x.Port).Passes }) {
				past = append(past, fmt.Sprintf("%s on port %d", x.Host, x.Port))
			}
		}
	}
	switch through := len(past) > 0 || s.throughGateway(); {
	case !through || len(s.Facts.Pods) == 0:
		return nil
	case len(past) > 0:
		what := "the network lets a workload that goes past its proxy out to " + listed(past)
		if len(unled) > 0 {
			what += fmt.Sprintf("; nothing leads calls for %s to the gateway", listed(unled))
		}
		out = append(out, open(subject, "%s", what))
	case s.Facts.Network.PolicyEnforced == facts.No:
		out = append(out, open(subject, "this cluster's network does not enforce NetworkPolicy, by --network-policy-enforced: a workload that goes past its proxy goes past the gateway"))
	case s.Facts.Network.PolicyEnforced == facts.Unknown:
		out = append(out, unknown(subject, "nothing tells whether this cluster's network enforces NetworkPolicy; where it does not, a workload that goes past its proxy goes past the gateway"))
	}
	if len(unled) == 0 && !s.guardsGateway() {
		out = append(out, open("Namespace/"+e.Gateway.Namespace, "no policy at the egress gateway says that only namespace %s may use its routes there", s.Facts.Namespace.Name))
	}
	return out
}

// throughGateway says whether a rule leaves by the gateway to a host by name.
func (s *Scene) throughGateway() bool {
	e := *s.Posture.Egress
	return slices.ContainsFunc(e.Rules, func(r posture.EgressRule) bool { return len(exitsOf(e, r)) > 0 })
}

// exitsOf are the hosts and ports of a rule that leave by the gateway. A wildcard
// has no route there.
func exitsOf(e posture.Egress, r posture.EgressRule) []effective.Exit {
	if !e.Through(r) {
		return nil
	}
	var out []effective.Exit
	for _, to := range r.To {
		for _, h := range to.Hosts {
			for _, p := range to.Ports {
				if !strings.HasPrefix(string(h), "*") {
					out = append(out, effective.Exit{Host: string(h), Port: p.Port})
				}
			}
		}
	}
	return out
}

// leads says whether an object of the operator leads calls for a host somewhere.
func (s *Scene) leads(host string) bool {
	ours, _ := of[*networkingv1.VirtualService](s)
	return slices.ContainsFunc(ours, func(v *networkingv1.VirtualService) bool { return slices.Contains(v.Spec.GetHosts(), host) })
}

// guardsGateway says whether the operator's policy at the gateway is there.
func (s *Scene) guardsGateway() bool {
	ours, _ := of[*securityv1.AuthorizationPolicy](s)
	return slices.ContainsFunc(ours, func(o *securityv1.AuthorizationPolicy) bool { return mesh.AtGateway(o) })
}

// goesPast says what the network does with a connection out that goes past the proxy.
func (s *Scene) goesPast(p facts.Pod, port int32) effective.Answer {
	return s.passes(effective.NetworkOut, effective.Exit{From: p.Labels, Address: outside, Port: port})
}

// pastForeignGateway looks at what others lead to an egress gateway of their own.
func (s *Scene) pastForeignGateway() []Finding {
	if e := s.Posture.Egress; s.openByChoice() || (e != nil && e.Assurance == v1alpha1.AssuranceProxy) {
		return nil
	}
	var past []string
	for _, w := range s.workloads() {
		if slices.ContainsFunc(alike(w), func(p facts.Pod) bool { return s.goesPast(p, 0).Passes }) {
			past = append(past, w.String())
		}
	}
	var out []Finding
	for _, r := range s.Routings {
		if len(r.Gateways) == 0 || len(s.Facts.Pods) == 0 {
			continue
		}
		subject := facts.Source{Kind: "VirtualService", Namespace: r.Namespace, Name: r.Name}.In(s.Facts.Namespace.Name)
		what := fmt.Sprintf("it leads calls for %s to the egress gateway %s", mesh.Some(r.Hosts), mesh.Some(r.Gateways))
		switch {
		case len(past) > 0:
			out = append(out, open(subject, "%s, and no NetworkPolicy keeps %s from going out past it", what, mesh.Some(past)))
		case s.Facts.Network.PolicyEnforced == facts.No:
			out = append(out, open(subject, "%s, and this cluster's network does not enforce NetworkPolicy, by --network-policy-enforced, so that workloads may go out past it", what))
		case s.Facts.Network.PolicyEnforced == facts.Unknown:
			out = append(out, unknown(subject, "%s, and nothing tells whether this cluster's network enforces NetworkPolicy, which keeps workloads from going out past it", what))
		}
	}
	return out
}
