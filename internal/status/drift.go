package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
)

// record adds a change to the list, newest first. One that is open already is
// the same change seen again, and keeps the time at which it was first seen.
func (c *computer) record(r v1alpha1.DriftRecord) {
	c.current = append(c.current, r)
	for i, old := range c.records {
		if old.Resolution == v1alpha1.ResolutionCorrected || !sameChange(old, r) {
			continue
		}
		news := old.Resolution != r.Resolution || old.Effect != r.Effect || old.Actor != r.Actor
		r.DetectedAt = old.DetectedAt
		if r.Type != v1alpha1.DriftShadowed {
			news, r.Effect = old.Resolution != r.Resolution, old.Effect
		}
		c.records[i] = r
		if news {
			c.fresh = append(c.fresh, r)
		}
		return
	}
	if len(c.records) >= v1alpha1.MaxStatusDrift && !slices.ContainsFunc(c.records, over) {
		// No room: it would push out another that is open, and be pushed out by it the next time.
		return
	}
	c.records = slices.Insert(c.records, 0, r)
	c.fresh = append(c.fresh, r)
}

func over(r v1alpha1.DriftRecord) bool { return r.Resolution == v1alpha1.ResolutionCorrected }

// sameChange says whether two records are of one change. What somebody else's
// object does can vary with the workloads: it is the same one still.
func sameChange(a, b v1alpha1.DriftRecord) bool {
	if a.Resource != b.Resource || a.Type != b.Type {
		return false
	}
	return a.Type == v1alpha1.DriftShadowed || (a.Actor == b.Actor && slices.Equal(a.Fields, b.Fields))
}

// trim closes the records of what is no longer so, whoever undid it, and keeps
// the last ten: what is open before what is over.
func (c *computer) trim() {
	if c.Decision.Compiled || c.Decision.LastGood != nil {
		for i, r := range c.records {
			compared := r.Type != v1alpha1.DriftShadowed || c.Decision.Judged()
			if !over(r) && compared && !slices.ContainsFunc(c.current, func(now v1alpha1.DriftRecord) bool { return sameChange(now, r) }) {
				c.records[i].Resolution = v1alpha1.ResolutionCorrected
				if r.Type == v1alpha1.DriftShadowed {
					c.fresh = append(c.fresh, c.records[i])
				}
			}
		}
	}
	for len(c.records) > v1alpha1.MaxStatusDrift {
		last := len(c.records) - 1
		for i := last; i >= 0; i-- {
			if over(c.records[i]) {
				last = i
				break
			}
		}
		c.records = slices.Delete(c.records, last, last+1)
	}
}

// shadows records the objects of others that change what is in force.
func (c *computer) shadows() {
	for _, s := range c.Decision.Shadows {
		r := s.Record(c.now.Time, v1alpha1.ResolutionReported)
		c.open = append(c.open, opened{what: Describe(r), reason: v1alpha1.ReasonDriftDetected, remedy: remedy(s)})
		c.record(r)
	}
}

// openInWords is what is open and what to do: changes of ours first, which
// have one remedy, and then objects of others, each with its own.
func (c *computer) openInWords(reason string) string {
	const most = 3
	var words []string
	for i, o := range c.open[:min(len(c.open), most)] {
		words = append(words, o.what)
		switch {
		case o.remedy != "":
			words = append(words, o.remedy)
		case i == most-1 || i == len(c.open)-1 || c.open[i+1].remedy != "":
			words = append(words, c.driftRemedy(reason))
		}
	}
	if len(c.open) > most {
		words = append(words, "and others, see status.drift")
	}
	return strings.Join(words, "; ")
}

// changed says whether something of ours was changed and is left so.
func (c *computer) changed() bool {
	return slices.ContainsFunc(c.open, func(o opened) bool { return o.remedy == "" })
}

func describeShadow(r v1alpha1.DriftRecord) string {
	if over(r) {
		return r.Resource + " overrides ours no longer"
	}
	s := r.Resource + " overrides ours: " + r.Message
	if r.Actor != "" && r.Actor != drift.ActorUnknown {
		s = fmt.Sprintf("%s (made by %s) overrides ours: %s", r.Resource, r.Actor, r.Message)
	}
	if r.Effect == v1alpha1.EffectTightens {
		s += ", which the profile allows"
	}
	return s
}

// declares is where a profile would say what an object of a kind opens.
var declares = map[string]string{
	"PeerAuthentication":    "mutualTLS.portOverrides",
	"AuthorizationPolicy":   "authorization.rules",
	"RequestAuthentication": "authorization.jwtProviders",
	"Sidecar":               "egress.rules",
	"ServiceEntry":          "egress.rules",
	"NetworkPolicy":         "egress.rules",
	"Telemetry":             "logging.accessLog",
}

// remedy is what to do about somebody else's object.
func remedy(c drift.Change) string {
	do := "delete it"
	if c.Namespace != "" {
		do = "have whoever owns namespace " + c.Namespace + " delete it or except this namespace"
	}
	switch path := declares[c.Key.Kind]; {
	case c.Effect == v1alpha1.EffectTightens:
		return do + ", or take out of the profile what is not to be allowed"
	case path == "":
		return do + ", or have it use the mesh's own mutual TLS"
	default:
		return do + ", or declare it as " + path
	}
}

// judge works out what is in force, now that it is known what could be written.
func (c *computer) judge() {
	if !c.Decision.Judged() {
		return
	}
	left := func(ch drift.Change) bool {
		return c.Decision.Left(ch) || ch.Waiting || c.Outcome.failed(ch.Resource())
	}
	c.inForce = c.Decision.InForce(c.Observed, left)
	// What the model shows nothing of may weaken all the same, as a field does
	// that a newer mesh knows.
	for _, ch := range c.Decision.Changes {
		if ch.Effect != v1alpha1.EffectWeakens || !left(ch) {
			continue
		}
		o := ch.Live
		if o == nil {
			o = ch.Desired
		}
		var areas []v1alpha1.Area
		for _, l := range effective.LayersOf(o) {
			areas = append(areas, l.Area())
		}
		if !slices.ContainsFunc(areas, c.inForce.Compared.Touches) {
			c.loosened = append(c.loosened, areas...)
		}
	}
}

// touched says whether what is left in the cluster makes a difference in an area, or may.
func (c *computer) touched(area v1alpha1.Area) bool {
	return c.inForce.There == nil || c.inForce.Compared.Touches(area) || slices.Contains(c.loosened, area)
}

// unconfirmed is the remark on a value that is not wholly in force.
func (c *computer) unconfirmed(area v1alpha1.Area) string {
	if len(c.inForce.Compared.Opened(area)) > 0 || (!c.settled && c.touched(area)) {
		return " (unconfirmed)"
	}
	return ""
}
