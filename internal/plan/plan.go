package plan

import (
	"cmp"
	"slices"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
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
	// version of the object that was seen; to delete, it is that object. A step
	// after another one of the same object is about what that one left.
	Object mesh.Object
	Change drift.Change
	// Reason says in words why the step is there.
	Reason string

	rank rank
	// plaintext is true for a step that lets callers without a mesh identity in.
	plaintext bool
	// closed is true for a policy some of whose workloads have an ALLOW policy
	// already: there every further one opens something at once. shut is true
	// where all of them have.
	closed, shut bool
	// kept is true for a step whose object lives on as a copy.
	kept bool
	// half is true for the first of two steps of one object, which opens nothing,
	// and rest for the second one.
	half, rest bool
	// temporary is true for what is brought and taken away by one plan.
	temporary bool
	// swapped is true for a host that comes after the Sidecars, or goes before them.
	swapped bool
}

// Resource is KIND/NAME.
func (s Step) Resource() string { return s.Change.Resource() }

// Make orders the steps that make the changes undone: one for each, but for
// somebody else's objects, objects that are being deleted, and objects under a
// name that the operator never gives; and those that bring and remove what is
// there only meanwhile. world has everything that is there, also of others. The
// order does not depend on that of the changes.
func Make(changes []drift.Change, world effective.World) []Step {
	var steps []Step
	for _, c := range changes {
		if s, ok := step(c); ok {
			steps = append(steps, s)
		}
	}
	if len(steps) == 0 {
		return nil
	}
	// What is beside an egress gateway lets callers into that alone, and is none
	// of the rules here.
	var beside []Step
	steps = slices.DeleteFunc(steps, func(s Step) bool {
		at := mesh.AtGateway(subject(s))
		if at {
			s.rank = pick(s.Verb == Delete, gatewayPolicyAway, gatewayPolicy)
			beside = append(beside, s)
		}
		return at
	})
	world.Objects = slices.DeleteFunc(slices.Clone(world.Objects), mesh.AtGateway)
	after := carriedOut(world, steps)
	at := situationOf(steps, world, after)
	steps = at.modes.halves(steps)
	steps = withTemporary(steps, keeps(steps))
	placeHosts(steps, world, after)
	steps = withTemporary(steps, covers(steps, world, after))
	for i := range steps {
		s := &steps[i]
		s.rank = rankOf(*s, at)
		s.plaintext = plaintext(s.Change.Desired) || wakes(s.Change.Desired, world)
		s.closed, s.shut = closed(subject(*s), world)
	}
	steps = append(steps, beside...)
	slices.SortStableFunc(steps, func(a, b Step) int {
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
