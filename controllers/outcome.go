package controllers

import (
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// failures is what status says of an outcome.
func failures(o apply.Outcome) status.Outcome {
	var out status.Outcome
	for _, r := range o.Failures() {
		out.Failures = append(out.Failures, status.Failure{Resource: r.Step.Resource(), Rejected: r.Kind == apply.Rejected, Message: r.Message()})
	}
	return out
}

// count shows writes as metrics.
func count(o apply.Outcome) {
	for _, r := range o.Results {
		report.Write(r.Step.Change.Key.Kind, string(r.Step.Verb), strings.ToLower(string(r.Kind)))
	}
}

// complete says whether everything is done that was to be: nothing is left for
// when the cache shows it.
func complete(d decide.Decision, o apply.Outcome) bool {
	return d.Profile != nil && len(d.Leaving) == 0 &&
		!slices.ContainsFunc(d.Changes, func(c drift.Change) bool { return c.Waiting }) &&
		!slices.ContainsFunc(o.Results, func(r apply.Result) bool { return r.Kind != apply.Done })
}

// terminating says whether the namespace turned out to be on its way out.
func terminating(o apply.Outcome) bool {
	for _, r := range o.Results {
		if r.Kind == apply.Terminating {
			return true
		}
	}
	return false
}
