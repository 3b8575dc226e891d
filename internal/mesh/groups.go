package mesh

import (
	"maps"
	"slices"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Group is the egress rules of one set of workloads.
type Group struct {
	// Selector of the workloads; empty for all of the namespace.
	Selector map[string]string
	// Rules in the order in which they are declared.
	Rules []posture.EgressRule
}

// Name of the objects that hold the group's egress: the first rule's name, so
// that adding a rule to the group renames nothing.
func (g Group) Name() string {
	if len(g.Selector) == 0 {
		return Name("egress")
	}
	return Name("egress", g.Rules[0].Name)
}

// Grouping partitions egress rules by the workloads that they are for. A mesh
// applies one egress setting to a workload, so that two groups must not share
// one. The first group is the namespace's own, also where it has no rule.
type Grouping struct{ groups []Group }

// Overlaps names an earlier rule whose workloads, without being the same, could
// be those of r; empty where there is none and r may be added.
func (g *Grouping) Overlaps(r posture.EgressRule) string {
	if len(r.Selector) == 0 || g.find(r.Selector) >= 0 {
		return ""
	}
	for _, other := range g.groups {
		if len(other.Selector) > 0 && facts.Overlap(other.Selector, r.Selector) {
			return other.Rules[0].Name
		}
	}
	return ""
}

// Add puts a rule into the group of its workloads.
func (g *Grouping) Add(r posture.EgressRule) {
	g.start()
	if i := g.find(r.Selector); i >= 0 {
		g.groups[i].Rules = append(g.groups[i].Rules, r)
		return
	}
	g.groups = append(g.groups, Group{Selector: r.Selector, Rules: []posture.EgressRule{r}})
}

// Groups returns the namespace's own group and then the others, in the order
// of their first rules.
func (g *Grouping) Groups() []Group {
	g.start()
	return g.groups
}

func (g *Grouping) start() {
	if len(g.groups) == 0 {
		g.groups = []Group{{}}
	}
}

// find is the group of exactly these workloads, -1 where there is none.
func (g *Grouping) find(selector map[string]string) int {
	return slices.IndexFunc(g.groups, func(other Group) bool { return maps.Equal(other.Selector, selector) })
}
