package plan

import (
	"cmp"
	"slices"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Verb is what a step does to its object.
type Verb string

// The verbs.
const (
	// Create: the object must not be there.
	Create Verb = "create"
	// Replace: the whole object, if it is still the one that was seen.
	Replace Verb = "replace"
	// Delete: the object, if it is still the one that was seen.
	Delete Verb = "delete"
)

// Step is one write.
type Step struct {
	Verb Verb
	// Object is what is sent. To replace, it carries the UID and the resource
	// version of the object that was seen; to delete, it is that object.
	Object mesh.Object
	Change drift.Change
	// Reason says in words why the step is there.
	Reason string

	rank rank
	// plaintext is true for a step that lets callers without a mesh identity in.
	plaintext bool
	// closed is true when no default-deny comes or goes: where the namespace has
	// one, every ALLOW opens something at once.
	closed bool
}

// Resource is KIND/NAME.
func (s Step) Resource() string { return s.Change.Resource() }

// Make orders the steps that make the changes undone: one for each, but for
// somebody else's objects, objects that are being deleted, and objects under a
// name that the operator never gives. The order does not depend on that of the
// changes.
func Make(changes []drift.Change) []Step {
	var steps []Step
	for _, c := range changes {
		if s, ok := step(c); ok {
			steps = append(steps, s)
		}
	}
	at := situationOf(steps)
	for i := range steps {
		s := &steps[i]
		s.rank = rankOf(*s, at)
		s.plaintext = plaintext(s.Change.Desired)
		s.closed = !at.defaultDenyComes && !at.defaultDenyGoes
	}
	slices.SortFunc(steps, func(a, b Step) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.Change.Key.Kind, b.Change.Key.Kind), cmp.Compare(a.Change.Key.Name, b.Change.Key.Name))
	})
	return steps
}

func step(c drift.Change) (Step, bool) {
	s := Step{Change: c}
	switch {
	case c.Waiting:
		return s, false
	case c.Type == drift.Missing:
		s.Verb, s.Object, s.Reason = Create, c.Desired, "declared and not there"
		if c.Drift {
			s.Reason = "deleted by somebody else"
		}
	case c.Type == drift.Modified:
		s.Verb, s.Object, s.Reason = Replace, drift.Overlay(c.Desired, c.Live), "not as declared"
		switch {
		case c.Adopted:
			s.Reason = "asks to be taken over"
		case c.Drift:
			s.Reason = "changed by " + c.Actor
		}
	case c.Prunable():
		s.Verb, s.Object, s.Reason = Delete, c.Live, "nothing asks for it"
	default:
		return s, false
	}
	return s, true
}
