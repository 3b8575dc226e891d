package effective

import (
	"cmp"
	"slices"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

const (
	// maxGrid bounds the probes of one workload at one layer, maxProbes those of
	// a comparison.
	maxGrid, maxProbes = 4096, 40000
	// maxDifferences is how many differences a reader is shown each way.
	maxDifferences = 20
)

// Compare says what passes in one world alone. It looks only at layers, and at
// workloads, that some object which differs has to do with.
func Compare(before, after *Model) Comparison {
	c := comparison{before: before, after: after, changed: changes(before, after), budget: maxProbes, compared: map[Layer][]Labels{}}
	everything := !sameSurroundings(before.World, after.World)
	for _, l := range layers {
		var concerned []change
		for _, ch := range c.changed {
			if slices.Contains(layersOf(ch.either()), l) {
				concerned = append(concerned, ch)
			}
		}
		if !everything && len(concerned) == 0 {
			continue
		}
		grids, complete := gridsOf(l, []*Model{before, after}, func(to Labels) bool {
			return everything || slices.ContainsFunc(concerned, func(ch change) bool { return ch.concerns(to) })
		})
		c.out.Partial = c.out.Partial || !complete
		for i := range grids {
			c.compared[l] = append(c.compared[l], grids[i].workload)
			c.layer(&grids[i], concerned)
		}
	}
	for _, ch := range c.changed {
		if ch.hides(after.domain()) {
			c.unknown(ch.ref)
		}
	}
	return c.result()
}

type comparison struct {
	before, after *Model
	changed       []change
	budget        int
	opens, shuts  []area
	compared      map[Layer][]Labels
	out           Comparison
}

// change is an object that is not the same in both worlds; nil where it is not.
type change struct {
	ref           Ref
	before, after facts.Object
}

func (c change) either() facts.Object {
	if c.before != nil {
		return c.before
	}
	return c.after
}

// changes are the objects that differ, sorted.
func changes(before, after *Model) []change {
	was := make(map[Ref]facts.Object, len(before.Objects))
	for _, o := range before.Objects {
		was[RefOf(o)] = o
	}
	var out []change
	for _, o := range after.Objects {
		ref := RefOf(o)
		have, ok := was[ref]
		delete(was, ref)
		if !ok {
			out = append(out, change{ref, nil, o})
		} else if have != o && !alike(have, o) {
			out = append(out, change{ref, have, o})
		}
	}
	for ref, o := range was {
		out = append(out, change{ref, o, nil})
	}
	slices.SortFunc(out, func(a, b change) int { return a.ref.compare(b.ref) })
	return out
}

func sameSurroundings(a, b World) bool {
	return a.Namespace == b.Namespace && a.Partial == b.Partial && equality.Semantic.DeepEqual(a.Mesh, b.Mesh) &&
		equality.Semantic.DeepEqual(a.Pods, b.Pods) && equality.Semantic.DeepEqual(a.Services, b.Services)
}

// layersOf are the layers that an object of a kind has to do with.
// A policy at an egress gateway has to do with none of this world's.
func layersOf(o facts.Object) []Layer {
	if mesh.AtGateway(o) {
		return nil
	}
	return map[string][]Layer{
		"PeerAuthentication":    {Transport},
		"AuthorizationPolicy":   {Authorization},
		"RequestAuthentication": {Authorization},
		"NetworkPolicy":         {NetworkIn, NetworkOut},
		"DestinationRule":       {ClientTransport},
		"Sidecar":               {ProxyOut},
		"ServiceEntry":          {ProxyOut},
		"Telemetry":             {Unlogged},
	}[kindOf(o)]
}

// concerns says whether the object selects a workload, in either world.
func (c change) concerns(to Labels) bool { return selected(c.before, to) || selected(c.after, to) }

func selected(o facts.Object, to Labels) bool {
	switch o := o.(type) {
	case nil:
		return false
	case *securityv1.PeerAuthentication:
		return selects(o.Spec.GetSelector().GetMatchLabels(), to)
	case *securityv1.AuthorizationPolicy:
		return selects(o.Spec.GetSelector().GetMatchLabels(), to)
	case *securityv1.RequestAuthentication:
		return selects(o.Spec.GetSelector().GetMatchLabels(), to)
	case *netv1.NetworkPolicy:
		return selectorOf(&o.Spec.PodSelector).Matches(labels.Set(to))
	}
	return true
}

// layer compares what becomes of every probe of a grid.
func (c *comparison) layer(g *grid, concerned []change) {
	if g.cut(min(maxGrid, max(c.budget, 1))) {
		c.out.Partial = true
	}
	n := g.size()
	c.budget -= n
	opens, shuts := make([]bool, n), make([]bool, n)
	opened, shut := false, false
	decides := make([]Ref, n)
	before, after := c.before.of(g.workload), c.after.of(g.workload)
	g.each(func(i int, p *Probe) {
		was, is := before.pass(p), after.pass(p)
		switch {
		case was.state < is.state:
			opens[i], opened = true, true
			decides[i] = c.decider(c.after, is, c.before, was)
		case was.state > is.state:
			shuts[i], shut = true, true
			decides[i] = c.decider(c.before, was, c.after, is)
		case was.state == unsure:
			c.unsure(was, is, concerned)
		}
	})
	if opened {
		c.opens = append(c.opens, g.areas(opens, decides)...)
	}
	if shut {
		c.shuts = append(c.shuts, g.areas(shuts, decides)...)
	}
}

// decider is what decides where a probe passes, or else where it does not.
func (c *comparison) decider(m *Model, v verdict, other *Model, w verdict) Ref {
	switch {
	case v.by >= 0:
		return m.refs[v.by]
	case w.by >= 0:
		return other.refs[w.by]
	}
	return Ref{}
}

// unsure is a probe of which neither world tells: the same of both, unless what
// decides changed, or is another.
func (c *comparison) unsure(was, is verdict, concerned []change) {
	name := func(m *Model, v verdict) Ref {
		if v.by < 0 {
			return Ref{}
		}
		return m.refs[v.by]
	}
	a, b := name(c.before, was), name(c.after, is)
	for _, ch := range concerned {
		if a != b || ch.ref == a {
			c.unknown(ch.ref)
		}
	}
}

func (c *comparison) unknown(r Ref) {
	if !slices.Contains(c.out.Unknown, r) {
		c.out.Unknown = append(c.out.Unknown, r)
	}
}

func (c *comparison) result() Comparison {
	slices.SortFunc(c.out.Unknown, Ref.compare)
	c.out.Opens, c.out.Shuts = c.differences(c.opens), c.differences(c.shuts)
	return c.out
}

// differences are areas in words, merged over workloads: the most general first.
func (c *comparison) differences(areas []area) []Difference {
	slices.SortStableFunc(areas, func(a, b area) int {
		return cmp.Or(cmp.Compare(slices.Index(layers, a.grid.layer), slices.Index(layers, b.grid.layer)), cmp.Compare(a.special(), b.special()),
			cmp.Compare(describe(a.grid.workload), describe(b.grid.workload)))
	})
	var out []Difference
	index := map[string]int{}
	var all []merged
	for _, a := range areas {
		what := a.words()
		key := string(a.grid.layer) + what.rest()
		i, ok := index[key]
		if !ok {
			index[key] = len(all)
			all = append(all, merged{area: a, phrase: what})
			i = len(all) - 1
		}
		all[i].add(a)
	}
	for _, m := range all {
		if len(out) == maxDifferences {
			break
		}
		out = append(out, Difference{Probe: m.area.probe(), By: m.by, What: m.text(c.compared[m.grid.layer])})
	}
	return out
}
