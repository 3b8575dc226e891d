package corpus

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/internal/audit"
)

const pageHead = `# Beside istioctl analyze

%d small clusters of %s, each with one thing wrong or none, looked at by the operator's audit and by ` + "`istioctl analyze`" + `. The page is made by ` + "`make golden`" + ` from what both say there, ` + "`make golden-istio`" + ` records istioctl's part, and tests fail when either is not current. [How to read it](../how-to/istioctl.md).

Objects that nobody needs to see are in every cluster: a mesh, and the namespaces payments and shop, closed by objects written by hand. Where a cluster has a profile, istioctl sees what the operator writes for it as well.

`

// Page compares what both say of clusters, sorted by name.
func Page(clusters []Cluster, checks []audit.Check, reasons Reasons) string {
	registry := map[string]audit.Check{}
	for _, c := range checks {
		registry[c.ID] = c
	}
	rows := map[string][]Row{}
	for _, c := range clusters {
		rows[c.Name] = Compare(c, registry, reasons)
	}
	var b strings.Builder
	fmt.Fprintf(&b, pageHead, len(clusters), "`internal/corpus/testdata/clusters`")
	inShort(&b, clusters, rows)
	byCheck(&b, checks, rows, reasons)
	byCode(&b, rows, reasons)
	b.WriteString("\n## Cluster by cluster\n")
	for _, c := range clusters {
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n", c.Name, c.Wrong)
		section(&b, c, rows[c.Name], reasons)
	}
	return b.String()
}

func inShort(b *strings.Builder, clusters []Cluster, rows map[string][]Row) {
	things, seen := map[Who]int{}, map[string]int{}
	for _, c := range clusters {
		who := map[Who]bool{}
		for _, r := range rows[c.Name] {
			things[r.Who]++
			who[r.Who] = true
		}
		switch {
		case c.Good():
			seen["nothing is wrong, and neither says anything"]++
		case !who[OnlyOurs] && !who[Both] && !who[OnlyIstioctl]:
			seen["something is wrong, and neither sees it"]++
		case who[OnlyOurs] && !who[Both] && !who[OnlyIstioctl]:
			seen["only we see what is wrong"]++
		case who[OnlyIstioctl] && !who[Both] && !who[OnlyOurs]:
			seen["only istioctl sees something"]++
		default:
			seen["both see something"]++
		}
	}
	b.WriteString("| clusters | |\n|---|---|\n")
	for _, k := range slices.Sorted(maps.Keys(seen)) {
		fmt.Fprintf(b, "| %d | %s |\n", seen[k], k)
	}
	b.WriteString("\n| things | seen by |\n|---|---|\n")
	for _, w := range []Who{Both, OnlyOurs, OnlyIstioctl, Untold} {
		if things[w] == 0 {
			continue
		}
		fmt.Fprintf(b, "| %d | %s |\n", things[w], w)
	}
}

// tally counts clusters.
type tally struct{ both, alone int }

func byCheck(b *strings.Builder, checks []audit.Check, rows map[string][]Row, reasons Reasons) {
	counts := map[string]*tally{}
	for _, c := range checks {
		counts[c.ID] = &tally{}
	}
	for _, list := range rows {
		for id, who := range inCluster(list, func(r Row) string { return r.Check }) {
			if counts[id] == nil {
				counts[id] = &tally{}
			}
			counts[id].add(who)
		}
	}
	titles := map[string]audit.Check{}
	for _, c := range checks {
		titles[c.ID] = c
	}
	b.WriteString("\n## By check\n\nIn how many clusters a check finds something, with istioctl and without it.\n\n| check | | both | only we | istioctl |\n|---|---|---|---|---|\n")
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		c := titles[id]
		link, why := id, strings.Join(linked(codes(c)), ", ")
		if c.ID != "" {
			link = fmt.Sprintf("[%s](checks.md#%s)", id, anchor(c))
		}
		switch {
		case why == "":
			why = "has no analyzer for this"
		case reasons.Silent[id] != "":
			why += "; silent elsewhere: " + reasons.Silent[id]
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", link, cell(c.Title), count(counts[id].both), count(counts[id].alone), cell(why))
	}
}

func byCode(b *strings.Builder, rows map[string][]Row, reasons Reasons) {
	counts, with := map[string]*tally{}, map[string][]string{}
	for _, list := range rows {
		for code, who := range inCluster(list, func(r Row) string { return r.Code }) {
			if counts[code] == nil {
				counts[code] = &tally{}
			}
			counts[code].add(who)
		}
		for _, r := range list {
			if r.Who == Both {
				with[r.Code] = append(with[r.Code], r.Check)
			}
		}
	}
	b.WriteString("\n## By istioctl's code\n\nIn how many clusters istioctl has the message, with us and without.\n\n| code | both | only istioctl | ours, or why not |\n|---|---|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		var why []string
		if ids := once(with[code]); len(ids) > 0 {
			why = append(why, strings.Join(ids, ", "))
		}
		for _, key := range slices.Sorted(maps.Keys(reasons.Istioctl)) {
			of, kind, _ := strings.Cut(key, " ")
			switch {
			case of != code:
			case kind != "":
				why = append(why, "for "+kind+": "+reasons.Istioctl[key])
			default:
				why = append(why, reasons.Istioctl[key])
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", linked([]string{code})[0], count(counts[code].both), count(counts[code].alone), cell(strings.Join(why, "; ")))
	}
}

// inCluster says of everything that is named in the rows of one cluster whether
// somebody is alone with it there: both see it where some row says so.
func inCluster(rows []Row, name func(Row) string) map[string]Who {
	out := map[string]Who{}
	for _, r := range rows {
		if n := name(r); n != "" && r.Who != Untold && out[n] != Both {
			out[n] = r.Who
		}
	}
	return out
}

func (t *tally) add(w Who) {
	if w == Both {
		t.both++
	} else {
		t.alone++
	}
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func section(b *strings.Builder, c Cluster, rows []Row, reasons Reasons) {
	switch {
	case len(rows) > 0:
		if reason := reasons.Unseen[c.Name]; reason != "" {
			fmt.Fprintf(b, "\nNeither sees it: %s.\n", reason)
		}
		b.WriteString("\n| seen by | we | istioctl | why |\n|---|---|---|---|\n")
	case c.Good():
		b.WriteString("\nNeither says anything.\n")
	default:
		fmt.Fprintf(b, "\nNeither sees it: %s.\n", reasons.Unseen[c.Name])
	}
	for _, r := range rows {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", r.Who, said(r.Check, r.Ours), said(r.Code, r.Theirs), cell(r.Why))
	}
}

// said is who says it, of what.
func said(id string, about []string) string {
	if id == "" {
		return ""
	}
	return cell(id + ": " + strings.Join(about, ", "))
}

// cell is a text that is safe in a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`).Replace(s)
}

// linked are codes with where istio.io explains them.
func linked(codes []string) []string {
	var out []string
	for _, c := range codes {
		out = append(out, fmt.Sprintf("[%s](https://istio.io/latest/docs/reference/config/analysis/%s/)", c, strings.ToLower(c)))
	}
	return out
}

// anchor of a check's heading, as a link names it.
func anchor(c audit.Check) string {
	keep := func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z':
			return r
		}
		return -1
	}
	return cmp.Or(strings.Map(keep, strings.ToLower(c.ID+": "+c.Title)), c.ID)
}
