package mesh

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

func rule(name string, selector map[string]string) posture.EgressRule {
	return posture.EgressRule{Name: name, Selector: selector}
}

func TestGrouping(t *testing.T) {
	api, ledger, blue := map[string]string{"app": "api"}, map[string]string{"app": "ledger"}, map[string]string{"track": "blue"}
	var g Grouping
	overlapping := map[string]string{}
	for _, r := range []posture.EgressRule{
		rule("first-api", api), rule("all", nil), rule("blue", blue), rule("ledger", ledger), rule("second-api", api),
	} {
		if other := g.Overlaps(r); other != "" {
			overlapping[r.Name] = other
			continue
		}
		g.Add(r)
	}
	got := g.Groups()
	want := []Group{
		{Rules: []posture.EgressRule{rule("all", nil)}},
		{Selector: api, Rules: []posture.EgressRule{rule("first-api", api), rule("second-api", api)}},
		{Selector: ledger, Rules: []posture.EgressRule{rule("ledger", ledger)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"blue": "first-api"}, overlapping); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"msp-egress", "msp-egress-first-api"}, []string{got[0].Name(), got[1].Name()}); diff != "" {
		t.Error(diff)
	}
}

func TestGroupingWithoutRules(t *testing.T) {
	var g Grouping
	if groups := g.Groups(); len(groups) != 1 || groups[0].Name() != "msp-egress" {
		t.Errorf("got %v: the namespace's own group is always there", groups)
	}
}

func TestAssessment(t *testing.T) {
	var a Assessment
	if a.Verdict() != v1alpha1.VerdictEnforced || a.Message() != "" {
		t.Errorf("nothing said: %s %q", a.Verdict(), a.Message())
	}
	a.Say(v1alpha1.VerdictEnforced, "a limit")
	a.Say(v1alpha1.VerdictLooser, "a hole")
	a.Say(v1alpha1.VerdictPending, "not yet")
	a.Say(v1alpha1.VerdictLooser, "a hole")
	if a.Verdict() != v1alpha1.VerdictLooser || a.Message() != "a hole; not yet; a limit" {
		t.Errorf("got %s %q", a.Verdict(), a.Message())
	}
}

// Every verdict of the API has a place in the order.
func TestSeverityKnowsEveryVerdict(t *testing.T) {
	for _, v := range []v1alpha1.Verdict{
		v1alpha1.VerdictEnforced, v1alpha1.VerdictDryRun, v1alpha1.VerdictStricter, v1alpha1.VerdictLooser, v1alpha1.VerdictUnsupported,
		v1alpha1.VerdictNeedsPrerequisite, v1alpha1.VerdictRestartRequired, v1alpha1.VerdictConflict, v1alpha1.VerdictPending,
	} {
		if _, ok := severity[v]; !ok {
			t.Errorf("%s has none, and would count as Enforced", v)
		}
	}
}

func TestCut(t *testing.T) {
	long := strings.Repeat("ä", 600)
	if got := Cut(long, 1024); len(got) > 1024 || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("got %d bytes, valid: %t", len(got), utf8.ValidString(got))
	}
	if got := Cut("short", 1024); got != "short" {
		t.Errorf("got %q", got)
	}
}

func TestSome(t *testing.T) {
	for want, items := range map[string][]int{"": nil, "1, 2, 3": {1, 2, 3}, "1, 2, 3 and more": {1, 2, 3, 4}} {
		if got := Some(items); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
