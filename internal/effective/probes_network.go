package effective

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// samplesOf are labels that a selector matches, and for each of its
// requirements labels that fail that one alone.
func samplesOf(s labels.Selector) []map[string]string {
	if s == nil {
		return nil
	}
	requirements, _ := s.Requirements()
	base := map[string]string{}
	for _, r := range requirements {
		switch r.Operator() {
		case selection.In, selection.Equals, selection.DoubleEquals:
			base[r.Key()] = r.Values().List()[0]
		case selection.Exists:
			base[r.Key()] = freshName
		default:
			// Matched by the label's absence.
		}
	}
	out := []map[string]string{base}
	for _, r := range requirements {
		for _, v := range append(r.Values().List(), freshName) {
			other := maps.Clone(base)
			other[r.Key()] = v
			out = append(out, other)
		}
		without := maps.Clone(base)
		delete(without, r.Key())
		out = append(out, without)
	}
	return out
}

// end is the other end of a connection, as the network sees it.
type end struct {
	pod     Pod
	address string
}

func networkDims(models []*Model, rules []networkRule, setEnd func(*Probe, end), setPort func(*Probe, string, int32), server Labels) []dim {
	own := models[0].Namespace
	candidates := []end{{}, {pod: Pod{Namespace: freshName}}, {pod: Pod{Namespace: own}}}
	var blocks []netip.Prefix
	for _, r := range rules {
		for _, p := range r.peers {
			blocks = append(append(blocks, p.block), p.except...)
			for _, ns := range namespacesOf(p, own) {
				candidates = append(candidates, end{pod: ns})
				for _, l := range samplesOf(p.pods) {
					ns.Labels = l
					candidates = append(candidates, end{pod: ns})
				}
			}
		}
	}
	for _, a := range addressesOf(blocks) {
		candidates = append(candidates, end{address: a})
	}
	slices.SortStableFunc(candidates[3:], func(a, b end) int {
		return cmp.Or(cmp.Compare(a.address, b.address), cmp.Compare(a.pod.Namespace, b.pod.Namespace),
			cmp.Compare(describe(a.pod.NamespaceLabels), describe(b.pod.NamespaceLabels)), cmp.Compare(describe(a.pod.Labels), describe(b.pod.Labels)))
	})
	ends := dim{name: "end"}
	for _, e := range distinct(candidates, func(e end) string {
		var s signature
		for _, r := range rules {
			for _, p := range r.peers {
				s.add(p.matches(&wire{pod: e.pod, address: e.address}, own))
			}
		}
		return s.b.String()
	}) {
		ends.values = append(ends.values, value{say: e.words(), set: func(p *Probe) { setEnd(p, e) }})
	}
	return []dim{ends, networkPortDim(models, rules, setPort, server)}
}

func (e end) words() string {
	switch {
	case e.address != "":
		return "addresses like " + e.address
	case e.pod.Namespace == "":
		return "addresses outside of the cluster"
	}
	out := "pods of namespace " + e.pod.Namespace
	if e.pod.Namespace == freshName {
		out = "pods of other namespaces"
	}
	if len(e.pod.NamespaceLabels) > 0 {
		out = "pods of namespaces with " + describe(e.pod.NamespaceLabels)
	}
	if len(e.pod.Labels) > 0 {
		out += " with " + describe(e.pod.Labels)
	}
	return out
}

// namespacesOf are namespaces that a peer's selector tells apart.
func namespacesOf(p networkPeer, own string) []Pod {
	if p.block.IsValid() {
		return nil
	}
	out := []Pod{{Namespace: own}, {Namespace: freshName}}
	for _, l := range samplesOf(p.namespaces) {
		ns := Pod{Namespace: cmp.Or(l[corev1.LabelMetadataName], freshName)}
		delete(l, corev1.LabelMetadataName)
		if len(l) > 0 {
			ns.NamespaceLabels = l
		}
		out = append(out, ns)
	}
	return out
}

