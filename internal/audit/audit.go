package audit

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Input is what a check looks at.
type Input struct {
	Posture posture.Posture
	Facts   facts.Facts
}

// Check is a row of the catalogue. IDs are stable for ever.
type Check struct {
	ID, Title string
	Severity  v1alpha1.Severity
	// Remediation says what to do, for every finding of the check.
	Remediation string
	// Limits says what the check can't see.
	Limits     string
	References []string
	// Reads are the kinds, as KIND.GROUP, without which the check can't tell.
	Reads []string
	// concerns are the areas whose enforcement could bring about what it looks for.
	concerns []v1alpha1.Area
	find     func(Input) []Finding
}

// Finding is one, with what enforcing would have to do with it.
type Finding struct {
	v1alpha1.Finding
	// Areas whose enforcement refuses what the finding is about; none where it
	// is so without.
	Areas []v1alpha1.Area
}

// Run returns the findings of every check, the worst first.
func Run(in Input) []Finding {
	var out []Finding
	for _, c := range Checks() {
		if !slices.ContainsFunc(c.concerns, func(a v1alpha1.Area) bool { return Denies(in.Posture, a) }) {
			continue
		}
		found := append(c.find(in), c.unread(in)...)
		for _, f := range found {
			f.Check, f.Severity, f.Remediation = c.ID, c.Severity, cmp.Or(f.Remediation, c.Remediation)
			f.Subject = mesh.Cut(f.Subject, maxSubject)
			f.Message = mesh.Cut(f.Message, v1alpha1.MaxMessageBytes)
			out = append(out, f)
		}
	}
	Sort(out, func(f Finding) v1alpha1.Finding { return f.Finding })
	return out
}

const maxSubject = 320

// unread says what a check can't tell since what it needs can't be read.
func (c Check) unread(in Input) []Finding {
	declared := slices.DeleteFunc(slices.Clone(c.concerns), func(a v1alpha1.Area) bool { return !Denies(in.Posture, a) })
	if len(declared) == 0 {
		return nil
	}
	var out []Finding
	for _, kind := range c.Reads {
		if slices.Contains(in.Facts.Dependants.Unread, kind) {
			out = append(out, Finding{Areas: declared, Finding: v1alpha1.Finding{
				Subject:     kind + "/*",
				Message:     fmt.Sprintf("unknown: the API server serves %s and the operator can't read it, so that nothing tells whether one of them is locked out", kind),
				Remediation: "give the operator the right to get, list and watch it, as config/rbac does",
			}})
		}
	}
	return out
}

// Denies says whether the posture would have the area deny something.
func Denies(p posture.Posture, area v1alpha1.Area) bool {
	switch area {
	case v1alpha1.AreaMutualTLS:
		return p.MutualTLS != nil && p.MutualTLS.Mode == v1alpha1.MutualTLSStrict
	case v1alpha1.AreaAuthorization:
		return p.Authorization != nil && p.Authorization.Default == v1alpha1.DefaultDeny
	case v1alpha1.AreaEgress:
		return p.Egress != nil && p.Egress.Default == v1alpha1.DefaultDeny
	}
	return false
}

var severities = []v1alpha1.Severity{v1alpha1.SeverityCritical, v1alpha1.SeverityHigh, v1alpha1.SeverityMedium, v1alpha1.SeverityLow}

// Sort orders findings: the most severe first, then by check and subject.
func Sort[T any](findings []T, of func(T) v1alpha1.Finding) {
	slices.SortStableFunc(findings, func(x, y T) int {
		a, b := of(x), of(y)
		return cmp.Or(
			cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)),
			cmp.Compare(a.Check, b.Check), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Message, b.Message))
	})
}
