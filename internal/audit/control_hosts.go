package audit

import (
	"cmp"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func hostChecks() []Check {
	return []Check{{
		ID: "CTL-001", Title: "a namespace takes calls for another one's hosts", Severity: v1alpha1.SeverityCritical,
		Compliance:  []string{"NIST SP 800-204A SM-DR12"},
		Remediation: "have the object export to its own namespace alone (exportTo: [\".\"]), or have the namespace that the host belongs to declare it; an exception in the object's namespace is for those who may do so",
		Limits: "Looked at are VirtualServices for calls within the mesh and ServiceEntries that other namespaces see. A host of the cluster belongs to its service's namespace, another one to the namespace of the oldest ServiceEntry for it that others see. " +
			"Objects of the mesh's root namespace are left out, whose administrators decide about everybody. DestinationRules are no finding here: Istio takes those of the caller's, the service's and the root namespace alone, so that one elsewhere takes nothing over. Routes of the Gateway API are not looked at. " +
			"High for a host outside the cluster whose calls are led nowhere else, and Medium for a ServiceEntry that repeats another one's host and does not say itself where it is.",
		References: []string{"https://istio.io/latest/docs/ops/best-practices/traffic-management/#cross-namespace-configuration", "https://istio.io/latest/docs/reference/config/networking/virtual-service/", "https://istio.io/latest/docs/reference/config/networking/service-entry/"},
		cluster:    hostsTaken,
	}}
}

// taken is a host of a shared object that belongs to others.
type taken struct {
	host string
	// owners are the namespaces that it belongs to; none: it covers every one.
	owners []string
	// inside is true for a host of the cluster.
	inside bool
}

func (t taken) String() string {
	switch {
	case len(t.owners) == 0:
		return t.host + " (of every namespace)"
	case t.inside:
		return t.host + " (of namespace " + mesh.Some(t.owners) + ")"
	}
	return t.host + " (declared by namespace " + mesh.Some(t.owners) + ")"
}

// clusterOwners are the namespaces of the services that a host stands for, exact
// or *.suffix; none and true where it covers every namespace.
func (s *ClusterScene) clusterOwners(host string) (owners []string, inside bool) {
	suffix := "svc." + s.Mesh.ClusterDomain
	rest, wild := strings.CutPrefix(host, "*.")
	if wild && (rest == suffix || strings.HasSuffix(suffix, "."+rest)) {
		return nil, true
	}
	name, ok := strings.CutSuffix(rest, "."+suffix)
	if !ok {
		return nil, false
	}
	return []string{name[strings.LastIndex(name, ".")+1:]}, true
}

// declared are the oldest entries for each host, whose namespaces it belongs to.
type declared map[string]facts.SharedEntry

func (s *ClusterScene) declared() declared {
	out := declared{}
	for _, e := range s.Control.Entries {
		for _, h := range e.Hosts {
			if have, seen := out[h]; !seen || before(e, have) {
				out[h] = e
			}
		}
	}
	return out
}

// exactly is the namespace that a host belongs to.
func (d declared) exactly(host string) []string {
	if e, ok := d[host]; ok {
		return []string{e.Namespace}
	}
	return nil
}

// below are the namespaces that the hosts belong to which a host covers.
func (d declared) below(host string) []string {
	if !strings.HasPrefix(host, "*") {
		return d.exactly(host)
	}
	var out []string
	for h, e := range d {
		if effective.Covers(host, h) {
			out = append(out, e.Namespace)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// before says which of two ServiceEntries for a host counts.
func before(a, b facts.SharedEntry) bool {
	return cmp.Or(a.Created.Compare(b.Created.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) < 0
}

// takes are the hosts of an object of a namespace that belong to others, those
// outside of the cluster by who declares them.
func (s *ClusterScene) takes(namespace string, hosts []string, declarers func(host string) []string) []taken {
	var out []taken
	for _, h := range hosts {
		owners, inside := s.clusterOwners(h)
		if !inside {
			owners = declarers(h)
			if len(owners) == 0 {
				continue
			}
		}
		if len(owners) > 0 {
			if owners = slices.DeleteFunc(owners, func(ns string) bool { return ns == namespace }); len(owners) == 0 {
				continue
			}
		}
		out = append(out, taken{h, owners, inside})
	}
	slices.SortFunc(out, func(a, b taken) int { return cmp.Compare(a.host, b.host) })
	return out
}

// seenBy says in words who sees a shared object.
func seenBy(exported []string) string {
	if slices.Contains(exported, "*") {
		return "every namespace"
	}
	return "namespace " + mesh.Some(exported)
}

func hostsTaken(s *ClusterScene) []Finding {
	var out []Finding
	known := s.declared()
	for _, r := range s.Control.Routes {
		hosts := s.takes(r.Namespace, r.Hosts, known.below)
		if len(hosts) == 0 {
			continue
		}
		f := open(r.In(""), "it decides how the calls of %s for %s are routed", seenBy(r.Exported), mesh.Some(hosts))
		if !slices.ContainsFunc(hosts, func(t taken) bool { return t.inside }) && len(s.away(r)) == 0 && !r.Delegates {
			f.Severity = v1alpha1.SeverityHigh
		}
		out = append(out, f)
	}
	for _, e := range s.Control.Entries {
		if e.Namespace == s.Mesh.RootNamespace {
			continue
		}
		hosts := s.takes(e.Namespace, e.Hosts, known.exactly)
		if len(hosts) == 0 {
			continue
		}
		f := open(e.In(""), "it declares %s, and %s sees it", mesh.Some(hosts), seenBy(e.Exported))
		switch {
		case slices.ContainsFunc(hosts, func(t taken) bool { return t.inside }):
		case e.Endpoints:
			f.Message += ": it says itself where calls for it go"
		default:
			f.Severity = v1alpha1.SeverityMedium
		}
		out = append(out, f)
	}
	return out
}

// elsewhere is where a shared route leads calls that does not belong to its hosts.
type elsewhere struct {
	host string
	// outside is true for what is no service of the cluster.
	outside bool
}

// away are the destinations of a route that belong to none of those whose hosts
// it is for, and are no gateway.
func (s *ClusterScene) away(r facts.SharedRoute) []elsewhere {
	home := map[string]bool{}
	for _, h := range r.Hosts {
		at, inside := facts.Place(h, r.Namespace, s.Mesh.ClusterDomain)
		if owners, _ := s.clusterOwners(h); len(owners) > 0 {
			home[owners[0]] = true
		} else if inside {
			home[at.Namespace] = true
		}
	}
	var out []elsewhere
	for _, d := range r.Destinations {
		if slices.ContainsFunc(r.Hosts, func(h string) bool { return same(h, d) }) {
			continue
		}
		at, inside := facts.Place(d, r.Namespace, s.Mesh.ClusterDomain)
		if alias, is := s.Control.Aliases[at]; inside && is {
			if at, inside = facts.Place(alias, r.Namespace, s.Mesh.ClusterDomain); !inside {
				out = append(out, elsewhere{d + " (" + alias + ")", true})
				continue
			}
		}
		switch {
		case !inside:
			out = append(out, elsewhere{d, true})
		case !home[at.Namespace] && !slices.Contains(s.Control.Gateways, at.Namespace):
			out = append(out, elsewhere{d, false})
		}
	}
	slices.SortFunc(out, func(a, b elsewhere) int { return cmp.Compare(a.host, b.host) })
	return out
}

// ledAwayByOthers looks for routes of a namespace that lead calls for the hosts
// of others elsewhere.
func ledAwayByOthers(s *ClusterScene) []Finding {
	var out []Finding
	known := s.declared()
	for _, r := range s.Control.Routes {
		hosts := s.takes(r.Namespace, r.Hosts, known.below)
		if len(hosts) == 0 {
			continue
		}
		away := s.away(r)
		var names []string
		outside := false
		for _, d := range away {
			names, outside = append(names, d.host), outside || d.outside
		}
		switch {
		case len(away) > 0:
			where := "of another namespace"
			if outside {
				where = "outside of the cluster"
			}
			f := open(r.In(""), "it leads or mirrors the calls of %s for %s to %s, %s", seenBy(r.Exported), mesh.Some(hosts), mesh.Some(names), where)
			if !outside {
				f.Severity = v1alpha1.SeverityHigh
			}
			out = append(out, f)
		case r.Delegates:
			out = append(out, unknown(r.In(""), "it leaves calls of %s for %s to another VirtualService, which is not looked up", seenBy(r.Exported), mesh.Some(hosts)))
		}
	}
	return out
}
