package effective

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// scope is a Sidecar: what its workloads' proxies know, and what becomes of the rest.
type scope struct {
	ref int
	// selects is true where it has a workloadSelector, be it empty.
	selects  bool
	selector map[string]string
	// outbound is what becomes of unknown destinations: facts.Yes where only
	// what is registered passes, facts.Unknown where the mesh decides.
	outbound facts.Tristate
	imports  []imported
	// ingress are the ports for which it has listeners of its own.
	ingress []int32
}

// imported is an entry of egress.hosts, for one port or, at 0, for all.
type imported struct {
	namespace, host string
	port            int32
}

// addSidecar relies on being called with the oldest first. Of the root
// namespace, only one without a selector reaches other namespaces.
func (m *Model) addSidecar(o *networkingv1.Sidecar, ref int) {
	s := scope{ref: ref, selects: o.Spec.WorkloadSelector != nil, selector: o.Spec.GetWorkloadSelector().GetLabels()}
	if p := o.Spec.GetOutboundTrafficPolicy(); p != nil {
		s.outbound = facts.No
		if p.GetMode() == networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY {
			s.outbound = facts.Yes
		}
	}
	for _, l := range o.Spec.GetEgress() {
		for _, h := range l.GetHosts() {
			ns, host, _ := strings.Cut(h, "/")
			if ns == "." {
				ns = o.Namespace
			}
			s.imports = append(s.imports, imported{ns, host, int32(l.GetPort().GetNumber())}) //nolint:gosec // the API allows 1 to 65535
		}
	}
	for _, l := range o.Spec.GetIngress() {
		s.ingress = append(s.ingress, int32(l.GetPort().GetNumber())) //nolint:gosec // the API allows 1 to 65535
	}
	if len(o.Spec.GetEgress()) == 0 {
		s.imports = []imported{{"*", "*", 0}}
	}
	switch {
	case o.Namespace == m.Namespace:
		m.scopes = append(m.scopes, s)
	case !s.selects && m.rootScope == nil:
		m.rootScope = &s
	}
}

// scopeOf: a Sidecar for the workload over the namespace's over the root
// namespace's, the oldest each (pilot, getSidecarScope); nil for none.
func (m *Model) scopeOf(from Labels) *scope {
	for _, selecting := range []bool{true, false} {
		for i := range m.scopes {
			s := &m.scopes[i]
			if s.selects == selecting && selects(s.selector, from) {
				return s
			}
		}
	}
	return m.rootScope
}

// Scope is the Sidecar that says what a workload's proxy knows; false for none.
func (m *Model) Scope(from Labels) (Ref, bool) {
	s := m.scopeOf(from)
	if s == nil {
		return Ref{}, false
	}
	return m.refs[s.ref], true
}

func (s *scope) knows(namespace, name string, port int32) bool {
	return slices.ContainsFunc(s.imports, func(i imported) bool { return (i.port == 0 || i.port == port) && i.covers(namespace, name) })
}

// knowsAny is knows for whatever port.
func (s *scope) knowsAny(namespace, name string) bool {
	return slices.ContainsFunc(s.imports, func(i imported) bool { return i.covers(namespace, name) })
}

func (i imported) covers(namespace, name string) bool {
	return (i.namespace == "*" || i.namespace == namespace) && hostCovers(i.host, name)
}

// entry is a ServiceEntry.
type entry struct {
	ref       int
	namespace string
	hosts     []string
	blocks    []netip.Prefix
	ports     []*networkingapi.ServicePort
	names     []string
	exported  []string
	// anywhere is true where a connection goes on to the address that it was for.
	anywhere bool
	// like is what entries of one host have in common, or only one of them counts.
	like    likeness
	created time.Time
}

// likeness of ServiceEntries whose ports add up (pilot, canMergeServices).
type likeness struct {
	namespace        string
	resolution       networkingapi.ServiceEntry_Resolution
	labels, selector string
	exported         string
}

func likenessOf(o *networkingv1.ServiceEntry) likeness {
	exported := slices.Sorted(slices.Values(o.Spec.GetExportTo()))
	return likeness{
		namespace: o.Namespace, resolution: o.Spec.GetResolution(), labels: labels.Set(o.Labels).String(),
		selector: labels.Set(o.Spec.GetWorkloadSelector().GetLabels()).String(), exported: strings.Join(slices.Compact(exported), ","),
	}
}

func (m *Model) addServiceEntry(o *networkingv1.ServiceEntry, ref int) {
	e := entry{
		ref: ref, namespace: o.Namespace, hosts: o.Spec.GetHosts(), ports: o.Spec.GetPorts(), names: o.Spec.GetSubjectAltNames(),
		exported: o.Spec.GetExportTo(), anywhere: o.Spec.GetResolution() == networkingapi.ServiceEntry_NONE, like: likenessOf(o), created: o.CreationTimestamp.Time,
	}
	for _, a := range o.Spec.GetAddresses() {
		e.blocks = append(e.blocks, parseBlock(a))
	}
	m.entries = append(m.entries, e)
}

