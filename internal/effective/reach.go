package effective

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
)

// Reach says what becomes of a connection that a pod opens, and why: it goes
// through the pod's proxy or past it, and has to be let out by the proxy it goes
// through and by the network. The pod's labels take the place of x.From.
//
// x.Port is the one that is asked for, a Service's for a Service's host. What
// the network sees of a Service's pods is taken from what is known of the
// Service, unless x.Pod or x.Address say it: then it sees x.Port. A host that is
// no Service is taken to be outside of the cluster. Where routes lead it through
// another host, like an egress gateway, the network is asked about that one;
// what that host then does with it is not part of the answer. A Service of any
// name is taken to exist.
func (m *Model) Reach(x Exit, pod facts.Pod) Verdict {
	x.From = pod.Labels
	seen, why := m.capturesOut(&x, &pod)
	if seen == stops {
		v := m.whole([]step{
			{layer: Capture, verdict: verdict{passes, -1}, why: "the mesh does not see it: " + why},
			m.networkStep(NetworkOut, m.networkTo(x, x.Host), pod),
		})
		v.Past = why
		return v
	}
	hops, routes := m.routed(&x)
	proxy := m.proxyStep(&x, &pod, routes)
	if len(hops) == 0 {
		layers := append(m.clientSteps(&x), proxy)
		return m.whole(append(m.behindCapture(seen, why, layers...), m.networkStep(NetworkOut, m.networkTo(x, x.Host), pod)))
	}
	var network verdict
	var through []string
	for i, h := range hops {
		through = append(through, h.host)
		v := m.networkTo(Exit{From: x.From, Host: h.host, Port: h.port, Protocol: x.Protocol}, h.host)
		if i > 0 && v.state != network.state {
			v.state = unsure
		}
		network = v
	}
	v := m.whole(append(m.behindCapture(seen, why, proxy), m.networkStep(NetworkOut, network, pod)))
	v.Through = slices.Compact(through)
	return v
}

// capturesOut goes by the order of istio-iptables' rules: what is excluded first,
// then the ports that are included, then the addresses.
func (m *Model) capturesOut(x *Exit, p *facts.Pod) (state, string) {
	if seen, why := m.proxied(p, x.Protocol); seen != passes {
		return seen, why
	}
	a, err := netip.ParseAddr(x.Address)
	known := err == nil
	within := func(blocks []string) bool {
		return known && slices.ContainsFunc(blocks, func(b string) bool {
			p := parseBlock(b)
			return p.IsValid() && p.Contains(a)
		})
	}
	c := &p.Capture
	switch {
	case x.Direct:
		return stops, "it is opened past the proxy"
	case slices.Contains(c.OutPast, x.Port):
		return stops, fmt.Sprintf("connections to port %d are not led through the proxy (excludeOutboundPorts)", x.Port)
	case within(c.OutPastBlocks):
		return stops, x.Address + " is not led through the proxy (excludeOutboundIPRanges)"
	case len(c.OutPastBlocks) > 0 && !known:
		return unsure, "some addresses are not led through the proxy (excludeOutboundIPRanges)"
	case !c.SomeOut || slices.Contains(c.OutPorts, x.Port):
	case len(c.OutBlocks) == 0:
		return stops, "nothing that leaves is led through the proxy (includeOutboundIPRanges)"
	case !known:
		return unsure, "only some addresses are led through the proxy (includeOutboundIPRanges)"
	case !within(c.OutBlocks):
		return stops, x.Address + " is not led through the proxy (includeOutboundIPRanges)"
	}
	if c.Interfaces {
		return unsure, "some of the pod's network interfaces are not led through the proxy (excludeInterfaces)"
	}
	return passes, ""
}

// proxyStep: what a proxy stops is not stopped for sure where a container beside
// it can change what is led through it.
func (m *Model) proxyStep(x *Exit, p *facts.Pod, routes []Ref) step {
	v := m.proxyOut(x)
	s := step{layer: ProxyOut, verdict: v, more: routes}
	by := m.naming(v)
	_, service := m.serviceOf(x.Host)
	entry := v.by >= 0 && m.refs[v.by].Kind == "ServiceEntry"
	switch {
	case v.state == unsure:
		s.why = "whether proxies let out what nobody declares is not known"
	case v.state == passes && entry:
		s.why = by + " declares it"
	case v.state == passes && service:
		s.why = "it is a Service that the proxy knows by " + by
	case v.state == passes:
		s.why = "the proxy lets out what nobody declares (ALLOW_ANY by " + by + ")"
	case entry:
		s.why = by + " asks for another name in the far end's certificate"
	default:
		s.why = "nothing that the proxy knows declares it, and it lets out nothing else (REGISTRY_ONLY by " + by + ")"
	}
	if len(routes) > 0 {
		s.why += "; " + named(routes, m.Namespace) + " leads it elsewhere"
	}
	if m.Partial && (v.state == stops && !entry || v.state == passes && m.scopeOf(x.From) == nil) {
		s.state = unsure
		s.why += ", and what the mesh's root namespace has to say is not known"
	}
	if s.state == stops && len(p.Tampering) > 0 {
		s.state = unsure
		s.why += ", unless the pod goes past its proxy: " + p.Tampering[0]
	}
	return m.doubted(s, v1alpha1.AreaEgress, nil)
}

