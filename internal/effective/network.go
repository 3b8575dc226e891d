package effective

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// isolation is one direction of a NetworkPolicy: it isolates the pods that it
// selects, and lets through what its rules match. Policies of a pod add up.
type isolation struct {
	ref      int
	selector labels.Selector
	rules    []networkRule
}

type networkRule struct {
	peers []networkPeer
	ports []netv1.NetworkPolicyPort
}

// networkPeer is a block of addresses, or pods of some namespaces.
type networkPeer struct {
	block  netip.Prefix
	except []netip.Prefix
	// pods and namespaces are nil where the peer has no such selector; without
	// one for namespaces it is the policy's own.
	pods, namespaces labels.Selector
}

func (m *Model) addNetworkPolicy(o *netv1.NetworkPolicy, ref int) {
	if o.Namespace != m.Namespace {
		return
	}
	types := o.Spec.PolicyTypes
	if len(types) == 0 {
		// As the API server has it.
		types = []netv1.PolicyType{netv1.PolicyTypeIngress}
		if len(o.Spec.Egress) > 0 {
			types = append(types, netv1.PolicyTypeEgress)
		}
	}
	in := isolation{ref: ref, selector: selectorOf(&o.Spec.PodSelector)}
	out := in
	for _, r := range o.Spec.Ingress {
		in.rules = append(in.rules, networkRule{peersOf(r.From), r.Ports})
	}
	for _, r := range o.Spec.Egress {
		out.rules = append(out.rules, networkRule{peersOf(r.To), r.Ports})
	}
	if slices.Contains(types, netv1.PolicyTypeIngress) {
		m.ingress = append(m.ingress, in)
	}
	if slices.Contains(types, netv1.PolicyTypeEgress) {
		m.egress = append(m.egress, out)
	}
}

