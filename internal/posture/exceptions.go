package posture

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// Notice is how long before its end an exception is said to end.
const Notice = 7 * 24 * time.Hour

// Exception is one that is in force in a namespace.
type Exception struct {
	Name string
	// Checks that it covers.
	Checks []string
	// Selector of the workloads that it is for; nil for the namespace as a whole.
	Selector map[string]string
	Expires  time.Time
}

// Covers says whether the exception is for a check.
func (e Exception) Covers(check string) bool { return slices.Contains(e.Checks, check) }

// Allowance is what an exception lets a profile have less of than is mandated.
type Allowance struct {
	// Exception is its name.
	Exception, Check string
	// Field in the profile.
	Field string
	// Message says what is let through.
	Message string
}

func (r *resolver) allow(e Exception, check, field, message string) {
	a := Allowance{e.Name, check, field, message}
	if !slices.Contains(r.allowed, a) {
		r.allowed = append(r.allowed, a)
	}
}

// admit picks the exceptions that are in force now, and says when that changes.
func (r *resolver) admit() {
	for _, e := range r.in.Exceptions {
		if Overlong(e, r.in.Baselines) != "" || !r.now.Before(e.Spec.ExpiresAt.Time) {
			continue
		}
		r.changes(e.Spec.ExpiresAt.Add(-Notice))
		r.changes(e.Spec.ExpiresAt.Time)
		out := Exception{Name: e.Name, Expires: e.Spec.ExpiresAt.Time}
		for _, c := range e.Spec.Checks {
			out.Checks = append(out.Checks, string(c))
		}
		if s := e.Spec.WorkloadSelector; s != nil {
			out.Selector = make(map[string]string, len(s.MatchLabels))
			for k, v := range s.MatchLabels {
				out.Selector[k] = string(v)
			}
		}
		r.exceptions = append(r.exceptions, out)
	}
}

// Overlong says why an exception lasts longer than the baselines of a namespace
// let it; empty where it does not.
func Overlong(e *v1alpha1.MeshSecurityException, baselines []facts.Baseline) string {
	for _, b := range baselines {
		m := b.Spec.Mandates
		if m == nil || m.MaxOverrideDuration == "" {
			continue
		}
		if latest := e.CreationTimestamp.Add(lasts(m)); e.Spec.ExpiresAt.After(latest) {
			return fmt.Sprintf("%s lets an exception last %s from when it was created, to %s at the latest", From(b.Name), m.MaxOverrideDuration, latest.UTC().Format(time.RFC3339))
		}
	}
	return ""
}

// excepted is the exception from a check that covers all workloads of a
// selector, nil for those of the whole namespace; nil where there is none.
func (r *resolver) excepted(check string, selector map[string]string) *Exception {
	for i, e := range r.exceptions {
		if e.Covers(check) && facts.Matches(e.Selector, selector) {
			return &r.exceptions[i]
		}
	}
	return nil
}

// perWorkload are the exceptions from a check for single workloads.
func (r *resolver) perWorkload(check string) []Exception {
	var out []Exception
	for _, e := range r.exceptions {
		if e.Covers(check) && len(e.Selector) > 0 {
			out = append(out, e)
		}
	}
	return out
}

// OverridesField is how managedFields name a profile's port overrides.
const OverridesField = `"f:portOverrides"`

// overridesSet is when the profile's port overrides were last set, as
// managedFields tell by the managers that own them; else when the profile was
// created. The list is owned as a whole, and so has one time.
func overridesSet(p *v1alpha1.MeshSecurityProfile) time.Time {
	at := p.CreationTimestamp.Time
	for _, m := range p.ManagedFields {
		if m.Time != nil && m.Subresource == "" && m.FieldsV1 != nil && m.Time.After(at) &&
			strings.Contains(m.FieldsV1.GetRawString(), OverridesField) {
			at = m.Time.Time
		}
	}
	return at
}
