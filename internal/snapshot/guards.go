package snapshot

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// guards reads which guards a binding puts in force. Where bindings can't be
// read, that is unknown.
func (r *Reader) guards(ctx context.Context) (facts.Guards, error) {
	if r.GuardsRead == nil || !r.GuardsRead() {
		return facts.Guards{}, nil
	}
	out := facts.Guards{Managed: facts.No, Posture: facts.No}
	var list admissionv1.ValidatingAdmissionPolicyBindingList
	if err := r.Optional.List(ctx, &list, noCopy); err != nil {
		return out, fmt.Errorf("list admission policy bindings: %w", err)
	}
	for i := range list.Items {
		b := &list.Items[i]
		if b.DeletionTimestamp != nil || !slices.Contains(b.Spec.ValidationActions, admissionv1.Deny) {
			continue
		}
		switch v1alpha1.Guard(b.Labels[v1alpha1.LabelGuard]) {
		case v1alpha1.GuardManaged:
			out.Managed = facts.Yes
		case v1alpha1.GuardPosture:
			out.Posture = facts.Yes
		}
	}
	return out, nil
}
