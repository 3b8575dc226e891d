package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// severity orders verdicts, the worst highest.
var severity = map[v1alpha1.Verdict]int{
	v1alpha1.VerdictEnforced:          0,
	v1alpha1.VerdictDryRun:            1,
	v1alpha1.VerdictPending:           2,
	v1alpha1.VerdictStricter:          3,
	v1alpha1.VerdictRestartRequired:   4,
	v1alpha1.VerdictNeedsPrerequisite: 5,
	v1alpha1.VerdictLooser:            6,
	v1alpha1.VerdictConflict:          7,
	v1alpha1.VerdictUnsupported:       8,
}

// Assessment collects what there is to say about one rule. Its verdict is the
// worst of what was said; without a remark it is Enforced.
type Assessment struct{ remarks []remark }

type remark struct {
	verdict v1alpha1.Verdict
	text    string
}

// Say adds a remark: why the rule is no better than the verdict, and what to
// do. A remark with the verdict Enforced is a limit that a reader has to know.
func (a *Assessment) Say(v v1alpha1.Verdict, format string, args ...any) {
	r := remark{v, fmt.Sprintf(format, args...)}
	if !slices.Contains(a.remarks, r) {
		a.remarks = append(a.remarks, r)
	}
}

// Verdict is the worst one said.
func (a *Assessment) Verdict() v1alpha1.Verdict {
	worst := v1alpha1.VerdictEnforced
	for _, r := range a.remarks {
		if severity[r.verdict] > severity[worst] {
			worst = r.verdict
		}
	}
	return worst
}

// Message joins the remarks, the worst first, within the limit of a status message.
func (a *Assessment) Message() string {
	sorted := slices.Clone(a.remarks)
	slices.SortStableFunc(sorted, func(x, y remark) int { return cmp.Compare(severity[y.verdict], severity[x.verdict]) })
	texts := make([]string, len(sorted))
	for i, r := range sorted {
		texts[i] = r.text
	}
	return Cut(strings.Join(texts, "; "), v1alpha1.MaxMessageBytes)
}

// Cut shortens a text to at most limit bytes, ending in "…" where it is cut.
func Cut(s string, limit int) string {
	const more = "…"
	if len(s) <= limit {
		return s
	}
	end := limit - len(more)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + more
}

// Some names at most three of a list, so that a message stays short and does
// not change with every pod.
func Some[T any](items []T) string {
	const most = 3
	var out []string
	for i, v := range items {
		if i == most {
			return strings.Join(out, ", ") + " and more"
		}
		out = append(out, fmt.Sprint(v))
	}
	return strings.Join(out, ", ")
}
