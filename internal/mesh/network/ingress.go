package network

import (
	"slices"

	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// ingress lets in the namespaces and addresses that some rule lets call. It is
// one object for the namespace, and wider than the rules, which the mesh holds:
// it must never stop what they allow. One more for each exemption lets
// everybody in.
func ingress(p posture.Posture, a *posture.Authorization) []mesh.Object {
	rules := []netv1.NetworkPolicyIngressRule{{Ports: tcpPorts(facts.AgentPorts())}}
	for _, r := range a.Rules {
		if r.Action == v1alpha1.RuleDeny {
			continue
		}
		from := callers(r.From)
		if len(from) == 0 && !r.From.Anyone {
			continue
		}
		rules = append(rules, netv1.NetworkPolicyIngressRule{From: from, Ports: called(r.To)})
	}
	np := policy(p, mesh.Name("ingress"), "")
	np.Spec = netv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{},
		PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeIngress},
		Ingress:     rules,
	}
	out := []mesh.Object{np}
	for _, e := range a.Exempt {
		open := policy(p, mesh.Part(mesh.Name("ingress"), e.Name), v1alpha1.KindException+"/"+e.Name)
		open.Spec = netv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: e.Selector},
			PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeIngress},
			Ingress:     []netv1.NetworkPolicyIngressRule{{}},
		}
		out = append(out, open)
	}
	return out
}

// callers are a rule's as addresses and namespaces; none for everybody.
func callers(c posture.Callers) []netv1.NetworkPolicyPeer {
	if c.Anyone {
		return nil
	}
	var out []netv1.NetworkPolicyPeer
	if c.AnyAuthenticated {
		out = append(out, netv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}})
	} else {
		namespaces := slices.Clone(c.Namespaces)
		for _, sa := range c.ServiceAccounts {
			namespaces = append(namespaces, sa.Namespace)
		}
		slices.Sort(namespaces)
		for _, ns := range slices.Compact(namespaces) {
			out = append(out, peer(namespaceLabels(ns), nil))
		}
	}
	for _, b := range c.IPBlocks {
		block := &netv1.IPBlock{CIDR: string(b.CIDR)}
		for _, e := range b.Except {
			block.Except = append(block.Except, string(e))
		}
		out = append(out, netv1.NetworkPolicyPeer{IPBlock: block})
	}
	return out
}

// called are the ports of a rule, none where some of its operations name none.
func called(to []v1alpha1.Operation) []netv1.NetworkPolicyPort {
	var ports []int32
	for _, op := range to {
		if len(op.Ports) == 0 {
			return nil
		}
		ports = append(ports, op.Ports...)
	}
	return tcpPorts(ports)
}
