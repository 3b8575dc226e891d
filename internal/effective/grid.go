package effective

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// A grid is every combination of the values that can make a difference to one
// layer for one workload. Of the values that every matcher treats alike, one
// stands for all: the first, so that what is the most general comes first.
type grid struct {
	layer Layer
	// workload are the labels that the grid is for, and selector the words for it.
	workload Labels
	dims     []dim
}

// dim is one respect in which probes differ.
type dim struct {
	name   string
	values []value
}

// value of a dim: what it says in words, and how it is set in a probe. A port is
// there once for each mode in which it may be read.
type value struct {
	say, mode string
	set       func(*Probe)
}

func (g *grid) size() int {
	n := 1
	for _, d := range g.dims {
		n *= len(d.values)
	}
	return n
}

// cut drops values, of the longest respect first, until at most limit probes
// are left; it says whether it had to.
func (g *grid) cut(limit int) bool {
	had := false
	for g.size() > max(limit, 1) {
		longest := 0
		for i := range g.dims {
			if len(g.dims[i].values) > len(g.dims[longest].values) {
				longest = i
			}
		}
		d := &g.dims[longest]
		d.values = d.values[:len(d.values)-1]
		had = true
	}
	return had
}

// each calls f for every probe, in the order of its number. f must not keep it.
func (g *grid) each(f func(n int, p *Probe)) {
	p := Probe{Layer: g.layer}
	p.Call.To, p.Exit.From = g.workload, g.workload
	at := make([]int, len(g.dims))
	for i := range g.dims {
		g.dims[i].values[0].set(&p)
	}
	for n := range g.size() {
		f(n, &p)
		for i := len(g.dims) - 1; i >= 0; i-- {
			at[i] = (at[i] + 1) % len(g.dims[i].values)
			g.dims[i].values[at[i]].set(&p)
			if at[i] > 0 {
				break
			}
		}
	}
}

// coordinates of the probe of a number.
func (g *grid) coordinates(n int) []int {
	at := make([]int, len(g.dims))
	for i := len(g.dims) - 1; i >= 0; i-- {
		at[i] = n % len(g.dims[i].values)
		n /= len(g.dims[i].values)
	}
	return at
}

func (g *grid) probe(at []int) Probe {
	p := Probe{Layer: g.layer}
	p.Call.To, p.Exit.From = g.workload, g.workload
	for i, j := range at {
		g.dims[i].values[j].set(&p)
	}
	if isOut(g.layer) {
		p.Call = Call{}
	} else {
		p.Exit = Exit{}
	}
	return p
}

func isOut(l Layer) bool { return l == ClientTransport || l == ProxyOut || l == NetworkOut }

const (
	// maxConstants bounds what the values of one workload are made from: whoever
	// writes policies must not decide how long a comparison takes.
	maxConstants = 400
	// maxCandidates is more than come of so many.
	maxCandidates = 16 * maxConstants
)

// distinct keeps the first of the candidates that every matcher treats alike.
func distinct[T any](candidates []T, sign func(T) string) []T {
	seen := map[string]bool{}
	var out []T
	for _, c := range candidates[:min(len(candidates), maxCandidates)] {
		if key := sign(c); !seen[key] {
			seen[key] = true
			out = append(out, c)
		}
	}
	return out
}

// signature is how matchers treat something.
type signature struct{ b strings.Builder }

func (s *signature) add(yes bool) {
	if yes {
		s.b.WriteByte('1')
	} else {
		s.b.WriteByte('0')
	}
}

// maxWorkloads bounds how many sets of labels are looked at.
const maxWorkloads = 128

// workloads are sets of labels that the selectors tell apart: none of them, each
// of them, whatever they can have in common, and those of the real pods. It is
// false where there were more than are looked at.
func workloads(selectors []map[string]string, pods []facts.Pod) ([]Labels, bool) {
	selectors = slices.SortedFunc(slices.Values(selectors), func(a, b map[string]string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(facts.SelectorKey(a), facts.SelectorKey(b)))
	})
	selectors = slices.CompactFunc(selectors, maps.Equal)
	out := []Labels{{}}
	complete := true
	for _, s := range selectors {
		if len(s) == 0 {
			continue
		}
		for _, have := range out[:len(out):len(out)] {
			if !facts.Overlap(s, have) {
				continue
			}
			if len(out) >= maxWorkloads {
				complete = false
				break
			}
			both := Labels(maps.Clone(s))
			maps.Copy(both, have)
			out = append(out, both)
		}
	}
	for _, p := range pods {
		if len(out) < maxWorkloads {
			out = append(out, p.Labels)
		}
	}
	return distinct(out, func(l Labels) string {
		var s signature
		for _, sel := range selectors {
			s.add(selects(sel, l))
		}
		return s.b.String()
	}), complete
}

// describe names a workload by the labels that selectors ask for.
func describe(l Labels) string {
	if len(l) == 0 {
		return ""
	}
	return strings.TrimSuffix(facts.SelectorKey(l), ",")
}
