package drift

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Transform replaces an object's managedFields by a digest, before the cache
// keeps it: that the operator wrote the object, and what others own of what
// matters, which is nothing as long as nobody touches it. The digest has the
// form of managedFields and a limited size. To make it twice changes nothing.
// Transform has the form of a cache's transform function, and leaves alone
// whatever is not an object.
func Transform(obj any) (any, error) {
	o, ok := obj.(mesh.Object)
	if !ok || len(o.GetManagedFields()) == 0 {
		return obj, nil
	}
	entries := o.GetManagedFields()
	var kept []metav1.ManagedFieldsEntry
	if slices.ContainsFunc(entries, own) {
		kept = untouched
	}
	if !strings.HasPrefix(o.GetName(), mesh.NamePrefix) {
		// The operator never desires an object of this name.
		o.SetManagedFields(append(kept, MadeBy(entries)...))
		return obj, nil
	}
	for _, m := range readManagers(o) {
		kept = append(kept, m.entry())
	}
	o.SetManagedFields(kept)
	return obj, nil
}

// anything stands for whatever a manager owns of an object.
var anything = metav1.NewFieldsV1(`{"f:spec":{}}`)

// MadeBy is the digest of the managedFields of an object that is nobody's to
// correct: who last wrote a part that matters.
func MadeBy(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	ms := condense(entries, nothingHidden)
	if len(ms) == 0 {
		return nil
	}
	return []metav1.ManagedFieldsEntry{{Manager: ms[0].name, Operation: operation(ms[0].operation), Time: ms[0].at, FieldsV1: anything}}
}

func (m manager) entry() metav1.ManagedFieldsEntry {
	set := &fieldpath.Set{}
	for _, l := range m.claims {
		set.Insert(l.path)
	}
	e := metav1.ManagedFieldsEntry{Manager: m.name, Operation: operation(m.operation), Time: m.at}
	// Paths that were read from JSON can be written as such.
	if raw, err := set.ToJSON(); err == nil {
		e.FieldsV1 = metav1.NewFieldsV1(string(raw))
	}
	return e
}

// operation is one of two constants, so that no object has a copy of its own.
func operation(op metav1.ManagedFieldsOperationType) metav1.ManagedFieldsOperationType {
	if op == metav1.ManagedFieldsOperationApply {
		return metav1.ManagedFieldsOperationApply
	}
	return metav1.ManagedFieldsOperationUpdate
}
