package audit

import (
	"slices"
	"time"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// Memo is what was found of each workload of a namespace when it was last
// looked at, and by what. It is never changed once it is made.
type Memo struct {
	// around is a fingerprint of all that workloads are judged by besides their pods.
	around fingerprint
	found  map[facts.Owner]keptFindings
	// judged counts the workloads that were looked at anew for it.
	judged int
}

// keptFindings is what was found of a workload.
type keptFindings struct {
	key   fingerprint
	found []Finding
}

// Judged is the number of workloads that were looked at for the memo, rather
// than taken from the one before.
func (m *Memo) Judged() int { return m.judged }

// Examine returns the findings about what is in force, the worst first. In
// Istio's ambient mode few checks can tell; of another mesh none can.
func Examine(s *Scene) []Finding {
	out, _ := ExamineSince(nil, s)
	return out
}

// ExamineSince is Examine, which takes what it finds of a workload from what was
// found last where neither the workload nor anything around it changed. It
// returns what to hand in next time.
func ExamineSince(last *Memo, s *Scene) ([]Finding, *Memo) {
	if !s.istio() {
		return nil, &Memo{}
	}
	s.distinguish()
	next := &Memo{found: make(map[facts.Owner]keptFindings, len(s.kinds))}
	var known bool
	next.around, known = s.around()
	if last == nil || !known || last.around != next.around {
		last = &Memo{}
	}
	now := s.Now
	s.Now = time.Time{}
	var out []Finding
	for _, w := range s.kinds {
		j, same := last.found[w.Owner]
		if !same || j.key != w.key {
			j = keptFindings{w.key, judge(s, w)}
			next.judged++
		}
		if known {
			next.found[w.Owner] = j
		}
		out = append(out, j.found...)
	}
	s.Now = now
	for i := range catalogue {
		c := &catalogue[i]
		if c.examine == nil || !s.judgedBy(c) {
			continue
		}
		for _, f := range c.examine(s) {
			out = append(out, c.complete(f))
		}
	}
	Sort(out, func(f Finding) v1alpha1.Finding { return f.Finding })
	// What workloads say of the namespace they say alike.
	return slices.CompactFunc(out, func(a, b Finding) bool { return a.Finding == b.Finding }), next
}

// judge looks at one workload.
func judge(s *Scene, w workload) []Finding {
	var out []Finding
	// A row is large, and this goes through all of them for every workload.
	for i := range catalogue {
		c := &catalogue[i]
		if c.workload == nil || !s.judgedBy(c) {
			continue
		}
		for _, f := range c.workload(s, w) {
			out = append(out, c.complete(f))
		}
	}
	return slices.Clip(out)
}

// judgedBy says whether a check can tell of the namespace's data plane.
func (s *Scene) judgedBy(c *Check) bool {
	return c.anyPlane || s.Facts.Mesh.DataPlane != v1alpha1.DataPlaneAmbient
}
