package audit

import (
	"slices"
	"time"

	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// Scene is what a check of what is in force looks at. Once one has, it does not
// change any more.
type Scene struct {
	Input
	// Ours are the operator's objects in the namespace, as they are in force;
	// Others everybody else's that act on it, of whatever namespace.
	Ours, Others []facts.Object
	// Influences are objects, known by name alone, that act on it as well.
	Influences []facts.Influence
	// Routings are VirtualServices that lead calls of the namespace. The model
	// does not know them.
	Routings []facts.Routing
	// Declared is what is amiss in what is declared.
	Declared Declared
	// Drift that is not corrected.
	Drift []Drift
	// Now is when the namespace is looked at.
	Now time.Time
	// Bulletins is the text of the table of vulnerabilities that takes the place
	// of the built-in one; nil for none.
	Bulletins *string

	// What checks ask for again and again, once it is worked out. kinds are the
	// workloads, when the pods are those that differ; acts are all policies, and
	// those that are enforced.
	model    *effective.Model
	kinds    []workload
	served   []facts.Service
	acts     [2]*ruledOf
	versions []part
}

// Drift is a managed object that is not as desired, and is left so.
type Drift struct {
	// Resource is KIND/NAME.
	Resource, What string
}

// Objects are all that act on the namespace.
func (s *Scene) Objects() []facts.Object { return slices.Concat(s.Ours, s.Others) }

// Model is what the mesh makes of them.
func (s *Scene) Model() *effective.Model {
	if s.model == nil {
		s.model = effective.New(effective.WorldOf(facts.Observed{Facts: s.Facts, Influences: s.Influences}, s.Objects()))
	}
	return s.model
}

// services are the namespace's own, sorted by name.
func (s *Scene) services() []facts.Service {
	if s.served == nil && len(s.Facts.Services) > 0 {
		s.served = services(s.Facts)
	}
	return s.served
}

// of are the objects of a Go type, those of the namespace first, each with
// whether it is the operator's.
func of[T facts.Object](s *Scene) (ours, others []T) {
	pick := func(from []facts.Object) (out []T) {
		for _, o := range from {
			if t, is := o.(T); is {
				out = append(out, t)
			}
		}
		return out
	}
	return pick(s.Ours), pick(s.Others)
}

// subject is KIND/NAME of an object, or KIND/NAMESPACE/NAME of one elsewhere.
func (s *Scene) subject(o facts.Object) string {
	r := effective.RefOf(o)
	return facts.Source{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}.In(s.Facts.Namespace.Name)
}

// workload is the pods of one controller.
type workload struct {
	facts.Owner
	pods []facts.Pod
	// key is a fingerprint of all of this.
	key fingerprint
}

// workloads are those of the namespace, sorted, with their pods.
func (s *Scene) workloads() []workload {
	s.distinguish()
	return s.kinds
}

// those are the pods that are so, which is the same slice where all are.
func those(pods []facts.Pod, are func(facts.Pod) bool) []facts.Pod {
	if !slices.ContainsFunc(pods, func(p facts.Pod) bool { return !are(p) }) {
		return pods
	}
	return keep(pods, are)
}

// distinguish leaves one pod of each kind: those of a workload are mostly alike,
// and nothing is found of one that is not so of all that are like it. Pods have
// no names from then on.
func (s *Scene) distinguish() {
	if s.kinds != nil {
		return
	}
	var texts map[facts.Owner][]string
	s.Facts.Pods, texts = kindsOf(s.Facts.Pods, 1)
	s.kinds = []workload{}
	for _, o := range s.Facts.ByOwner() {
		s.kinds = append(s.kinds, workload{o.Owner, o.Pods, fingerprintOf(texts[o.Owner])})
	}
}
