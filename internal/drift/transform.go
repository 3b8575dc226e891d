package drift

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// Transform trims an object's managedFields to what Compare uses, before the
// cache keeps it: the entries of other managers whole, our own as the mere
// evidence that we wrote the object, those of the status not at all. To trim
// twice changes nothing. It has the form of a cache's transform function, and
// leaves alone whatever is not an object.
func Transform(obj any) (any, error) {
	o, ok := obj.(metav1.Object)
	if !ok {
		return obj, nil
	}
	entries := o.GetManagedFields()
	if len(entries) == 0 {
		return obj, nil
	}
	kept := make([]metav1.ManagedFieldsEntry, 0, len(entries))
	for _, e := range entries {
		if e.Subresource == "status" {
			continue
		}
		if e.Manager == v1alpha1.ManagedByValue {
			e.FieldsV1 = nil
		}
		kept = append(kept, e)
	}
	o.SetManagedFields(kept)
	return obj, nil
}
