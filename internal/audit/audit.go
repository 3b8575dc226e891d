package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

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
	// Aliases are codes of other tools for the same.
	Aliases []string
	// Compliance are controls of published standards that it bears on.
	Compliance []string
	// concerns are the areas whose enforcement could bring about what it looks for.
	concerns []v1alpha1.Area
	// find looks at what is declared, before anything is written; the others at
	// what is in force. workload judges a workload by itself, by its pods and by
	// all of the scene but other pods and the time: what it finds is kept until
	// one of these changes. examine is for what has to be looked at as a whole,
	// and cluster looks at the cluster. A check has find, or at least one of the
	// others.
	find     func(Input) []Finding
	examine  func(*Scene) []Finding
	workload func(*Scene, workload) []Finding
	cluster  func(*ClusterScene) []Finding
	// anyPlane is true where workload and examine ask nothing of the model, which
	// knows Istio's sidecars alone.
	anyPlane bool
}

// Family is the first part of the ID of a check, like MTLS.
func Family(id string) string { family, _, _ := strings.Cut(id, "-"); return family }

// Of says whether the check looks at single namespaces, or else at the cluster
// as a whole.
func (c Check) Of(namespace bool) bool {
	if namespace {
		return c.find != nil || c.examine != nil || c.workload != nil
	}
	return c.cluster != nil
}

// Finding is one, with what enforcing would have to do with it.
type Finding struct {
	v1alpha1.Finding
	// Areas whose enforcement refuses what the finding is about; none where it
	// is so without.
	Areas []v1alpha1.Area
}

// Preflight returns the findings about what is declared, the worst first.
func Preflight(in Input) []Finding {
	// Pods that are alike call and are called alike; it matters only whether one
	// has a peer.
	in.Facts.Pods, _ = kindsOf(in.Facts.Pods, 2)
	var out []Finding
	for _, c := range catalogue {
		if c.find == nil || !slices.ContainsFunc(c.concerns, func(a v1alpha1.Area) bool { return Denies(in.Posture, a) }) {
			continue
		}
		found := append(c.find(in), c.unread(in)...)
		for _, f := range found {
			out = append(out, c.complete(f))
		}
	}
	Sort(out, func(f Finding) v1alpha1.Finding { return f.Finding })
	return out
}

// complete adds what is the same for all findings of a check.
func (c Check) complete(f Finding) Finding {
	f.Check, f.Severity, f.Remediation = c.ID, cmp.Or(f.Severity, c.Severity), cmp.Or(f.Remediation, c.Remediation)
	f.State = cmp.Or(f.State, v1alpha1.FindingOpen)
	f.Subject = mesh.Cut(f.Subject, maxSubject)
	f.Message = mesh.Cut(f.Message, v1alpha1.MaxMessageBytes)
	return f
}

// open is a finding about a subject, as KIND/NAME.
func open(subject, format string, args ...any) Finding {
	return Finding{Finding: v1alpha1.Finding{Subject: subject, Message: fmt.Sprintf(format, args...)}}
}

// unknown is one where it can't be told.
func unknown(subject, format string, args ...any) Finding {
	f := open(subject, "unknown: "+format, args...)
	f.State = v1alpha1.FindingUnknown
	return f
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
			f := unknown(kind+"/*", "the API server serves %s and the operator can't read it, so that nothing tells whether one of them is locked out", kind)
			f.Areas, f.Remediation = declared, "give the operator the right to get, list and watch it, as config/rbac does"
			out = append(out, f)
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
