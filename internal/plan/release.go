package plan

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Release leaves objects in force without the owners that from picks, so that
// the garbage collector does not take them away with these. Nothing else of
// them changes, so the order does not matter.
func Release(live []mesh.Object, from func(metav1.OwnerReference) bool) []Step {
	var steps []Step
	for _, o := range live {
		key, ok := drift.KeyOf(o)
		if !ok || !slices.ContainsFunc(o.GetOwnerReferences(), from) || o.GetDeletionTimestamp() != nil {
			continue
		}
		left := o.DeepCopyObject().(mesh.Object)
		left.SetOwnerReferences(slices.DeleteFunc(left.GetOwnerReferences(), from))
		steps = append(steps, Step{
			Verb: Replace, Object: left, Reason: "left in force without an owner",
			Change: drift.Change{Type: drift.Modified, Key: key, Desired: left, Live: o, OutOfSync: true},
		})
	}
	return steps
}
