package status

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Leaving returns the status of a profile that is being deleted and can't go
// yet: the rest of it stays as it was.
func Leaving(p *v1alpha1.MeshSecurityProfile, d decide.Decision, out Outcome, now time.Time) v1alpha1.MeshSecurityProfileStatus {
	c := newComputer(Input{Profile: p, Now: now})
	message := "the profile is being deleted, and what was written for it is not all gone: "
	var held []string
	for _, ch := range d.Changes {
		if ch.Waiting {
			held = append(held, ch.Resource())
		}
	}
	switch {
	case len(out.Failures) > 0:
		message += fmt.Sprintf("%s: %s", out.Failures[0].Resource, out.Failures[0].Message)
	case len(held) > 0:
		message += fmt.Sprintf("finalizers of others hold %s; remove them", mesh.Some(held))
	}
	next := *p.Status.DeepCopy()
	next.ObservedGeneration = p.Generation
	for _, cond := range p.Status.Conditions {
		switch cond.Type {
		case v1alpha1.ConditionReady, v1alpha1.ConditionProgrammed, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled:
		default:
			c.conds = append(c.conds, cond)
		}
	}
	c.set(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, v1alpha1.ReasonTerminating, message)
	c.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTerminating, message)
	next.Conditions = c.conds
	next.Attention = []string{mesh.Cut(message, v1alpha1.MaxMessageBytes)}
	return next
}