func networkPortDim(models []*Model, rules []networkRule, set func(*Probe, string, int32), server Labels) dim {
	type port struct {
		protocol string
		number   int32
	}
	var numbers []int32
	for _, r := range rules {
		for _, p := range r.ports {
			switch {
			case p.Port == nil:
			case p.Port.Type == intstr.String:
				for _, m := range models {
					numbers = append(numbers, m.named(p.Port.StrVal, server)...)
				}
			default:
				numbers = append(numbers, p.Port.IntVal)
				if p.EndPort != nil {
					numbers = append(numbers, *p.EndPort, *p.EndPort+1, p.Port.IntVal-1, p.Port.IntVal+1)
				}
			}
		}
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	var candidates []port
	for _, n := range append([]int32{freshPort(numbers)}, numbers...) {
		for _, protocol := range []string{"TCP", "UDP", "SCTP"} {
			candidates = append(candidates, port{protocol, n})
		}
	}
	d := dim{name: "port"}
	for _, c := range distinct(candidates, func(c port) string {
		var s signature
		for _, m := range models {
			for _, r := range rules {
				for _, p := range r.ports {
					s.add(m.networkPort(p, &wire{port: c.number, protocol: c.protocol, server: server}))
				}
			}
		}
		return s.b.String()
	}) {
		say := fmt.Sprint(c.number)
		if c.number == candidates[0].number {
			say = otherPorts
		}
		if c.protocol != "TCP" {
			say += "/" + c.protocol
		}
		d.values = append(d.values, value{say: say, set: func(p *Probe) { set(p, c.protocol, c.number) }})
	}
	return d
}

func networkInDims(models []*Model, to Labels) []dim {
	var rules []networkRule
	for _, m := range models {
		for _, p := range m.ingress {
			if p.selector.Matches(labels.Set(to)) {
				rules = append(rules, p.rules...)
			}
		}
	}
	return networkDims(models, rules, func(p *Probe, e end) { p.Call.From.Pod, p.Call.From.Address = e.pod, e.address },
		func(p *Probe, protocol string, n int32) { p.Call.Protocol, p.Call.Port = protocol, n }, to)
}

func networkOutDims(models []*Model, from Labels) []dim {
	var rules []networkRule
	for _, m := range models {
		for _, p := range m.egress {
			if p.selector.Matches(labels.Set(from)) {
				rules = append(rules, p.rules...)
			}
		}
	}
	return networkDims(models, rules, func(p *Probe, e end) { p.Exit.Pod, p.Exit.Address = e.pod, e.address },
		func(p *Probe, protocol string, n int32) { p.Exit.Protocol, p.Exit.Port = protocol, n }, nil)
}

// fromDim is the namespace in which a connection starts: this one, another, and
// those that something is exported to.
func fromDim(m *Model, exported []string) dim {
	d := dim{name: "from", values: []value{{say: "", set: func(p *Probe) { p.Exit.Namespace = "" }}}}
	slices.Sort(exported)
	names := []string{freshName}
	for _, e := range slices.Compact(exported) {
		if e != "*" && e != "." && e != "~" && e != m.Namespace {
			names = append(names, e)
		}
	}
	for _, ns := range names {
		d.values = append(d.values, value{say: ns, set: func(p *Probe) { p.Exit.Namespace = ns }})
	}
	return d
}

// clientDims are the services of the mesh that a DestinationRule could be for.
func clientDims(models []*Model, _ Labels) []dim {
	m := models[0]
	names := []string{m.service(freshName, freshName), m.service(freshName, m.Namespace)}
	var ports []int32
	var exported []string
	var all []client
	for _, m := range models {
		for _, c := range m.clients {
			all, exported = append(all, c), append(exported, c.exported...)
			names = append(names, m.servicesLike(c.host, c.namespace)...)
			ports = append(ports, portsOf(c.policy)...)
			for _, s := range c.subsets {
				ports = append(ports, portsOf(s.GetTrafficPolicy())...)
			}
		}
	}
	slices.Sort(names[2:])
	names = distinct(names, func(name string) string {
		svc, _ := m.serviceOf(name)
		s := signature{}
		for i := range all {
			s.add(hostCovers(all[i].host, name))
			s.add(all[i].namespace == svc.Namespace)
		}
		return s.b.String() + svc.Namespace
	})
	return []dim{hostDim(names), portDim(ports, func(p *Probe, n int32) { p.Exit.Port = n }), fromDim(m, exported)}
}

func portsOf(p *networkingapi.TrafficPolicy) []int32 {
	var out []int32
	for _, l := range p.GetPortLevelSettings() {
		out = append(out, int32(l.GetPort().GetNumber())) //nolint:gosec // the API allows 1 to 65535
	}
	return out
}

func (m *Model) service(name, namespace string) string {
	return name + "." + namespace + ".svc." + m.domain()
}

// servicesLike are services that a host pattern covers.
func (m *Model) servicesLike(pattern, namespace string) []string {
	if _, ok := m.serviceOf(pattern); ok {
		return []string{pattern}
	}
	var out []string
	for _, s := range []string{m.service(freshName, freshName), m.service(freshName, m.Namespace), m.service(freshName, namespace)} {
		if hostCovers(pattern, s) {
			out = append(out, s)
		}
	}
	if tail, ok := strings.CutPrefix(pattern, "*."); ok {
		if s := freshName + "." + tail; strings.HasSuffix(s, ".svc."+m.domain()) {
			out = append(out, s)
		}
	}
	return out
}

func hostDim(names []string) dim {
	d := dim{name: "host"}
	for _, n := range names {
		d.values = append(d.values, value{say: hostWords(n), set: func(p *Probe) { p.Exit.Host = n }})
	}
	return d
}

// hostWords names a host for a reader, who has no use for names that were made
// up to stand for any other.
func hostWords(host string) string {
	switch rest, other := strings.CutPrefix(host, freshName+"."); {
	case host == freshDomain:
		return "any other name"
	case other && strings.HasPrefix(rest, freshName+"."):
		return "services of other namespaces"
	case other && strings.Contains(rest, ".svc."):
		namespace, _, _ := strings.Cut(rest, ".")
		return "services of " + namespace
	case other:
		return "*." + rest
	case strings.HasPrefix(host, "cidrs-") && strings.HasSuffix(host, rangesSuffix):
		return "ranges of addresses by rule"
	}
	return host
}

// rangesSuffix ends the names of ServiceEntries for ranges of addresses, which
// nobody can ask for (internal/mesh/istio).
const rangesSuffix = ".egress.meshsecurity.invalid"

// proxyDims are the hosts, addresses, ports and names that the proxies know.
func proxyDims(models []*Model, from Labels) []dim {
	m := models[0]
	names := []string{freshDomain, m.service(freshName, freshName), m.service(freshName, m.Namespace)}
	var ports []int32
	var presents, exported []string
	var blocks []netip.Prefix
	for _, m := range models {
		for _, e := range m.entries {
			exported, presents, blocks = append(exported, e.exported...), append(presents, e.names...), append(blocks, e.blocks...)
			for _, h := range e.hosts {
				names = append(names, strings.Replace(h, "*", freshName, 1))
			}
			for _, p := range e.ports {
				ports = append(ports, int32(p.GetNumber())) //nolint:gosec // the API allows 1 to 65535
			}
		}
		if s := m.scopeOf(from); s != nil {
			for _, i := range s.imports {
				if i.port != 0 {
					ports = append(ports, i.port)
				}
				ns := i.namespace
				if ns == "*" || ns == "~" {
					ns = freshName
				}
				names = append(names, m.servicesLike(i.host, ns)...)
				if !strings.HasPrefix(i.host, "*") {
					names = append(names, i.host)
				}
			}
		}
	}
	slices.Sort(names[3:])
	names = distinct(names, func(name string) string { return hostSignature(models, from, name) })
	dims := []dim{hostDim(names), {name: "address"}, portDim(ports, func(p *Probe, n int32) { p.Exit.Port = n }), fromDim(m, exported), {name: "presents"}}
	for _, a := range addressesOf(blocks) {
		dims[1].values = append(dims[1].values, value{say: cmp.Or(a, "any"), set: func(p *Probe) { p.Exit.Address = a }})
	}
	slices.Sort(presents)
	for _, n := range append([]string{""}, slices.Compact(presents)...) {
		dims[4].values = append(dims[4].values, value{say: n, set: func(p *Probe) { p.Exit.Presents = n }})
	}
	if len(presents) > 0 {
		dims[4].values = append(dims[4].values, value{say: "any other name", set: func(p *Probe) { p.Exit.Presents = freshName }})
	}
	return dims
}

// hostSignature is how entries and imports treat a host.
func hostSignature(models []*Model, from Labels, name string) string {
	var s signature
	for _, m := range models {
		for i := range m.entries {
			for _, h := range m.entries[i].hosts {
				s.add(hostCovers(h, name))
			}
			s.add(slices.Contains(m.entries[i].names, name))
		}
		svc, ok := m.serviceOf(name)
		s.add(ok)
		if scope := m.scopeOf(from); scope != nil {
			for _, i := range scope.imports {
				s.add(ok && (i.namespace == "*" || i.namespace == svc.Namespace) && hostCovers(i.host, name))
			}
		}
		s.add(ok && svc.Namespace == m.Namespace)
	}
	return s.b.String()
}
