package decide

import (
	"fmt"

	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Examine audits what is in force once the steps are done. Weigh does so.
func (d *Decision) Examine(o facts.Observed) {
	s := audit.Scene{
		Input: audit.Input{Posture: d.Resolution.Posture, Facts: o.Facts},
		Ours:  d.ours(o, d.Left), Others: d.foreign(o), Influences: o.Influences,
		Routings: o.Routings, Declared: d.declared(o), Now: d.at, Bulletins: o.Bulletins,
	}
	for _, c := range d.Changes {
		if c.Drift && c.Type != drift.Conflict && d.Left(c) {
			s.Drift = append(s.Drift, audit.Drift{Resource: c.Resource(), What: fmt.Sprintf("%s by %s", c.Type, c.Actor)})
		}
	}
	d.Examined, d.Seen = audit.ExamineSince(d.Seen, &s)
	d.NextFindings = audit.NextChange(&s)
}

// declared is what is amiss in what is declared.
func (d *Decision) declared(o facts.Observed) audit.Declared {
	out := audit.Declared{Violations: d.Resolution.Violations, Exceptions: d.Resolution.Exceptions}
	if !d.Implied() {
		out.Profile, out.Taken = d.Profile.Name, drift.TakenOf(d.Profile.ManagedFields)
	}
	for _, p := range o.Profiles[1:] {
		if p.DeletionTimestamp == nil {
			out.Superseded = append(out.Superseded, p.Name)
		}
	}
	for _, e := range o.Exceptions {
		if !d.at.Before(e.Spec.ExpiresAt.Time) {
			out.Over = append(out.Over, posture.Exception{Name: e.Name, Expires: e.Spec.ExpiresAt.Time})
		}
	}
	return out
}
