package network

import (
	"net/netip"
	"slices"
	"strings"

	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Companion is the NetworkPolicies beside a mesh's own resources.
type Companion struct {
	Objects []mesh.Object
	// Assurance achieved: Network where NetworkPolicy is known to be enforced
	// on every pod and no rule opens all of the outside; Gateway where besides no
	// rule opens anything of it but by the egress gateway, which is there.
	Assurance v1alpha1.EgressAssurance

	facts  facts.Facts
	egress *posture.Egress
	own    string
	holder map[string]string
}

// Compile writes the NetworkPolicies for the groups of egress rules that the
// mesh's own resources are written for, the namespace's own first, and the one
// for callers where calls are denied by default.
func Compile(p posture.Posture, f facts.Facts, groups []mesh.Group) Companion {
	c := Companion{Assurance: v1alpha1.AssuranceNetwork, facts: f, egress: p.Egress, own: p.Namespace, holder: map[string]string{}}
	if g := p.Egress.Gateway; p.Egress.Assurance == v1alpha1.AssuranceGateway && g != nil && g.Ready {
		c.Assurance = v1alpha1.AssuranceGateway
	}
	outside := func(g mesh.Group) bool { return slices.ContainsFunc(g.Rules, c.opensTheOutside) }
	if f.Network.PolicyEnforced != facts.Yes || slices.ContainsFunc(groups, outside) || slices.ContainsFunc(f.Pods, onHostNetwork) {
		c.Assurance = v1alpha1.AssuranceProxy
	}
	shared := append(necessities(p, f), allowances(groups[0].Rules, p, f)...)
	for i, g := range groups {
		rule, allowed := "", slices.Clone(shared)
		if i > 0 {
			rule = g.Rules[0].Name
			for _, a := range allowances(g.Rules, p, f) {
				allowed = with(allowed, a)
			}
		}
		np := policy(p, g.Name(), rule)
		np.Spec = netv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: g.Selector},
			PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeEgress},
			Egress:      allowed,
		}
		c.Objects = append(c.Objects, np)
		for _, r := range g.Rules {
			c.holder[r.Name] = np.Kind + "/" + np.Name
		}
	}
	if a := p.Authorization; a != nil && a.Default == v1alpha1.DefaultDeny {
		c.Objects = append(c.Objects, ingress(p, a)...)
	}
	return c
}

func policy(p posture.Posture, name, rule string) *netv1.NetworkPolicy {
	return &netv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: netv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: mesh.Meta(p, name, rule),
	}
}

// opensTheOutside says whether a rule names hosts, which a NetworkPolicy can
// only let through by opening a port to every outside address, unless an egress
// gateway is between.
func (c Companion) opensTheOutside(r posture.EgressRule) bool {
	return !c.egress.Through(r) && slices.ContainsFunc(r.To, func(t v1alpha1.EgressTarget) bool { return len(t.Hosts) > 0 })
}

// onHostNetwork says whether a pod uses the node's network, where no
// NetworkPolicy applies.
func onHostNetwork(p facts.Pod) bool { return slices.Contains(p.Bypass, facts.HostNetwork) }

// Writes names the NetworkPolicy that holds a rule, as KIND/NAME.
func (c Companion) Writes(r posture.EgressRule) []string {
	if h, ok := c.holder[r.Name]; ok {
		return []string{h}
	}
	return nil
}

// Assess says what NetworkPolicy makes of a rule.
func (c Companion) Assess(r posture.EgressRule, a *mesh.Assessment) {
	if c.facts.Network.PolicyEnforced != facts.Yes {
		a.Say(v1alpha1.VerdictNeedsPrerequisite, "nothing shows that the cluster's network enforces NetworkPolicy, so that the mesh proxy alone holds it; if it does, run the operator with --network-policy-enforced=true")
	}
	if slices.ContainsFunc(c.facts.Select(r.Selector), onHostNetwork) {
		a.Say(v1alpha1.VerdictNeedsPrerequisite, "no NetworkPolicy applies to a pod on the node's network; take hostNetwork from these workloads")
	}
	for _, t := range r.To {
		switch {
		case len(t.Hosts) > 0 && !c.egress.Through(r):
			c.assessHosts(r, t, a)
		case t.Service != nil && string(t.Service.Namespace) != c.own:
			c.assessService(*t.Service, a)
		}
	}
}

func (c Companion) assessHosts(r posture.EgressRule, t v1alpha1.EgressTarget, a *mesh.Assessment) {
	var ports []int32
	for _, p := range t.Ports {
		ports = append(ports, p.Port)
	}
	slices.Sort(ports)
	reach := "every address outside the cluster"
	if v4, v6 := inside(c.facts.Network.ClusterCIDRs); len(v4) == 0 && len(v6) == 0 {
		reach = "every address, also inside the cluster (the operator's --cluster-cidrs is empty),"
	}
	if r.Via == v1alpha1.ViaDirect {
		a.Say(v1alpha1.VerdictEnforced, "looser than via Gateway, as declared: a process that bypasses its proxy reaches %s on port %s; a host with an address inside it needs a rule with cidrs besides", reach, mesh.Some(ports))
		return
	}
	a.Say(v1alpha1.VerdictLooser, "NetworkPolicy can't match host names: a process that bypasses its proxy reaches %s on port %s; say via: Direct to accept that, use cidrs, or an egress gateway", reach, mesh.Some(ports))
}

func (c Companion) assessService(s v1alpha1.ServiceReference, a *mesh.Assessment) {
	svc, ok := service(c.facts, s)
	if ok && !selectsPods(svc) {
		a.Say(v1alpha1.VerdictNeedsPrerequisite, "service %s/%s selects no pods, so that NetworkPolicy can't let it through and its traffic is stopped; add a rule with the cidrs of its addresses", s.Namespace, s.Name)
	}
}

// inside splits the cluster's address ranges into IPv4 and IPv6, sorted.
func inside(cidrs []string) (v4, v6 []string) {
	for _, c := range cidrs {
		prefix, err := netip.ParsePrefix(c)
		switch {
		case err != nil:
		case prefix.Addr().Is4():
			v4 = append(v4, prefix.Masked().String())
		default:
			v6 = append(v6, prefix.Masked().String())
		}
	}
	slices.SortFunc(v4, strings.Compare)
	slices.SortFunc(v6, strings.Compare)
	return slices.Compact(v4), slices.Compact(v6)
}
