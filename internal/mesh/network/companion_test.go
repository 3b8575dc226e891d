package network

import (
	"testing"

	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"pgregory.net/rapid"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

var (
	tls  = []v1alpha1.EgressPort{{Port: 443, Protocol: v1alpha1.ProtocolTLS}}
	db   = []v1alpha1.EgressPort{{Port: 5432, Protocol: v1alpha1.ProtocolTCP}}
	dest = rapid.SampledFrom([]v1alpha1.EgressTarget{
		{Hosts: []v1alpha1.ExternalHost{"api.example.com"}, Ports: tls},
		{CIDRs: []v1alpha1.CIDR{"203.0.113.0/24"}, Ports: db},
		{Namespace: "shop"},
		{Namespace: "payments"},
		{Service: &v1alpha1.ServiceReference{Namespace: "shop", Name: "ghost"}},
	})
	selector = rapid.SampledFrom([]map[string]string{nil, {"app": "api"}, {"app": "ledger"}})
)

func draw(t *rapid.T) (posture.Posture, facts.Facts) {
	p := posture.Posture{Namespace: "payments", Egress: &posture.Egress{Default: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceNetwork}}
	for i := range rapid.IntRange(0, 5).Draw(t, "rules") {
		p.Egress.Rules = append(p.Egress.Rules, posture.EgressRule{
			Name: string(rune('a' + i)), Selector: selector.Draw(t, "selector"), To: []v1alpha1.EgressTarget{dest.Draw(t, "to")},
		})
	}
	f := facts.Facts{
		Mesh: facts.Mesh{RootNamespace: "istio-system", ClusterDomain: "cluster.local"},
		Network: facts.Network{
			PolicyEnforced: rapid.SampledFrom([]facts.Tristate{facts.Unknown, facts.Yes, facts.No}).Draw(t, "enforced"),
			ClusterCIDRs:   []string{"10.0.0.0/8", "fd00::/8"}, DNS: facts.DNS{Namespace: "kube-system"},
		},
	}
	return p, f
}

func compile(p posture.Posture, f facts.Facts) Companion {
	var g mesh.Grouping
	for _, r := range p.Egress.Rules {
		g.Add(r)
	}
	return Compile(p, f, g.Groups())
}

// NetworkPolicies add up, and any of them alone has to let through all that its
// workloads need: a plan may have written only one.
func TestEveryPolicyIsSufficientAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := draw(t)
		var whole *netv1.NetworkPolicy
		for _, o := range compile(p, f).Objects {
			np, ok := o.(*netv1.NetworkPolicy)
			if !ok {
				t.Fatalf("%T", o)
			}
			if whole == nil {
				whole = np
			}
			for _, want := range whole.Spec.Egress {
				if !has(np.Spec.Egress, want) {
					t.Fatalf("%s lacks what the whole namespace may do: %v", np.Name, want)
				}
			}
		}
	})
}

func has(rules []netv1.NetworkPolicyEgressRule, want netv1.NetworkPolicyEgressRule) bool {
	for _, r := range rules {
		if equality.Semantic.DeepEqual(r, want) {
			return true
		}
	}
	return false
}

// No entry leaves out where to, and no port leaves out its protocol, which the
// API server would fill in.
func TestNothingIsLeftToDefaults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := draw(t)
		for _, o := range compile(p, f).Objects {
			np, ok := o.(*netv1.NetworkPolicy)
			if !ok {
				t.Fatalf("%T", o)
			}
			for _, r := range np.Spec.Egress {
				if len(r.To) == 0 {
					t.Fatalf("%s opens everything", np.Name)
				}
				for _, port := range r.Ports {
					if port.Protocol == nil || port.Port == nil {
						t.Fatalf("%s: %v", np.Name, port)
					}
				}
			}
		}
	})
}

// Network is reached only with evidence, and not while a rule opens the outside.
func TestAssuranceNeedsEvidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := draw(t)
		c := compile(p, f)
		open := false
		for _, r := range p.Egress.Rules {
			open = open || len(r.To[0].Hosts) > 0
		}
		if want := f.Network.PolicyEnforced == facts.Yes && !open; (c.Assurance == v1alpha1.AssuranceNetwork) != want {
			t.Fatalf("assurance %s with enforcement %q, open: %t", c.Assurance, f.Network.PolicyEnforced, open)
		}
	})
}
