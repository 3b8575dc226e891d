package effective

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// area is a part of a grid: every combination of some values of each respect.
type area struct {
	grid *grid
	sets [][]int
	by   []Ref
}

// maxAreas bounds how many areas of one workload are told apart.
const maxAreas = 4 * maxDifferences

// areas covers the marked probes of a grid by areas, each as wide as it gets
// from its first probe.
func (g *grid) areas(marked []bool, by []Ref) []area {
	covered := make([]bool, len(marked))
	var out []area
	for n := range marked {
		if !marked[n] || covered[n] || len(out) == maxAreas {
			continue
		}
		a := area{grid: g}
		for _, i := range g.coordinates(n) {
			a.sets = append(a.sets, []int{i})
		}
		for d := range g.dims {
			for v := range g.dims[d].values {
				have := a.sets[d]
				a.sets[d] = []int{v}
				all := !slices.Contains(have, v) && a.every(func(n int) bool { return marked[n] })
				a.sets[d] = have
				if all {
					a.sets[d] = append(have, v)
				}
			}
			slices.Sort(a.sets[d])
		}
		a.every(func(n int) bool {
			covered[n] = true
			if r := by[n]; r != (Ref{}) && !slices.Contains(a.by, r) {
				a.by = append(a.by, r)
			}
			return true
		})
		out = append(out, a)
	}
	return out
}

// every says whether f holds for the number of every probe of the area.
func (a *area) every(f func(n int) bool) bool {
	var walk func(d, n int) bool
	walk = func(d, n int) bool {
		if d == len(a.sets) {
			return f(n)
		}
		for _, i := range a.sets[d] {
			if !walk(d+1, n*len(a.grid.dims[d].values)+i) {
				return false
			}
		}
		return true
	}
	return walk(0, 0)
}

// special counts the respects in which an area is not general.
func (a *area) special() int {
	n := len(a.grid.workload)
	for d, s := range a.sets {
		if len(s) < len(a.grid.dims[d].values) {
			n++
		}
	}
	return n
}

// probe is the most general of the area.
func (a *area) probe() Probe {
	at := make([]int, len(a.sets))
	for d, s := range a.sets {
		at[d] = s[0]
	}
	return a.grid.probe(at)
}

// say names the values of a respect: nothing where it is all of them, all but
// some where the general one is among them, and otherwise those that it is.
func (a *area) say(name string) string {
	d := slices.IndexFunc(a.grid.dims, func(d dim) bool { return d.name == name })
	if d < 0 {
		return ""
	}
	var in, out []string
	for i, v := range a.grid.dims[d].values {
		say := v.say
		if v.mode != "" {
			say += " by " + v.mode
		}
		if slices.Contains(a.sets[d], i) {
			in = append(in, say)
		} else {
			out = append(out, say)
		}
	}
	general := a.sets[d][0] == 0
	switch {
	case len(out) == 0:
		return ""
	case general && name == "caller" && slices.Equal(out, []string{plaintextCallers}):
		return "callers with an identity"
	case general && name == "caller":
		return "callers other than " + mesh.Some(out)
	case general && !slices.Contains([]string{"way", "end", "token", "from"}, name):
		return "other than " + mesh.Some(out)
	}
	return mesh.Some(in)
}

// sayPort names ports and, where that matters, how they are read.
func (a *area) sayPort() string {
	d := slices.IndexFunc(a.grid.dims, func(d dim) bool { return d.name == "port" })
	values := a.grid.dims[d].values
	var modes, ports, otherModes, others []string
	add := func(list *[]string, s string) {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	for _, i := range a.sets[d] {
		add(&modes, values[i].mode)
		add(&ports, values[i].say)
	}
	for i, v := range values {
		add(&otherModes, v.mode)
		switch {
		case !slices.Contains(modes, v.mode) || slices.Contains(a.sets[d], i):
		case slices.Contains(ports, v.say):
			// Read in several ways, and not the same of every port.
			if s := a.say("port"); s != "" {
				return " on port " + s
			}
			return ""
		default:
			add(&others, v.say)
		}
	}
	out := ""
	switch {
	case len(others) == 0:
	case ports[0] == otherPorts:
		out = " on port other than " + mesh.Some(others)
	default:
		out = " on port " + mesh.Some(ports)
	}
	if len(modes) < len(otherModes) {
		out += " by " + modes[0]
	}
	return out
}

// phrase is a difference in words, around the workload that it concerns.
type phrase struct{ before, after string }

func (p phrase) rest() string { return p.before + "\x00" + p.after }

func (a *area) words() phrase {
	with := func(format, name string) string {
		if s := a.say(name); s != "" {
			return fmt.Sprintf(format, s)
		}
		return ""
	}
	switch a.grid.layer {
	case Transport:
		way := a.say("way")
		if way == "" || strings.HasPrefix(way, "in plaintext") {
			return phrase{"calls in plaintext to ", a.sayPort()}
		}
		return phrase{"calls " + way + ", to ", a.sayPort()}
	case Authorization:
		after := a.sayPort() + with(" by method %s", "method") + with(" of path %s", "path") + with(" for host %s", "host") + with(", with %s", "token")
		for d := range a.grid.dims[min(7, len(a.grid.dims)):] {
			name := a.grid.dims[7+d].name
			after += with(", where "+strings.ReplaceAll(name, "%", "%%")+" is %s", name)
		}
		return phrase{"calls" + with(" of %s", "caller") + with(" from address %s", "address") + " to ", after}
	case NetworkIn:
		return phrase{"connections" + with(" from %s", "end") + " to ", a.sayPort()}
	case NetworkOut:
		return phrase{"connections of ", with(" to %s", "end") + a.sayPort()}
	case ClientTransport:
		return phrase{"calls of ", a.start() + with(" to %s", "host") + a.sayPort() + " without the mesh's mutual TLS"}
	case ProxyOut:
		return phrase{"connections of ", a.start() + with(" to host %s", "host") + with(" at address %s", "address") + a.sayPort() +
			with(", whose certificate is for %s", "presents")}
	case Unlogged:
		return phrase{"denied calls to ", " without a line in the log"}
	}
	return phrase{}
}

// start says where connections of other namespaces begin.
func (a *area) start() string {
	s := a.say("from")
	switch {
	case strings.Contains(s, freshName):
		return " of other namespaces"
	case s != "":
		return " of namespace " + s
	}
	return ""
}

// merged is areas that say the same of several workloads.
type merged struct {
	area
	phrase
	workloads []Labels
}

func (m *merged) add(a area) {
	m.workloads = append(m.workloads, a.grid.workload)
	for _, r := range a.by {
		if !slices.Contains(m.by, r) {
			m.by = append(m.by, r)
		}
	}
}

// text names the workloads: whatever else is listed, one without labels stands
// for every workload that nothing names.
func (m *merged) text(compared []Labels) string {
	var in, out []string
	general := false
	for _, l := range compared {
		if slices.ContainsFunc(m.workloads, func(w Labels) bool { return describe(w) == describe(l) }) {
			in = append(in, describe(l))
			general = general || len(l) == 0
		} else {
			out = append(out, describe(l))
		}
	}
	who := "every workload"
	switch {
	case general && len(out) == 0:
	case general:
		who = "workloads other than " + mesh.Some(out)
	default:
		who = mesh.Some(in)
	}
	return m.before + who + m.after
}