// selectorOf is nil for no selector; one that can't be read selects nothing.
func selectorOf(s *metav1.LabelSelector) labels.Selector {
	if s == nil {
		return nil
	}
	if len(s.MatchExpressions) == 0 {
		// The API server has looked at the labels.
		return labels.Set(s.MatchLabels).AsSelectorPreValidated()
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return out
}

func peersOf(list []netv1.NetworkPolicyPeer) []networkPeer {
	var out []networkPeer
	for _, p := range list {
		peer := networkPeer{pods: selectorOf(p.PodSelector), namespaces: selectorOf(p.NamespaceSelector)}
		if p.IPBlock != nil {
			peer.block = parseBlock(p.IPBlock.CIDR)
			for _, e := range p.IPBlock.Except {
				peer.except = append(peer.except, parseBlock(e))
			}
		}
		out = append(out, peer)
	}
	return out
}

// wire is a connection as the network sees it.
type wire struct {
	pod      Pod
	address  string
	port     int32
	protocol string
	// server are the labels of the pod that listens, whose ports have names.
	server Labels
	// vague is true where of the other end no more is known than this: other
	// labels, the address where there is none and the port where it is 0 may be any.
	vague bool
}

// lets says whether the network lets a connection of a pod through.
func (m *Model) lets(direction []isolation, pod Labels, w *wire) verdict {
	isolated, may := -1, -1
	for i := range direction {
		p := &direction[i]
		if !p.selector.Matches(labels.Set(pod)) {
			continue
		}
		if isolated < 0 {
			isolated = p.ref
		}
		for j := range p.rules {
			if m.networkRule(&p.rules[j], w) {
				return verdict{passes, p.ref}
			}
			if w.vague && may < 0 && p.rules[j].may(w, m.Namespace) {
				may = p.ref
			}
		}
	}
	if may >= 0 {
		return verdict{unsure, may}
	}
	if isolated >= 0 {
		return verdict{stops, isolated}
	}
	return verdict{passes, -1}
}

func (m *Model) networkRule(r *networkRule, w *wire) bool {
	return (len(r.peers) == 0 || slices.ContainsFunc(r.peers, func(p networkPeer) bool { return p.matches(w, m.Namespace) })) &&
		(len(r.ports) == 0 || slices.ContainsFunc(r.ports, func(p netv1.NetworkPolicyPort) bool { return m.networkPort(p, w) }))
}

func (p networkPeer) matches(w *wire, own string) bool {
	if p.block.IsValid() {
		a, err := netip.ParseAddr(w.address)
		return err == nil && p.block.Contains(a) &&
			!slices.ContainsFunc(p.except, func(e netip.Prefix) bool { return e.IsValid() && e.Contains(a) })
	}
	if w.pod.Namespace == "" || (p.pods == nil && p.namespaces == nil) {
		return false
	}
	if p.namespaces == nil && w.pod.Namespace != own {
		return false
	}
	return (p.namespaces == nil || p.namespaces.Matches(namespaceLabels{w.pod})) &&
		(p.pods == nil || p.pods.Matches(labels.Set(w.pod.Labels)))
}

// may says whether a rule could match what is not known of the other end.
func (r *networkRule) may(w *wire, own string) bool {
	peer := func(p networkPeer) bool {
		switch {
		case p.block.IsValid():
			return w.address == "" || p.matches(w, own)
		case w.pod.Namespace == "" || (p.pods == nil && p.namespaces == nil) || (p.namespaces == nil && w.pod.Namespace != own):
			return false
		}
		return mayMatch(p.namespaces, namespaceLabels{w.pod}) && mayMatch(p.pods, labels.Set(w.pod.Labels))
	}
	port := func(p netv1.NetworkPolicyPort) bool {
		protocol := string(corev1.ProtocolTCP)
		if p.Protocol != nil {
			protocol = string(*p.Protocol)
		}
		switch {
		case protocol != cmp.Or(w.protocol, string(corev1.ProtocolTCP)):
			return false
		case w.port == 0 || p.Port == nil || p.Port.Type == intstr.String:
			return true
		case p.EndPort != nil:
			return w.port >= p.Port.IntVal && w.port <= *p.EndPort
		}
		return w.port == p.Port.IntVal
	}
	return (len(r.peers) == 0 || slices.ContainsFunc(r.peers, peer)) && (len(r.ports) == 0 || slices.ContainsFunc(r.ports, port))
}

// mayMatch: labels that are not known may be any.
func mayMatch(s labels.Selector, have labels.Labels) bool {
	if s == nil {
		return true
	}
	all, selects := s.Requirements()
	return selects && !slices.ContainsFunc(all, func(r labels.Requirement) bool { return have.Has(r.Key()) && !r.Matches(have) })
}

// namespaceLabels are the labels of a pod's namespace; its name is one, which
// nobody can change.
type namespaceLabels struct{ Pod }

// Has is labels.Labels'.
func (n namespaceLabels) Has(label string) bool {
	_, ok := n.Lookup(label)
	return ok
}

// Get is labels.Labels'.
func (n namespaceLabels) Get(label string) string {
	v, _ := n.Lookup(label)
	return v
}

// Lookup is labels.Labels'.
func (n namespaceLabels) Lookup(label string) (string, bool) {
	if label == corev1.LabelMetadataName {
		return n.Namespace, true
	}
	v, ok := n.NamespaceLabels[label]
	return v, ok
}

// networkPort: a named port is the one that the listening pods declare so.
func (m *Model) networkPort(p netv1.NetworkPolicyPort, w *wire) bool {
	protocol := string(corev1.ProtocolTCP)
	if p.Protocol != nil {
		protocol = string(*p.Protocol)
	}
	if protocol != cmp.Or(w.protocol, string(corev1.ProtocolTCP)) {
		return false
	}
	switch {
	case p.Port == nil:
		return true
	case p.Port.Type == intstr.String:
		return slices.Contains(m.named(p.Port.StrVal, w.server), w.port)
	case p.EndPort != nil:
		return w.port >= p.Port.IntVal && w.port <= *p.EndPort
	}
	return w.port == p.Port.IntVal
}

// named are the ports of a name that pods with these labels declare. Of pods
// elsewhere nothing is known, so that any pod's here stand for them.
func (m *Model) named(name string, server Labels) []int32 {
	var out []int32
	for _, pod := range m.Pods {
		if !selects(server, pod.Labels) {
			continue
		}
		for _, c := range pod.Ports {
			if c.Name == name {
				out = append(out, c.Number)
			}
		}
	}
	if len(out) == 0 {
		// A port that no container declares: one of its own for each name.
		out = append(out, namedPort(name))
	}
	return out
}

// namedPort stands for a named port whose number is not known.
func namedPort(name string) int32 {
	n := int32(0)
	for _, c := range name {
		n = n*31 + c
	}
	return 60000 + (n%5000+5000)%5000
}

func (m *Model) networkIn(c *Call) verdict {
	pod := c.From.Pod
	return m.lets(m.ingress, c.To, &wire{pod: pod, address: c.From.Address, port: c.Port, protocol: c.Protocol, server: c.To})
}

func (m *Model) networkOut(e *Exit) verdict {
	if e.Namespace != "" && e.Namespace != m.Namespace {
		return verdict{passes, -1}
	}
	return m.lets(m.egress, e.From, &wire{pod: e.Pod, address: e.Address, port: e.Port, protocol: e.Protocol})
}
