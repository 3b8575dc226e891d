package controllers

import (
	"slices"
	"testing"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

func TestTransitions(t *testing.T) {
	f := func(check, subject string, state v1alpha1.FindingState) v1alpha1.Finding {
		return v1alpha1.Finding{Check: check, Severity: v1alpha1.SeverityHigh, Subject: subject, State: state, Message: "m of " + subject}
	}
	const open, excepted, unknown = v1alpha1.FindingOpen, v1alpha1.FindingExcepted, v1alpha1.FindingUnknown
	for name, c := range map[string]struct {
		before, after []v1alpha1.Finding
		want          []string
	}{
		"nothing":               {nil, nil, nil},
		"the same":              {[]v1alpha1.Finding{f("A", "Pod/a", open)}, []v1alpha1.Finding{f("A", "Pod/a", open)}, nil},
		"another message":       {[]v1alpha1.Finding{f("A", "Pod/a", open)}, []v1alpha1.Finding{{Check: "A", Subject: "Pod/a", State: open, Message: "other"}}, nil},
		"one opens":             {nil, []v1alpha1.Finding{f("A", "Pod/a", open)}, []string{"opened A High: Pod/a: m of Pod/a"}},
		"many open at once":     {nil, []v1alpha1.Finding{f("A", "Pod/a", open), f("A", "Pod/b", open)}, []string{"opened A High: Pod/a, Pod/b: m of Pod/a"}},
		"in several namespaces": {nil, []v1alpha1.Finding{f("A", "Pod/x/a", open), f("A", "Pod/y/b", open)}, []string{"opened A High: Pod/x/a: m of Pod/x/a", "opened A High: Pod/y/b: m of Pod/y/b"}},
		"one is over":           {[]v1alpha1.Finding{f("A", "Pod/a", open)}, nil, []string{"over A High: Pod/a: m of Pod/a"}},
		"one is excepted":       {[]v1alpha1.Finding{f("A", "Pod/a", open)}, []v1alpha1.Finding{f("A", "Pod/a", excepted)}, []string{"over A High: Pod/a: m of Pod/a"}},
		"an exception ends":     {[]v1alpha1.Finding{f("A", "Pod/a", excepted)}, []v1alpha1.Finding{f("A", "Pod/a", open)}, []string{"opened A High: Pod/a: m of Pod/a"}},
		"it can't be told":      {[]v1alpha1.Finding{f("A", "Pod/a", open)}, []v1alpha1.Finding{f("A", "Pod/a", unknown)}, nil},
		"unknown is no news":    {nil, []v1alpha1.Finding{f("A", "Pod/a", unknown)}, nil},
	} {
		var got []string
		for _, tr := range transitions(c.before, c.after) {
			what := "over "
			if tr.opened {
				what = "opened "
			}
			got = append(got, what+tr.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