// visible says whether something is exported to a namespace; without exportTo to all.
func visible(exported []string, own, to string) bool {
	if len(exported) == 0 {
		return true
	}
	for _, e := range exported {
		if e == "*" || e == to || (e == "." && own == to) {
			return true
		}
	}
	return false
}

// matches is the entry's host that a connection is for, false for none. A
// protocol without names is told by address, or else takes whatever its port gets.
func (e *entry) matches(x *Exit) (string, bool) {
	named, nameless := len(e.ports) == 0, false
	for _, p := range e.ports {
		if int32(p.GetNumber()) == x.Port { //nolint:gosec // the API allows 1 to 65535
			plain := slices.Contains([]string{"TCP", "MONGO", "MYSQL", "REDIS"}, strings.ToUpper(p.GetProtocol()))
			named, nameless = true, nameless || plain
		}
	}
	if !named {
		return "", false
	}
	for _, h := range e.hosts {
		if x.Host != "" && hostCovers(h, x.Host) {
			return h, true
		}
	}
	if !nameless || len(e.hosts) == 0 {
		return "", false
	}
	a, err := netip.ParseAddr(x.Address)
	within := err == nil && slices.ContainsFunc(e.blocks, func(b netip.Prefix) bool { return b.IsValid() && b.Contains(a) })
	return e.hosts[0], within || (len(e.blocks) == 0 && e.anywhere)
}

// proves says whether the far end's certificate is one that the entry asks for.
func (e *entry) proves(x *Exit) bool {
	return len(e.names) == 0 || slices.Contains(e.names, cmp.Or(x.Presents, x.Host))
}

// proxyOut: what is registered and imported passes, the rest by the Sidecar's
// policy, or the mesh's.
func (m *Model) proxyOut(x *Exit) verdict {
	if x.Direct {
		return verdict{passes, -1}
	}
	own := x.Namespace == "" || x.Namespace == m.Namespace
	from := cmp.Or(x.Namespace, m.Namespace)
	var s *scope
	if own {
		s = m.scopeOf(x.From)
	}
	refused, unclear := -1, -1
	for i := range m.entries {
		e := &m.entries[i]
		if !visible(e.exported, e.namespace, from) {
			continue
		}
		h, ok := e.matches(x)
		if !ok || (s != nil && !s.knows(e.namespace, h, x.Port)) {
			continue
		}
		first, alone := m.first(h, from, s)
		switch {
		case !alone:
			unclear = e.ref
			continue
		case first.like != e.like:
			// Its port is listened on, and leads nowhere.
			refused = first.ref
			continue
		}
		if e.proves(x) {
			return verdict{passes, e.ref}
		}
		refused = e.ref
	}
	switch {
	case unclear >= 0:
		return verdict{unsure, unclear}
	case refused >= 0:
		return verdict{stops, refused}
	}
	if !own {
		// What others let out besides is no affair of this world.
		return verdict{stops, -1}
	}
	return m.unregistered(s, x)
}

// first is the entry that a host is of, for a proxy that knows several of it: one
// of its own namespace, and of these the oldest. Of entries that were created in
// the same second it may be any (pilot, SidecarScope): it is alone where there is
// no other, or all are alike.
func (m *Model) first(host, from string, s *scope) (first *entry, alone bool) {
	alone = true
	for i := range m.entries {
		e := &m.entries[i]
		if !slices.Contains(e.hosts, host) || !visible(e.exported, e.namespace, from) || (s != nil && !s.knowsAny(e.namespace, host)) {
			continue
		}
		switch {
		case first == nil || e.namespace == from && first.namespace != from:
			first, alone = e, true
		case (e.namespace == from) == (first.namespace == from) && e.created.Equal(first.created) && e.like != first.like:
			alone = false
		}
	}
	return first, alone
}

// unregistered is a connection that no ServiceEntry is for.
func (m *Model) unregistered(s *scope, x *Exit) verdict {
	ref, outbound := -1, m.Mesh.RegistryOnly
	if s != nil {
		ref = s.ref
		if s.outbound != facts.Unknown {
			outbound = s.outbound
		}
	}
	if svc, ok := m.serviceOf(x.Host); ok && x.Presents == "" {
		switch {
		case s == nil && m.Partial:
			// The root namespace's Sidecar may leave it out.
			return verdict{unsure, -1}
		case s == nil || s.knows(svc.Namespace, x.Host, x.Port):
			return verdict{passes, ref}
		}
	}
	switch outbound {
	case facts.Yes:
		return verdict{stops, ref}
	case facts.No:
		return verdict{passes, ref}
	}
	return verdict{unsure, -1}
}

// serviceOf is the service that a host names in the cluster's domain. That one
// of such a name exists is taken for granted.
func (m *Model) serviceOf(name string) (types.NamespacedName, bool) {
	short, full := strings.CutSuffix(name, ".svc."+m.domain())
	service, ns, ok := strings.Cut(short, ".")
	if !full || !ok || strings.Contains(ns, ".") || strings.Contains(service, "*") {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: ns, Name: service}, true
}

func (m *Model) domain() string { return cmp.Or(m.Mesh.ClusterDomain, "cluster.local") }
