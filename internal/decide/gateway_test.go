package decide

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
)

const policyName = "egress.gateway.pay.out"

// leavesByGateway is a profile that reaches one host, through the gateway.
func leavesByGateway(change ...func(*v1alpha1.MeshSecurityProfile)) *v1alpha1.MeshSecurityProfile {
	return profile("main", append([]func(*v1alpha1.MeshSecurityProfile){func(p *v1alpha1.MeshSecurityProfile) {
		p.Spec.Egress = &v1alpha1.Egress{DefaultAction: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceGateway, Rules: []v1alpha1.EgressRule{{
			Name: "api", To: []v1alpha1.EgressTarget{{Hosts: []v1alpha1.ExternalHost{"api.example.com"}, Ports: []v1alpha1.EgressPort{{Port: 443, Protocol: "TLS"}}}},
		}}}
	}}, change...)...)
}

// atTheGateway adds the baseline with its gateway.
func atTheGateway(o facts.Observed, held bool) facts.Observed {
	o.Baselines = []facts.Baseline{{Name: "floor", UID: "uid-floor", Held: held, Spec: &v1alpha1.MeshSecurityBaselineSpec{
		EgressGateway: &v1alpha1.EgressGateway{Namespace: "out", ServiceAccount: "gw", Selector: v1alpha1.Labels{"a": "b"}, Port: 443},
	}}}
	o.Facts.EgressGateway = &facts.EgressGateway{
		Baseline: "floor", UID: "uid-floor", Namespace: "out", ServiceAccount: "gw", Selector: map[string]string{"a": "b"}, Port: 443,
		Exists: true, Service: "gw", Ready: true,
	}
	return o
}

// routed are the live objects that the profile leads to; it remembers them.
func routed(p *v1alpha1.MeshSecurityProfile) []mesh.Object {
	d := Make(atTheGateway(observed(nil, p), true), now)
	p.Status.AppliedDigest = d.Digest
	var out []mesh.Object
	for i, o := range d.Desired {
		o = o.DeepCopyObject().(mesh.Object)
		o.SetUID(types.UID(fmt.Sprint("live-", i)))
		o.SetResourceVersion("5")
		out = append(out, o)
	}
	return out
}

func TestThePolicyAtTheGateway(t *testing.T) {
	live := func(p *v1alpha1.MeshSecurityProfile) facts.Observed {
		good := leavesByGateway()
		o := observed(routed(good), p)
		p.Status.AppliedDigest = good.Status.AppliedDigest
		return atTheGateway(o, true)
	}
	without := func(o facts.Observed) facts.Observed {
		o.Baselines, o.Facts.EgressGateway = nil, nil
		return o
	}
	policy := func(d Decision) (verbs []string) {
		for _, s := range did(d) {
			if f := strings.Fields(s); f[1] == policyName {
				verbs = append(verbs, f[0])
			}
		}
		return verbs
	}
	gone := func(o facts.Observed) facts.Observed {
		o.Profiles, o.Facts.Namespace.Terminating = nil, true
		o.Live = policies(o.Live)
		return o
	}
	for name, r := range map[string]struct {
		observed facts.Observed
		want     []string
		// all is how many steps there are.
		all int
	}{
		"written first":                        {atTheGateway(observed(nil, leavesByGateway()), true), []string{"create"}, 13},
		"nothing to do":                        {live(leavesByGateway()), nil, 0},
		"removed with the profile":             {live(leavesByGateway(deleted)), []string{"delete"}, 13},
		"left with what is retained":           {live(leavesByGateway(deleted, retain)), []string{"replace"}, 13},
		"removed with the baseline":            {without(live(leavesByGateway())), []string{"delete"}, 9},
		"kept while the profile can't be used": {live(leavesByGateway(bad)), nil, 0},
		"not beyond the baseline":              {without(live(leavesByGateway(bad))), []string{"delete"}, 1},
		"removed with the namespace":           {gone(live(leavesByGateway())), []string{"delete"}, 1},
		"removed while the namespace goes": {func() facts.Observed {
			o := live(leavesByGateway(deleted))
			o.Facts.Namespace.Terminating = true
			return o
		}(), []string{"delete"}, 1},
		"nothing in Audit": {live(leavesByGateway(func(p *v1alpha1.MeshSecurityProfile) { p.Spec.EnforcementMode = v1alpha1.ModeAudit })), []string{"delete"}, 13},
		"nothing beside the gateway for a paused profile": {atTheGateway(observed(nil, leavesByGateway(paused)), true), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := Make(r.observed, now)
			if diff := cmp.Diff(r.want, policy(d)); diff != "" || len(d.Steps) != r.all {
				t.Errorf("%v (-want +got):\n%s", did(d), diff)
			}
		})
	}

	if d := Make(atTheGateway(observed(nil, leavesByGateway()), false), now); !d.Unheld(atTheGateway(observed(nil), false)) {
		t.Error("it is written for a baseline that nothing holds")
	}
	if d := Make(live(leavesByGateway()), now); d.Unheld(atTheGateway(observed(nil), false)) {
		t.Error("nothing is to be written, and waits")
	}
}

// Whatever becomes of the policy, the namespace that goes is let go.
func TestTheGatewayHoldsUpNoNamespace(t *testing.T) {
	p := leavesByGateway(deleted)
	o := atTheGateway(observed(routed(leavesByGateway()), p), true)
	o.Facts.Namespace.Terminating = true
	if d := Make(o, now); !d.LetGo {
		t.Error("it waits")
	}
	for _, s := range Make(o, now).Steps {
		if s.Verb != plan.Delete {
			t.Errorf("%s %s", s.Verb, s.Resource())
		}
	}
}
