package status

import (
	"fmt"
	"slices"
	"time"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// CheckExceptionEnds is the finding about an exception that ends within a week.
const CheckExceptionEnds = "BASE-002"

// mandated are the findings about mandates: where the profile declares less,
// what exceptions let through, and those that end soon.
func (c *computer) mandated() []v1alpha1.Finding {
	res := c.Decision.Resolution
	subject := v1alpha1.KindProfile + "/" + c.Profile.Name
	var out []v1alpha1.Finding
	for _, v := range res.Violations {
		out = append(out, v1alpha1.Finding{
			Check: posture.CheckMode, Severity: v1alpha1.SeverityHigh, Subject: subject,
			Message:     mesh.Cut(v.Path+": "+v.Message, v1alpha1.MaxMessageBytes),
			Remediation: "declare at least what the baseline mandates",
		})
	}
	for _, a := range res.Allowed {
		out = append(out, v1alpha1.Finding{
			Check: a.Check, Severity: v1alpha1.SeverityHigh, Subject: subject, Exception: a.Exception,
			Message: mesh.Cut(fmt.Sprintf("%s: %s, which a mandate would not let be", a.Field, a.Message), v1alpha1.MaxMessageBytes),
		})
	}
	for _, e := range res.Exceptions {
		if c.Now.Before(e.Expires.Add(-posture.Notice)) {
			continue
		}
		out = append(out, v1alpha1.Finding{
			Check: CheckExceptionEnds, Severity: v1alpha1.SeverityMedium, Subject: v1alpha1.KindException + "/" + e.Name,
			Message:     fmt.Sprintf("it ends at %s: from then on what it lets through is refused, and its findings count", e.Expires.UTC().Format(time.RFC3339)),
			Remediation: "mend what it is for, or have another exception granted",
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
