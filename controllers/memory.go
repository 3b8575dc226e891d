package controllers

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// memory is what the operator knows of a namespace besides what the cluster
// shows. After a restart it begins empty, and what the cluster shows has to do.
type memory struct {
	mu sync.Mutex
	of map[string]*remembered // by namespace
}

type remembered struct {
	// ours are the UIDs of objects that were the operator's when last seen.
	ours map[types.UID]bool
	// lastGood is set while the profile can't be used.
	lastGood []mesh.Object
	fights   drift.Fights
	// implied is the status of a namespace without a profile, which has no
	// object to be in.
	implied *v1alpha1.MeshSecurityProfileStatus
	// findings of the last look, and what was declared then; nil before the first.
	findings []v1alpha1.Finding
	declared string
	// seen is what the audit found of each workload.
	seen *audit.Memo
}

// recall adds what is remembered to what was observed.
func (m *memory) recall(namespace string, o *facts.Observed, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.of[namespace]; r != nil {
		o.Ours, o.LastGood, o.Fights = r.ours, r.lastGood, r.fights.Open(now)
		if r.implied != nil && len(o.Profiles) > 0 && posture.Implied(o.Profiles[0]) {
			o.Profiles[0].Status = *r.implied
		}
	}
}

// decided remembers the objects that are there under a desired name and that
// nobody else claims, and the last good posture while it is needed.
func (m *memory) decided(namespace string, seen facts.Observed, d decide.Decision) {
	if !d.Compiled && d.LastGood == nil {
		return
	}
	mine := map[drift.Key]bool{}
	for _, want := range d.Desired {
		if key, ok := drift.KeyOf(want); ok {
			mine[key] = true
		}
	}
	for _, c := range d.Changes {
		if c.Type == drift.Conflict {
			delete(mine, c.Key)
		}
	}
	uids := make(map[types.UID]bool, len(mine))
	for _, live := range seen.Live {
		if key, ok := drift.KeyOf(live); ok && mine[key] {
			uids[live.GetUID()] = true
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.entry(namespace)
	r.ours, r.lastGood = uids, d.LastGood
}

// weigh has a decision weighed with what the audit found before, and remembers
// what it finds.
func (m *memory) weigh(namespace string, d *decide.Decision, o facts.Observed) {
	m.mu.Lock()
	if r := m.of[namespace]; r != nil {
		d.Seen = r.seen
	}
	m.mu.Unlock()
	d.Weigh(o)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entry(namespace).seen = d.Seen
}

// reported remembers the status of a namespace without a profile; nil where
// there is one.
func (m *memory) reported(namespace string, implied *v1alpha1.MeshSecurityProfileStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entry(namespace).implied = implied
}

// found remembers what was found for a profile while something was declared, and
// returns what was found before: at the last look, or, after a restart, by the
// profile's status where that has room for all. It is false where nothing is
// known of before, and where something else was declared then: what an edit
// changes is no news to who made it.
func (m *memory) found(p *v1alpha1.MeshSecurityProfile, declared string, findings []v1alpha1.Finding) (before []v1alpha1.Finding, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.entry(p.Namespace)
	switch {
	case r.findings != nil:
		before, known = r.findings, r.declared == declared
	case p.Status.ObservedGeneration > 0 && p.Status.ObservedGeneration == p.Generation && len(p.Status.Findings) < v1alpha1.MaxStatusFindings:
		before, known = p.Status.Findings, true
	}
	r.findings, r.declared = append([]v1alpha1.Finding{}, findings...), declared
	return before, known
}

// acted remembers the objects that were made, whose events wake nobody, and
// counts the corrections, each with the effect that was worked out since.
func (m *memory) acted(namespace string, o apply.Outcome, d decide.Decision, now time.Time) {
	weighed := make(map[drift.Key]drift.Change, len(d.Changes))
	for _, c := range d.Changes {
		weighed[c.Key] = c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range o.Written {
		if w.Verb == plan.Create {
			r := m.entry(namespace)
			// The one before is in what was observed.
			if r.ours = maps.Clone(r.ours); r.ours == nil {
				r.ours = map[types.UID]bool{}
			}
			r.ours[w.UID] = true
		}
	}
	for _, res := range o.Results {
		if res.Kind != apply.Done || !res.Step.Change.Drift {
			continue
		}
		change, ok := weighed[res.Step.Change.Key]
		if !ok {
			change = res.Step.Change
		}
		m.entry(namespace).fights.Corrected(change, now)
	}
}

func (m *memory) entry(namespace string) *remembered {
	if m.of == nil {
		m.of = map[string]*remembered{}
	}
	if m.of[namespace] == nil {
		m.of[namespace] = &remembered{}
	}
	return m.of[namespace]
}

func (m *memory) forget(namespace string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, namespace)
}
