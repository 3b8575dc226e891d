package drift

import (
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Type says what sets a live object apart from the desired one.
type Type string

// The types of change.
const (
	// Missing: desired and not there.
	Missing Type = "Missing"
	// Modified: there, ours, and not as desired.
	Modified Type = "Modified"
	// Unexpected: there, claims to be ours, and nothing asks for it.
	Unexpected Type = "Unexpected"
	// Conflict: somebody else's object has the name of a desired one. It is
	// never taken over.
	Conflict Type = "Conflict"
	// Shadowed: somebody else's object changes what is in force. It is never
	// changed or deleted.
	Shadowed Type = "Shadowed"
)

// ActorUnknown is the actor where managedFields tell nothing.
const ActorUnknown = "unknown"

// Change is one object that is not as desired.
type Change struct {
	Type Type
	Key  Key
	// Namespace of the object where it is not the profile's.
	Namespace string
	// Message says what a shadowing object opens or shuts; empty for the others.
	Message string
	// Desired is nil where nothing asks for the object.
	Desired mesh.Object
	// Live is nil where the object is not there.
	Live mesh.Object
	// Fields that differ, the spec first, sorted by path. With drift on top of an intent that
	// changed as well, only the fields that somebody else changed.
	Fields []v1alpha1.FieldChange
	// Actor is the field manager that made the change, or ActorUnknown.
	Actor string
	// At is when the actor did so; nil where it can't be told.
	At *time.Time
	// Effect is what the live state does to the posture, next to the desired one.
	Effect v1alpha1.Effect
	// Alone is the effect if the object were the only one, for one that is there
	// and is to be replaced: the order of steps can't count on what other
	// objects will do once they are as desired.
	Alone v1alpha1.Effect
	// Drift is true when the cluster moved: this is to be recorded.
	Drift bool
	// OutOfSync is true when our intent moved and is not yet written. Both can
	// be true of one object.
	OutOfSync bool
	// Adopted is true for somebody else's object that asks to be taken over.
	Adopted bool
	// Waiting is true for an object that is being deleted. Nothing can be done
	// until it is gone, which will show as a change of its own.
	Waiting bool
}

// Resource is KIND/NAME, or KIND/NAMESPACE/NAME for an object of another
// namespace, cut to what status allows.
func (c Change) Resource() string {
	if c.Namespace != "" {
		return cut(c.Key.Kind+"/"+c.Namespace+"/"+c.Key.Name, 320)
	}
	return cut(c.Key.String(), 320)
}

// Record is the change as status keeps it: at most 8 fields. A conflict is
// recorded as Missing: what is desired is not there.
func (c Change) Record(at time.Time, r v1alpha1.Resolution) v1alpha1.DriftRecord {
	types := map[Type]v1alpha1.DriftType{
		Missing: v1alpha1.DriftMissing, Modified: v1alpha1.DriftModified,
		Unexpected: v1alpha1.DriftUnexpected, Conflict: v1alpha1.DriftMissing, Shadowed: v1alpha1.DriftShadowed,
	}
	return v1alpha1.DriftRecord{
		Resource: c.Resource(), Type: types[c.Type], Effect: c.Effect,
		Fields:  c.Fields[:min(len(c.Fields), v1alpha1.MaxDriftFields)],
		Message: cut(c.Message, v1alpha1.MaxMessageBytes),
		Actor:   cut(c.Actor, 256), DetectedAt: metav1.NewTime(at), Resolution: r,
	}
}

// cut shortens to n characters, as the API server counts them, and shows that it did.
func cut(s string, n int) string {
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	count := 0
	for i := range s {
		if count++; count == n {
			return s[:i] + "…"
		}
	}
	return s
}