// clientSteps say how a call to a Service leaves; that stops nothing.
func (m *Model) clientSteps(x *Exit) []step {
	if _, is := m.serviceOf(x.Host); !is {
		return nil
	}
	v := m.clientTransport(x)
	s := step{layer: ClientTransport, verdict: verdict{passes, v.by}}
	switch v.state {
	case passes:
		s.why = "it leaves without the mesh's mutual TLS by " + m.naming(v)
	case stops:
		s.why = "it leaves by mutual TLS where the other end is in the mesh, by " + m.naming(v)
	default:
		s.why = "whether it leaves by mutual TLS is not known"
	}
	return []step{s}
}

// hop is where a route leads.
type hop struct {
	host string
	port int32
}

// routed are the other hosts to which VirtualServices lead a connection, sorted,
// and these. A route for some of a port's requests counts for all.
func (m *Model) routed(x *Exit) (hops []hop, by []Ref) {
	if x.Host == "" {
		return nil, nil
	}
	for i, o := range m.objects {
		v, is := o.(*networkingv1.VirtualService)
		if !is || !visible(v.Spec.GetExportTo(), v.Namespace, m.Namespace) || (len(v.Spec.GetGateways()) > 0 && !slices.Contains(v.Spec.GetGateways(), "mesh")) ||
			!slices.ContainsFunc(v.Spec.GetHosts(), func(h string) bool { return hostCovers(m.full(h, v.Namespace), x.Host) }) {
			continue
		}
		elsewhere := false
		for _, d := range destinations(v, x) {
			if h := m.full(d.GetHost(), v.Namespace); h != x.Host {
				elsewhere = true
				hops = append(hops, hop{h, cmp.Or(int32(d.GetPort().GetNumber()), x.Port)}) //nolint:gosec // the API allows 1 to 65535
			}
		}
		if elsewhere {
			by = append(by, m.refs[i])
		}
	}
	slices.SortFunc(hops, func(a, b hop) int { return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.port, b.port)) })
	return slices.Compact(hops), by
}

// full completes a Service's short name.
func (m *Model) full(host, namespace string) string {
	if strings.Contains(host, ".") || strings.HasPrefix(host, "*") {
		return host
	}
	return m.service(host, namespace)
}

// destinations of the routes for a connection's port.
func destinations(v *networkingv1.VirtualService, x *Exit) []*networkingapi.Destination {
	var out []*networkingapi.Destination
	at := func(port uint32) bool { return port == 0 || int32(port) == x.Port } //nolint:gosec // the API allows 1 to 65535
	for _, r := range v.Spec.GetHttp() {
		if len(r.GetMatch()) == 0 || slices.ContainsFunc(r.GetMatch(), func(q *networkingapi.HTTPMatchRequest) bool { return at(q.GetPort()) }) {
			for _, d := range r.GetRoute() {
				out = append(out, d.GetDestination())
			}
		}
	}
	l4 := func(to []*networkingapi.RouteDestination) {
		for _, d := range to {
			out = append(out, d.GetDestination())
		}
	}
	for _, r := range v.Spec.GetTls() {
		if slices.ContainsFunc(r.GetMatch(), func(q *networkingapi.TLSMatchAttributes) bool {
			return at(q.GetPort()) && slices.ContainsFunc(q.GetSniHosts(), func(h string) bool { return hostCovers(h, x.Host) })
		}) {
			l4(r.GetRoute())
		}
	}
	for _, r := range v.Spec.GetTcp() {
		if len(r.GetMatch()) == 0 || slices.ContainsFunc(r.GetMatch(), func(q *networkingapi.L4MatchAttributes) bool { return at(q.GetPort()) }) {
			l4(r.GetRoute())
		}
	}
	return out
}

