package audit

import (
	"slices"
	"time"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Declared is what is amiss in what is declared for a namespace, though it can
// be used.
type Declared struct {
	// Profile is the name of the one in force; empty where baselines imply it.
	Profile string
	// Superseded are names of the namespace's other profiles, sorted.
	Superseded []string
	// Taken are fields of the profile that somebody else owns than who applied it.
	Taken []drift.Taken
	// Violations are where the profile declares less than a baseline mandates.
	Violations []posture.Problem
	// Exceptions are those in force here, and Over those whose time is over,
	// sorted by name.
	Exceptions, Over []posture.Exception
}

func declaredChecks() []Check {
	const exceptions = "https://csrc.nist.gov/pubs/sp/800/53/r5/upd1/final"
	return []Check{
		{
			ID: posture.CheckMode, Title: "a profile declares less than a baseline mandates", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-204B APE-SR-3"},
			Remediation: "declare at least what the baseline mandates",
			Limits:      "What is mandated is in force all the same. An exception from the mandate's own check lets the looser value be; one from this check alone lets enforcementMode be.",
			References:  []string{exceptions}, examine: violations,
		},
		{
			ID: "BASE-002", Title: "an exception ends within a week", Severity: v1alpha1.SeverityMedium,
			Remediation: "mend what it is for, or have another exception granted",
			Limits:      "It is so of every exception that names the namespace, whether or not it covers something here.",
			References:  []string{exceptions}, examine: ending,
		},
		{
			ID: "BASE-003", Title: "an exception is over", Severity: v1alpha1.SeverityLow,
			Remediation: "delete the exception; where it is needed still, have another one granted",
			Limits:      "What it covered counts again, and has findings of its own where it is still so.",
			References:  []string{exceptions}, examine: over,
		},
		{
			ID: "BASE-004", Title: "a profile is not in force, since an older one is", Severity: v1alpha1.SeverityMedium,
			Remediation: "merge the profiles, and delete the one that is not to be in force",
			Limits:      "It is told of the namespace; the profile itself says so in its condition Accepted.",
			References:  []string{exceptions}, examine: superseded,
		},
		{
			ID: "PROF-001", Title: "somebody else owns a part of the profile than who applied it", Severity: v1alpha1.SeverityMedium,
			Remediation: "apply the profile again with the field in it, or take the field out; where who applies it has a field in common with others, have it forced",
			Limits:      "Who applied it is the field manager of a server-side apply, or of a client-side one, that owns most of the spec; where nobody applied it, everybody may own a part. Tools for GitOps don't see fields that the repository leaves out. A change of owners alone, with no change of the spec, is seen when the namespace is looked at for another reason.",
			References:  []string{"https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management"},
			examine:     profileTaken,
		},
		{
			ID: "PROF-002", Title: "a port override is over", Severity: v1alpha1.SeverityLow,
			Remediation: "remove the override from the profile, or give it a later expiresAt",
			Limits:      "It is not applied any more, so that nothing is weakened by it.",
			References:  []string{"https://istio.io/latest/docs/reference/config/security/peer_authentication/"}, examine: overridesOver,
		},
	}
}

func (s *Scene) profile() string {
	if s.Declared.Profile == "" {
		return "Namespace/" + s.Facts.Namespace.Name
	}
	return v1alpha1.KindProfile + "/" + s.Declared.Profile
}

func violations(s *Scene) []Finding {
	var out []Finding
	for _, v := range s.Declared.Violations {
		out = append(out, open(s.profile(), "%s: %s", v.Path, v.Message))
	}
	return out
}

func ending(s *Scene) []Finding {
	var out []Finding
	for _, e := range s.Declared.Exceptions {
		if !s.Now.Before(e.Expires.Add(-posture.Notice)) {
			out = append(out, open(v1alpha1.KindException+"/"+e.Name, "it ends at %s: from then on what it lets through is refused, and its findings count", utc(e.Expires)))
		}
	}
	return out
}

func over(s *Scene) []Finding {
	var out []Finding
	for _, e := range s.Declared.Over {
		out = append(out, open(v1alpha1.KindException+"/"+e.Name, "its time was over at %s, and it covers nothing any more", utc(e.Expires)))
	}
	return out
}

func superseded(s *Scene) []Finding {
	var out []Finding
	for _, name := range slices.Sorted(slices.Values(s.Declared.Superseded)) {
		out = append(out, open(v1alpha1.KindProfile+"/"+name, "it is not in force, since %s is older", s.profile()))
	}
	return out
}

func profileTaken(s *Scene) []Finding {
	var out []Finding
	for _, t := range s.Declared.Taken {
		out = append(out, open(s.profile(), "%s owns %s, and not %s, who applied the profile", t.By, mesh.Some(t.Fields), t.Applier))
	}
	return out
}

func overridesOver(s *Scene) []Finding {
	var out []Finding
	for _, o := range s.Posture.Expired {
		out = append(out, open(s.profile(), "port override %s expired at %s and is not applied any more", o.Name, utc(*o.Expires)))
	}
	return out
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }
