package status

import (
	"fmt"
	"slices"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// allowed are the findings about what exceptions let a profile have less of.
func (c *computer) allowed() []v1alpha1.Finding {
	var out []v1alpha1.Finding
	for _, a := range c.Decision.Resolution.Allowed {
		out = append(out, v1alpha1.Finding{
			Check: a.Check, Severity: v1alpha1.SeverityHigh, Subject: v1alpha1.KindProfile + "/" + c.Profile.Name, Exception: a.Exception,
			Message: mesh.Cut(fmt.Sprintf("%s: %s, which a mandate would not let be", a.Field, a.Message), v1alpha1.MaxMessageBytes),
		})
	}
	return out
}

// except says of findings which exception covers them, and which count.
func (c *computer) except(findings []v1alpha1.Finding) {
	for i, f := range findings {
		if f.Exception == "" {
			findings[i].Exception = c.exception(f)
		}
		switch {
		case findings[i].Exception != "":
			findings[i].State = v1alpha1.FindingExcepted
		case f.State == "":
			findings[i].State = v1alpha1.FindingOpen
		}
	}
}

// exception is the name of the first exception that covers a finding: one for
// the namespace as a whole, or for every pod of the workload that it is about.
func (c *computer) exception(f v1alpha1.Finding) string {
	for _, e := range c.Decision.Resolution.Exceptions {
		if !e.Covers(f.Check) {
			continue
		}
		if len(e.Selector) == 0 {
			return e.Name
		}
		about := func(p facts.Pod) bool { return p.Owner.String() == f.Subject || "Pod/"+p.Name == f.Subject }
		pods := c.Observed.Facts.Pods
		if slices.ContainsFunc(pods, about) &&
			!slices.ContainsFunc(pods, func(p facts.Pod) bool { return about(p) && !facts.Matches(e.Selector, p.Labels) }) {
			return e.Name
		}
	}
	return ""
}
