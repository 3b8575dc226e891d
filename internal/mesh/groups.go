package mesh

import (
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

// Groups partitions egress rules by the workloads that they are for. The first
// group is the namespace's own, also where it has no rule. A mesh applies one
// egress setting to a workload, so that two groups must not share one: a rule
// that could is left out and named in overlapping, with the earlier rule that
// it overlaps.
func Groups(rules []posture.EgressRule) (groups []Group, overlapping map[string]string) {
	groups = []Group{{}}
	overlapping = map[string]string{}
	for _, r := range rules {
		i, other := groupOf(groups, r)
		switch {
		case other != "":
			overlapping[r.Name] = other
		case i < 0:
			groups = append(groups, Group{Selector: r.Selector, Rules: []posture.EgressRule{r}})
		default:
			groups[i].Rules = append(groups[i].Rules, r)
		}
	}
	return groups, overlapping
}

// groupOf is the group that a rule belongs to, -1 for a new one, or the name of
// a rule that it overlaps.
func groupOf(groups []Group, r posture.EgressRule) (index int, overlaps string) {
	if len(r.Selector) == 0 {
		return 0, ""
	}
	for i, g := range groups[1:] {
		if facts.SelectorKey(g.Selector) == facts.SelectorKey(r.Selector) {
			return i + 1, ""
		}
	}
	for _, g := range groups[1:] {
		if facts.Overlap(g.Selector, r.Selector) {
			return -1, g.Rules[0].Name
		}
	}
	return -1, ""
}
