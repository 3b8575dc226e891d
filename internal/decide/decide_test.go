package decide

import (
	"testing"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// What is to be written must be known before anything is weighed: the world
// that weighing needs can be as large as it likes.
func TestActDoesNotWaitForTheEffect(t *testing.T) {
	p := profile("a")
	first := Make(observed(nil, p), now)
	p.Status.AppliedDigest = first.Digest
	live := append([]facts.Object{}, first.Desired...)
	for i, o := range live {
		if pa, ok := o.(*securityv1.PeerAuthentication); ok {
			pa = pa.DeepCopy()
			pa.Spec.Mtls.Mode = securityapi.PeerAuthentication_MutualTLS_PERMISSIVE
			live[i] = pa
		}
	}
	o := observed(live, p)

	d := Act(o, now)
	if len(d.Steps) != 1 || len(d.Changes) != 1 || !d.Changes[0].Drift {
		t.Fatalf("steps %v for changes %v: one object was changed", d.Steps, d.Changes)
	}
	if d.Changes[0].Effect != "" || d.Judged() {
		t.Errorf("the effect %q was worked out before the step can be sent", d.Changes[0].Effect)
	}
	steps := d.Steps
	d.Weigh(o)
	if d.Changes[0].Effect != v1alpha1.EffectWeakens || !d.Judged() {
		t.Errorf("the effect is %q, judged %t", d.Changes[0].Effect, d.Judged())
	}
	if len(d.Steps) != len(steps) || d.Steps[0].Resource() != steps[0].Resource() {
		t.Errorf("weighing changed the steps: %v", d.Steps)
	}
	if whole := Make(o, now); whole.Changes[0].Effect != d.Changes[0].Effect || whole.Judged() != d.Judged() {
		t.Error("Make is not Act and Weigh")
	}
}

// Weighing a namespace that nobody is in force in has nothing to weigh.
func TestWeighOfALeavingProfile(t *testing.T) {
	p := profile("a")
	live := Make(observed(nil, p), now).Desired
	deleted(p)
	o := observed(live, p)
	d := Act(o, now)
	before := len(d.Changes)
	d.Weigh(o)
	if d.Judged() || len(d.Changes) != before {
		t.Errorf("%d changes of %d, judged %t", len(d.Changes), before, d.Judged())
	}
	if before == 0 || d.Changes[0].Type != drift.Unexpected {
		t.Errorf("nothing is withdrawn: %v", d.Changes)
	}
}
