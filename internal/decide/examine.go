package decide

import (
	"fmt"

	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// Examine audits what is in force once the steps are done. Weigh does so.
func (d *Decision) Examine(o facts.Observed) {
	s := audit.Scene{
		Input: audit.Input{Posture: d.Resolution.Posture, Facts: o.Facts},
		Ours:  d.ours(o, d.Left), Others: d.foreign(o), Influences: o.Influences,
		Routings: o.Routings, Now: d.at, Bulletins: o.Bulletins,
	}
	for _, c := range d.Changes {
		if c.Drift && c.Type != drift.Conflict && d.Left(c) {
			s.Drift = append(s.Drift, audit.Drift{Resource: c.Resource(), What: fmt.Sprintf("%s by %s", c.Type, c.Actor)})
		}
	}
	d.Examined, d.Seen = audit.ExamineSince(d.Seen, &s)
	d.NextFindings = audit.NextChange(&s)
}