// networkTo is what the network makes of a connection for a host: of a Service,
// it sees one of its pods.
func (m *Model) networkTo(x Exit, host string) verdict {
	name, is := m.serviceOf(host)
	switch {
	case x.Pod.Namespace != "" || x.Address != "":
		return m.networkOut(&x)
	case !is:
		return m.networkOutside(&x)
	}
	svc, known := m.Services[name]
	if g := m.EgressGateway; !known && g != nil && g.Namespace == name.Namespace && g.Service == name.Name {
		svc = facts.Service{Selector: g.Selector, Ports: []facts.ServicePort{{Port: x.Port, Target: g.Target}}}
	}
	if len(svc.Selector) == 0 {
		return m.lets(m.egress, x.From, &wire{pod: Pod{Namespace: name.Namespace}, protocol: x.Protocol, vague: true})
	}
	i := slices.IndexFunc(svc.Ports, func(p facts.ServicePort) bool { return p.Port == x.Port })
	to := func(l Labels, pod facts.Pod) verdict {
		w := wire{pod: Pod{Namespace: name.Namespace, Labels: l}, protocol: x.Protocol, server: l, vague: true}
		if i >= 0 {
			w.port, _ = istio.TargetPort(svc.Ports[i].Target, pod)
		}
		return m.lets(m.egress, x.From, &w)
	}
	if name.Namespace != m.Namespace {
		return to(svc.Selector, facts.Pod{})
	}
	var out *verdict
	for _, p := range m.Pods {
		if !selects(svc.Selector, p.Labels) {
			continue
		}
		v := to(p.Labels, p)
		if out != nil && out.state != v.state {
			return verdict{unsure, max(v.by, out.by)}
		}
		out = &v
	}
	if out == nil {
		return to(svc.Selector, facts.Pod{})
	}
	return *out
}

// networkOutside is for a host outside of the cluster, at an address that is
// not known: any that NetworkPolicies do not name is as good.
func (m *Model) networkOutside(x *Exit) verdict {
	at := *x
	for _, a := range []string{outsideAddress, outsideAddress6} {
		at.Address = a
		if v := m.networkOut(&at); v.state == passes {
			return v
		}
	}
	return m.lets(m.egress, x.From, &wire{port: x.Port, protocol: x.Protocol, vague: true})
}

// Destination is what somebody declares for a workload to reach.
type Destination struct {
	// Host or, where it is told by address, a block of addresses.
	Host, Block string
	Port        int32
	// Verdict on a connection to it; never Denied.
	Verdict Verdict
}

// Outbound sums up where a pod may go.
type Outbound struct {
	// Past says, in words, what of its connections goes past the proxy, and by what.
	Past []string
	// Rest is what becomes, at the proxy, of what nobody declares; nil for a pod
	// that has no proxy.
	Rest *Step
	// Imports are NAMESPACE/HOST of what the proxy knows, of what there is: as its
	// Sidecar says, sorted, or "*/*" without one; nil for a pod without a proxy.
	Imports []string
	// Declared are the destinations of ServiceEntries that it may reach, by host,
	// block and port.
	Declared []Destination
	// Network is what the network makes of a connection to an address outside of
	// the cluster, on a port that no NetworkPolicy names.
	Network Step
}

// outsideAddress and the one after it are nobody's (RFC 5737, RFC 3849).
const outsideAddress, outsideAddress6 = "192.0.2.1", "2001:db8::1"

// Exits sums up where a pod may go, through what, and what goes past its proxy.
func (m *Model) Exits(pod facts.Pod) Outbound {
	out := Outbound{Past: m.pastOut(&pod), Imports: []string{"*/*"}}
	if s := m.scopeOf(pod.Labels); s != nil {
		out.Imports = nil
		for _, i := range s.imports {
			out.Imports = append(out.Imports, i.namespace+"/"+i.host)
		}
		slices.Sort(out.Imports)
		out.Imports = slices.Compact(out.Imports)
	}
	x := Exit{From: pod.Labels, Address: outsideAddress, Port: m.unnamedPort()}
	out.Network = m.step(m.networkStep(NetworkOut, m.networkOut(&x), pod))
	if seen, _ := m.proxied(&pod, ""); seen == stops {
		out.Imports = nil
		return out
	}
	undeclared := Exit{From: pod.Labels, Host: freshDomain, Port: x.Port}
	rest := m.step(m.proxyStep(&undeclared, &pod, nil))
	out.Rest = &rest
	for i := range m.entries {
		out.Declared = append(out.Declared, m.declared(&m.entries[i], pod)...)
	}
	slices.SortFunc(out.Declared, func(a, b Destination) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Block, b.Block), cmp.Compare(a.Port, b.Port))
	})
	out.Declared = slices.CompactFunc(out.Declared, func(a, b Destination) bool { return a.Host == b.Host && a.Block == b.Block && a.Port == b.Port })
	return out
}

