package drift

import (
	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	telemetryapi "istio.io/api/telemetry/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

func isRegistryOnly(s *networkingapi.Sidecar) bool {
	p := s.GetOutboundTrafficPolicy()
	return p != nil && p.GetMode() == networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY
}

// sidecar: where its workloads may go. One that comes or goes weakens: a second
// one takes the first one's place, and without any the mesh's own default holds.
func sidecar(want, have *networkingv1.Sidecar) v1alpha1.Effect {
	if want == nil || have == nil {
		return v1alpha1.EffectWeakens
	}
	w, h := &want.Spec, &have.Spec
	effects := []v1alpha1.Effect{
		labels(w.GetWorkloadSelector().GetLabels(), h.GetWorkloadSelector().GetLabels()).closing(),
		unionOrAny(w.GetEgress(), h.GetEgress(), egressListener).opening(),
	}
	switch {
	case isRegistryOnly(w) && !isRegistryOnly(h):
		effects = append(effects, v1alpha1.EffectWeakens)
	case !isRegistryOnly(w) && isRegistryOnly(h):
		effects = append(effects, v1alpha1.EffectTightens)
	}
	// Inbound listeners, connection limits and an egress proxy: any of them can
	// lead traffic around what is declared.
	rest := func(s *networkingapi.Sidecar) *networkingapi.Sidecar {
		out := &networkingapi.Sidecar{}
		proto.Merge(out, s)
		out.WorkloadSelector, out.Egress = nil, nil
		if p := out.GetOutboundTrafficPolicy(); p != nil {
			p.Mode = 0
			if p.EgressProxy == nil {
				out.OutboundTrafficPolicy = nil
			}
		}
		return out
	}
	effects = append(effects, identical(rest(w), rest(h)).opening())
	return both(effects...)
}

func egressListener(w, h *networkingapi.IstioEgressListener) relation {
	rest := func(l *networkingapi.IstioEgressListener) *networkingapi.IstioEgressListener {
		out := &networkingapi.IstioEgressListener{}
		proto.Merge(out, l)
		out.Hosts = nil
		return out
	}
	return sets(w.GetHosts(), h.GetHosts()).and(identical(rest(w), rest(h)))
}

// serviceEntry: which hosts are known, where every host that is not is refused.
func serviceEntry(want, have *networkingv1.ServiceEntry, b backing) v1alpha1.Effect {
	switch {
	case want == nil:
		return v1alpha1.EffectWeakens
	case have == nil && b.registryOnly():
		return v1alpha1.EffectTightens
	case have == nil:
		// Reached all the same, without its names being checked.
		return v1alpha1.EffectWeakens
	}
	w, h := &want.Spec, &have.Spec
	rest := func(s *networkingapi.ServiceEntry) *networkingapi.ServiceEntry {
		out := &networkingapi.ServiceEntry{}
		proto.Merge(out, s)
		out.Hosts, out.ExportTo, out.Ports, out.SubjectAltNames = nil, nil, nil, nil
		return out
	}
	return sets(w.GetHosts(), h.GetHosts()).
		and(orAny(w.GetExportTo(), h.GetExportTo())). // without it: to every namespace
		and(orAny(w.GetSubjectAltNames(), h.GetSubjectAltNames())).
		and(union(w.GetPorts(), h.GetPorts(), identical[*networkingapi.ServicePort])).
		and(identical(rest(w), rest(h))).opening()
}

func selectsAll(s metav1.LabelSelector) bool {
	return len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}

// networkPolicy: a policy isolates the pods that it selects, and lets its rules
// through; policies of the same pods add up.
func networkPolicy(want, have *netv1.NetworkPolicy, b backing) v1alpha1.Effect {
	switch {
	case want == nil:
		if s := defaulted(have); len(s.Ingress) == 0 && len(s.Egress) == 0 {
			return v1alpha1.EffectTightens
		}
		return v1alpha1.EffectWeakens
	case have == nil && b.isolates(want):
		return v1alpha1.EffectTightens
	case have == nil:
		return v1alpha1.EffectWeakens
	}
	w, h := defaulted(want), defaulted(have)
	in, out := union(ingress(w), ingress(h), networkRule.relate), union(egress(w), egress(h), networkRule.relate)
	return both(podSelector(w, h), in.opening(), out.opening(), sets(w.PolicyTypes, h.PolicyTypes).closing())
}

// networkRule is a rule of either direction.
type networkRule struct {
	peers []netv1.NetworkPolicyPeer
	ports []netv1.NetworkPolicyPort
}

func ingress(s *netv1.NetworkPolicySpec) []networkRule {
	var out []networkRule
	for _, r := range s.Ingress {
		out = append(out, networkRule{r.From, r.Ports})
	}
	return out
}

func egress(s *netv1.NetworkPolicySpec) []networkRule {
	var out []networkRule
	for _, r := range s.Egress {
		out = append(out, networkRule{r.To, r.Ports})
	}
	return out
}

func (r networkRule) relate(have networkRule) relation {
	return unionOrAny(r.peers, have.peers, peer).and(unionOrAny(r.ports, have.ports, port))
}

func peer(w, h netv1.NetworkPolicyPeer) relation {
	switch {
	case equality.Semantic.DeepEqual(w, h):
		return same
	case w.IPBlock != nil && h.IPBlock != nil && w.IPBlock.CIDR == h.IPBlock.CIDR:
		return sets(w.IPBlock.Except, h.IPBlock.Except).inverse()
	}
	return unclear
}

func port(w, h netv1.NetworkPolicyPort) relation {
	if equality.Semantic.DeepEqual(w, h) {
		return same
	}
	return unclear
}

// podSelector: pods that are left out are open. More pods is only certain to
// close where the policy lets nothing through.
func podSelector(w, h *netv1.NetworkPolicySpec) v1alpha1.Effect {
	switch {
	case equality.Semantic.DeepEqual(w.PodSelector, h.PodSelector):
		return v1alpha1.EffectNeutral
	case selectsAll(h.PodSelector) && len(h.Ingress) == 0 && len(h.Egress) == 0:
		return v1alpha1.EffectTightens
	}
	return v1alpha1.EffectWeakens
}

// telemetry: what is logged. To log more is all that can be told to be harmless.
func telemetry(want, have *telemetryv1.Telemetry) v1alpha1.Effect {
	if want == nil || have == nil {
		return v1alpha1.EffectWeakens
	}
	w, h := &want.Spec, &have.Spec
	rest := func(s *telemetryapi.Telemetry) *telemetryapi.Telemetry {
		out := &telemetryapi.Telemetry{}
		proto.Merge(out, s)
		out.AccessLogging = nil
		return out
	}
	return both(identical(rest(w), rest(h)).opening(), pairwise(w.GetAccessLogging(), h.GetAccessLogging(), accessLogging).closing())
}

func accessLogging(w, h *telemetryapi.AccessLogging) relation {
	unfiltered := func(l *telemetryapi.AccessLogging) *telemetryapi.AccessLogging {
		out := &telemetryapi.AccessLogging{}
		proto.Merge(out, l)
		out.Filter = nil
		return out
	}
	switch {
	case proto.Equal(w, h):
		return same
	case proto.Equal(unfiltered(w), unfiltered(h)) && h.GetFilter().GetExpression() == "":
		return wider
	}
	return unclear
}