func (m *Model) declared(e *entry, pod facts.Pod) []Destination {
	s := m.scopeOf(pod.Labels)
	if !visible(e.exported, e.namespace, m.Namespace) {
		return nil
	}
	var out []Destination
	add := func(d Destination, x Exit) {
		x.Port = d.Port
		if d.Verdict = m.Reach(x, pod); d.Verdict.Outcome != Denied {
			out = append(out, d)
		}
	}
	for _, p := range e.ports {
		port := int32(p.GetNumber()) //nolint:gosec // the API allows 1 to 65535
		for _, h := range e.hosts {
			if s != nil && !s.knows(e.namespace, h, port) {
				continue
			}
			if len(e.blocks) == 0 {
				add(Destination{Host: h, Port: port}, Exit{Host: h})
			}
			for _, b := range e.blocks {
				if b.IsValid() {
					add(Destination{Block: b.String(), Port: port}, Exit{Address: b.Addr().String()})
				}
			}
		}
	}
	return out
}

// unnamedPort is one that no NetworkPolicy names.
func (m *Model) unnamedPort() int32 {
	var named []int32
	for _, p := range m.egress {
		for _, r := range p.rules {
			for _, port := range r.ports {
				if port.Port != nil {
					named = append(named, port.Port.IntVal)
				}
			}
		}
	}
	return freshPort(named)
}

func (m *Model) pastOut(p *facts.Pod) []string {
	seen, why := m.proxied(p, "")
	if seen != passes {
		return []string{"everything: " + why}
	}
	var out []string
	c := &p.Capture
	for _, n := range c.OutPast {
		out = append(out, fmt.Sprintf("port %d (excludeOutboundPorts)", n))
	}
	switch {
	case c.SomeOut && len(c.OutBlocks)+len(c.OutPorts) == 0:
		out = append(out, "everything (includeOutboundIPRanges)")
	case c.SomeOut:
		all := slices.Clone(c.OutBlocks)
		for _, n := range c.OutPorts {
			all = append(all, portWords(n))
		}
		out = append(out, "all but "+strings.Join(all, ", ")+" (includeOutboundIPRanges)")
	}
	for _, b := range c.OutPastBlocks {
		out = append(out, b+" (excludeOutboundIPRanges)")
	}
	if c.Interfaces {
		out = append(out, "some network interfaces (excludeInterfaces)")
	}
	for _, t := range p.Tampering {
		out = append(out, "whatever a container makes it: "+t)
	}
	return append(out, "what is not TCP")
}

// Listener is a port of a pod, and how it takes calls.
type Listener struct {
	// Port is a container's; 0 for all that nothing names.
	Port int32
	// Mode of mutual TLS: STRICT, PERMISSIVE, DISABLE, or UNSET where it is not
	// known. Empty where the proxy does not see the port's calls.
	Mode string
	// Plaintext is what becomes of a call in plaintext, as far as mutual TLS goes,
	// by the objects that set the mode.
	Plaintext Step
	// Past says why the proxy does not see its calls; empty where it does.
	Past string
}

func (l Listener) where() string {
	if l.Port == 0 {
		return "every other port"
	}
	return portWords(l.Port)
}

// Inbound is how each port of a pod takes calls, sorted, those that nothing
// names first. Ports are those that its containers, Services and
// PeerAuthentications name.
func (m *Model) Inbound(pod facts.Pod) []Listener {
	named := slices.Clone(pod.Uncaptured)
	for _, p := range pod.Ports {
		named = append(named, p.Number)
	}
	for _, svc := range m.Services {
		if svc.Namespace != m.Namespace || len(svc.Selector) == 0 || !selects(svc.Selector, pod.Labels) {
			continue
		}
		for _, p := range svc.Ports {
			if n, ok := istio.TargetPort(p.Target, pod); ok && p.Protocol == "TCP" {
				named = append(named, n)
			}
		}
	}
	for i := range m.peers {
		if selects(m.peers[i].selector, pod.Labels) {
			for n := range m.peers[i].ports {
				named = append(named, n)
			}
		}
	}
	slices.Sort(named)
	named = slices.Compact(named)
	var out []Listener
	for i, n := range append([]int32{freshPort(append(facts.AgentPorts(), named...))}, named...) {
		c := Call{To: pod.Labels, Port: n}
		seen, why := m.capturesIn(&c, &pod)
		l := Listener{Port: n}
		if i == 0 {
			l.Port = 0
		}
		if seen == stops {
			l.Past = why
			l.Plaintext = Step{Layer: Capture, Outcome: Allowed, Why: "the mesh does not see it: " + why}
		} else {
			s, _ := m.transportStep(&c, l.where())
			all := m.behindCapture(seen, why, s)
			l.Mode, l.Plaintext = m.mutualTLS(pod.Labels, n).mode.String(), m.step(all[len(all)-1])
		}
		out = append(out, l)
	}
	return out
}
