package effective

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
)

// Names that nothing matches, since nobody uses them.
const (
	freshName   = "zz-other"
	freshDomain = "zz-other.example"
	freshMethod = "ZZOTHER"
	freshPath   = "/zz-other"
)

// layers in their order.
var layers = []Layer{Transport, Authorization, NetworkIn, ClientTransport, ProxyOut, NetworkOut, Unlogged}

// Probes are what has to be tried to tell the models apart: for every value
// that they compare something with, one that matches and one that does not. It
// is false where there were more than limit, or more workloads than are looked
// at. What is the most general comes first.
func Probes(limit int, models ...*Model) (probes []Probe, complete bool) {
	complete = true
	type ranked struct {
		Probe
		special int
	}
	var all []ranked
	for _, l := range layers {
		grids, whole := gridsOf(l, models, nil)
		complete = complete && whole
		for i := range grids {
			g := &grids[i]
			complete = !g.cut(limit) && complete
			g.each(func(n int, _ *Probe) {
				at := g.coordinates(n)
				special := len(g.workload)
				for _, j := range at {
					special += min(j, 1)
				}
				all = append(all, ranked{g.probe(at), special})
			})
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(a.special, b.special) })
	for _, p := range all {
		if len(probes) == limit {
			return probes, false
		}
		probes = append(probes, p.Probe)
	}
	return probes, complete
}

// gridsOf are a layer's grids, one for each workload that the models tell apart
// and that concerns says yes to.
func gridsOf(l Layer, models []*Model, concerns func(Labels) bool) ([]grid, bool) {
	var selectors []map[string]string
	var pods []facts.Pod
	for _, m := range models {
		selectors = append(selectors, m.selectorsOf(l)...)
		pods = append(pods, m.Pods...)
	}
	sets, complete := workloads(selectors, pods)
	dimsOf := map[Layer]func([]*Model, Labels) []dim{
		Transport: transportDims, Authorization: authorizationDims, NetworkIn: networkInDims, NetworkOut: networkOutDims,
		ClientTransport: clientDims, ProxyOut: proxyDims, Unlogged: func([]*Model, Labels) []dim { return nil },
	}[l]
	var out []grid
	for _, to := range sets {
		if concerns == nil || concerns(to) {
			complete = complete && constants(l, models, to) <= maxConstants
			out = append(out, grid{layer: l, workload: to, dims: dimsOf(models, to)})
		}
	}
	return out, complete
}

// selectorsOf are the selectors that decide at a layer.
func (m *Model) selectorsOf(l Layer) []map[string]string {
	var out []map[string]string
	add := func(s map[string]string) { out = append(out, s) }
	switch l {
	case Transport:
		for _, p := range m.peers {
			add(p.selector)
		}
	case Authorization:
		for _, p := range m.policies {
			add(p.selector)
		}
		for _, a := range m.authentications {
			add(a.selector)
		}
	case ClientTransport:
		for _, c := range m.clients {
			add(c.selector)
		}
	case ProxyOut:
		for _, s := range m.scopes {
			add(s.selector)
		}
	case Unlogged:
		for _, l := range m.logs {
			add(l.selector)
		}
	case NetworkIn:
		for _, p := range m.ingress {
			out = append(out, samplesOf(p.selector)...)
		}
	case NetworkOut:
		for _, p := range m.egress {
			out = append(out, samplesOf(p.selector)...)
		}
	}
	return out
}

// constants counts what a layer compares something with, for one workload.
func constants(l Layer, models []*Model, to Labels) int {
	n := 0
	switch l {
	case Authorization:
		var begin, end int
		for _, c := range conditionsFor(models, to) {
			for _, v := range slices.Concat(c.yes, c.none) {
				n++
				begin += bit(v.how == prefix)
				end += bit(v.how == suffix)
			}
		}
		n += begin * end
		for _, m := range models {
			for _, a := range m.authentications {
				n += 1 + len(a.audiences)
			}
		}
	case NetworkIn, NetworkOut:
		for _, m := range models {
			for _, p := range slices.Concat(m.ingress, m.egress) {
				for _, r := range p.rules {
					n += len(r.peers) + len(r.ports)
				}
			}
		}
	case ClientTransport:
		for _, m := range models {
			n += len(m.clients)
		}
	case ProxyOut:
		for _, m := range models {
			for _, e := range m.entries {
				n += len(e.hosts) + len(e.names) + len(e.blocks)
			}
			if s := m.scopeOf(to); s != nil {
				n += len(s.imports)
			}
		}
	case Transport, Unlogged:
	}
	return n
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func transportDims(models []*Model, to Labels) []dim {
	ports := []int32{}
	for _, m := range models {
		for _, p := range m.peers {
			if selects(p.selector, to) {
				for number := range p.ports {
					ports = append(ports, number)
				}
			}
		}
	}
	own := models[0].trustDomain()
	return []dim{
		{"way", []value{
			{say: "in plaintext", set: func(p *Probe) { p.Call.From = Caller{} }},
			{say: "of workloads of the mesh, in plaintext", set: func(p *Probe) {
				p.Call.From = Caller{TrustDomain: own, Namespace: freshName, ServiceAccount: freshName}
			}},
		}},
		portDim(ports, func(p *Probe, n int32) { p.Call.Port = n }),
	}
}

func (m *Model) trustDomain() string { return cmp.Or(m.Mesh.TrustDomain, "cluster.local") }

// portDim is a port that nobody names, and those that somebody does.
func portDim(named []int32, set func(*Probe, int32)) dim {
	slices.Sort(named)
	named = slices.Compact(named)
	d := dim{name: "port"}
	for i, n := range append([]int32{freshPort(named)}, named...) {
		say := strconv.Itoa(int(n))
		if i == 0 {
			say = otherPorts
		}
		d.values = append(d.values, value{say: say, set: func(p *Probe) { set(p, n) }})
	}
	return d
}

// otherPorts are those that nobody names.
const otherPorts = "others"

func freshPort(named []int32) int32 {
	for n := int32(65535); ; n-- {
		if !slices.Contains(named, n) {
			return n
		}
	}
}

// conditionsFor are the conditions that decide over calls to a workload.
func conditionsFor(models []*Model, to Labels) []*condition {
	var out []*condition
	add := func(list []condition) {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	for _, m := range models {
		for i := range m.policies {
			if !selects(m.policies[i].selector, to) {
				continue
			}
			for j := range m.policies[i].rules {
				r := &m.policies[i].rules[j]
				for _, f := range r.from {
					add(f)
				}
				for _, t := range r.to {
					add(t)
				}
				add(r.when)
			}
		}
	}
	return out
}

func authorizationDims(models []*Model, to Labels) []dim {
	conditions := conditionsFor(models, to)
	of := func(a attribute, key string) []matcher {
		var out []matcher
		for _, c := range conditions {
			if c.of == a && (c.key == key || a == address) {
				out = append(append(out, c.yes...), c.none...)
			}
		}
		return out
	}
	dims := []dim{
		callerDim(models[0], conditions),
		addressDim(of(address, ""), func(p *Probe, a string) { p.Call.From.Address = a }),
		wayDim(models, to, of(port, ""), slices.ContainsFunc(conditions, func(c *condition) bool { return c.http })),
		textDim("method", of(method, ""), freshMethod, func(p *Probe, v string) { p.Call.Method = v }),
		textDim("path", of(requestPath, ""), freshPath, func(p *Probe, v string) { p.Call.Path = v }),
		textDim("host", of(requestHost, ""), freshDomain, func(p *Probe, v string) { p.Call.Host = v }),
		tokenDim(models, to, conditions),
	}
	var keys []string
	for _, c := range conditions {
		if c.of == other && !slices.Contains(keys, c.key) {
			keys = append(keys, c.key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		dims = append(dims, attributeDim(key, of(other, key)))
	}
	return dims
}

// attributeDim: the attribute is not there, or has a value.
func attributeDim(key string, ms []matcher) dim {
	values := append([]string{""}, samples(ms, freshName)...)
	d := dim{name: key}
	for _, v := range distinctText(values, ms) {
		d.values = append(d.values, value{say: cmp.Or(v, "nothing"), set: func(p *Probe) {
			attributes := map[string]string{}
			for k, have := range p.Call.Attributes {
				attributes[k] = have
			}
			attributes[key] = v
			p.Call.Attributes = attributes
		}})
	}
	return d
}

// textDim is a value that nothing matches, and those that something does.
func textDim(name string, ms []matcher, fresh string, set func(*Probe, string)) dim {
	d := dim{name: name}
	for _, v := range distinctText(samples(ms, fresh), ms) {
		d.values = append(d.values, value{say: v, set: func(p *Probe) { set(p, v) }})
	}
	return d
}

// distinctText takes the first value for the general one; the order of the
// others does not depend on that of the matchers.
func distinctText(values []string, ms []matcher) []string {
	slices.Sort(values[1:])
	return distinct(values, func(v string) string {
		var s signature
		for i := range ms {
			s.add(ms[i].matches(v))
		}
		return s.b.String()
	})
}

// samples are values around those of the matchers: what each matches, what only
// just does not, and what a beginning and an end have in common.
func samples(ms []matcher, fresh string) []string {
	out := []string{fresh}
	for _, m := range ms {
		switch m.how {
		case exact:
			out = append(out, m.value, m.value+"zz", "zz"+m.value)
		case prefix:
			out = append(out, m.value+strings.TrimPrefix(fresh, "/"), m.value, m.value+"/zz", strings.TrimSuffix(m.value, "/"), strings.TrimSuffix(m.value, "/")+"zz")
		case suffix:
			out = append(out, fresh+m.value, m.value, "zz"+m.value)
		case glob:
			out = append(out, strings.ReplaceAll(m.value, "*", "zz"), strings.ReplaceAll(m.value, "*", ""))
		case template:
			for _, any := range []string{"/zz/zz", "/", ""} {
				out = append(out, strings.NewReplacer("/{**}", any, "{*}", "zz").Replace(m.value))
			}
		case present, block, dotted:
		}
	}
	for _, a := range ms {
		for _, b := range ms {
			if a.how == prefix && b.how == suffix && len(out) < maxCandidates {
				out = append(out, a.value+b.value, a.value+"zz"+b.value)
			}
		}
	}
	return out
}

// callerDim: a workload of the mesh that nobody names, one in plaintext, one of
// the same namespace, one of another trust domain, and those that are named.
func callerDim(m *Model, conditions []*condition) dim {
	own := m.trustDomain()
	candidates := []Caller{
		{TrustDomain: own, Namespace: freshName, ServiceAccount: freshName},
		{},
		{TrustDomain: own, Namespace: m.Namespace, ServiceAccount: freshName},
		{TrustDomain: freshDomain, Namespace: freshName, ServiceAccount: freshName},
	}
	var about []*condition
	for _, c := range conditions {
		switch c.of {
		case principal, callerNamespace, account, trustDomain:
			about = append(about, c)
			for _, v := range slices.Concat(c.yes, c.none) {
				for _, domain := range []string{own, freshDomain} {
					candidates = append(candidates, callersOf(c.of, v, domain)...)
				}
			}
		case address, requestPrincipal, requestHost, port, method, requestPath, audience, claim, other, strange:
		}
	}
	slices.SortFunc(candidates[4:], func(a, b Caller) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.ServiceAccount, b.ServiceAccount), cmp.Compare(a.TrustDomain, b.TrustDomain))
	})
	d := dim{name: "caller"}
	for _, c := range distinct(candidates, func(from Caller) string {
		var s signature
		call := seen{Call: &Call{From: from}}
		for _, c := range about {
			v := call.value(c)
			for i := range c.yes {
				s.add(c.yes[i].matches(v))
			}
			for i := range c.none {
				s.add(c.none[i].matches(v))
			}
		}
		return s.b.String()
	}) {
		d.values = append(d.values, value{say: callerWords(c, own), set: func(p *Probe) {
			address := p.Call.From.Address
			p.Call.From = c
			p.Call.From.Address = address
		}})
	}
	return d
}

const plaintextCallers = "callers without an identity"

func callerWords(c Caller, own string) string {
	switch {
	case c.ServiceAccount == "":
		return plaintextCallers
	case c.Namespace == freshName && c.TrustDomain == freshDomain:
		return "workloads of another trust domain"
	case c.Namespace == freshName && c.ServiceAccount == freshName:
		return "other workloads of the mesh"
	}
	out := c.Namespace + "/" + c.ServiceAccount
	if c.ServiceAccount == freshName {
		out = "namespace " + c.Namespace
	}
	switch c.TrustDomain {
	case own:
	case freshDomain:
		out += " of any other trust domain"
	default:
		out += " of trust domain " + c.TrustDomain
	}
	return out
}

// callersOf are callers that a value matches, or only just does not.
func callersOf(of attribute, v matcher, domain string) []Caller {
	switch of {
	case callerNamespace:
		var out []Caller
		for _, ns := range samples([]matcher{v}, freshName) {
			out = append(out, Caller{TrustDomain: domain, Namespace: ns, ServiceAccount: freshName})
		}
		return out
	case account:
		ns, name, _ := strings.Cut(v.value, "/")
		return []Caller{{TrustDomain: domain, Namespace: ns, ServiceAccount: strings.ReplaceAll(name, ".", "z")}, {TrustDomain: domain, Namespace: ns, ServiceAccount: name}, {TrustDomain: domain, Namespace: ns, ServiceAccount: freshName}, {TrustDomain: domain, Namespace: freshName, ServiceAccount: name}}
	case trustDomain:
		var out []Caller
		for _, td := range samples([]matcher{v}, freshDomain) {
			out = append(out, Caller{TrustDomain: td, Namespace: freshName, ServiceAccount: freshName})
		}
		return out
	}
	return identities(v, domain)
}

// identities complete a principal to TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT in
// every way in which the value could begin or end one.
func identities(v matcher, domain string) []Caller {
	var texts []string
	parts := []string{domain, "/ns/", freshName, "/sa/", freshName}
	switch v.how {
	case exact:
		texts = []string{v.value}
	case prefix:
		for i := range parts {
			texts = append(texts, v.value+strings.Join(parts[i:], ""), v.value+"zz"+strings.Join(parts[i:], ""))
		}
		texts = append(texts, v.value+"sa/"+freshName, v.value+"zz", v.value)
	case suffix:
		for i := range len(parts) + 1 {
			texts = append(texts, strings.Join(parts[:i], "")+v.value)
		}
	case present, glob, template, block, dotted:
	}
	var out []Caller
	for _, s := range texts {
		td, rest, ok := strings.Cut(s, "/ns/")
		ns, sa, is := strings.Cut(rest, "/sa/")
		if ok && is && td != "" && sa != "" && !strings.Contains(td+ns+sa, "/") {
			out = append(out,
				Caller{TrustDomain: td, Namespace: ns, ServiceAccount: sa}, Caller{TrustDomain: td, Namespace: ns, ServiceAccount: freshName},
				Caller{TrustDomain: td, Namespace: freshName, ServiceAccount: sa}, Caller{TrustDomain: domain, Namespace: ns, ServiceAccount: sa})
		}
	}
	return out
}

// addressDim has an address for each part into which the blocks cut the others.
func addressDim(ms []matcher, set func(*Probe, string)) dim {
	var blocks []netip.Prefix
	for _, m := range ms {
		blocks = append(blocks, m.block)
	}
	d := dim{name: "address"}
	for _, a := range addressesOf(blocks) {
		d.values = append(d.values, value{say: cmp.Or(a, "none"), set: func(p *Probe) { set(p, a) }})
	}
	return d
}

// addressesOf are one address outside of all blocks, and one in each that is in
// no smaller one, where there is such an address. Without blocks it is none.
func addressesOf(blocks []netip.Prefix) []string {
	valid := blocks[:0:0]
	for _, b := range blocks {
		if b.IsValid() {
			valid = append(valid, b)
		}
	}
	if len(valid) == 0 {
		return []string{""}
	}
	slices.SortFunc(valid, func(a, b netip.Prefix) int { return cmp.Compare(a.String(), b.String()) })
	valid = slices.Compact(valid)
	var out []string
	for _, all := range []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")} {
		for _, b := range append([]netip.Prefix{all}, valid...) {
			if b.Addr().Is4() != all.Addr().Is4() || (!all.Addr().Is4() && !slices.ContainsFunc(valid, func(v netip.Prefix) bool { return v.Addr().Is6() })) {
				continue
			}
			if a, ok := addressIn(b, valid); ok {
				out = append(out, a.String())
			}
		}
	}
	slices.Sort(out[min(1, len(out)):])
	return slices.Compact(append(out, ""))
}

// addressIn is an address of a block that is in none of the smaller ones: its
// first, or the one after a smaller block.
func addressIn(b netip.Prefix, blocks []netip.Prefix) (netip.Addr, bool) {
	tries := []netip.Addr{b.Addr()}
	for _, s := range blocks {
		if s.Bits() > b.Bits() && b.Overlaps(s) {
			tries = append(tries, after(s))
		}
	}
	for _, a := range tries {
		if a.IsValid() && b.Contains(a) && !slices.ContainsFunc(blocks, func(s netip.Prefix) bool { return s.Bits() > b.Bits() && s.Contains(a) }) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// after is the first address behind a block; not valid where there is none.
func after(b netip.Prefix) netip.Addr {
	bytes := b.Addr().AsSlice()
	for i := b.Bits(); i < len(bytes)*8; i++ {
		bytes[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last.Next()
}

// wayDim is the ports, each as the mesh may read it: requests, connections, or
// either. Where nothing of HTTP is asked for, that makes no difference.
func wayDim(models []*Model, to Labels, ms []matcher, http bool) dim {
	var ports []int32
	for _, m := range ms {
		if n, err := strconv.ParseInt(m.value, 10, 32); err == nil {
			ports = append(ports, int32(n))
		}
	}
	tokens := slices.ContainsFunc(models, func(m *Model) bool {
		return slices.ContainsFunc(m.authentications, func(a authentication) bool { return selects(a.selector, to) })
	})
	d := dim{name: "port"}
	for _, v := range portDim(ports, func(p *Probe, n int32) { p.Call.Port = n }).values {
		var at Probe
		v.set(&at)
		speaks := facts.Unknown
		for _, m := range models {
			if s := m.speaks(to, at.Call.Port); s != facts.Unknown {
				speaks = s
			}
		}
		for _, reads := range []bool{true, false} {
			if (!reads && !http && !tokens) || (reads && speaks == facts.No) || (!reads && speaks == facts.Yes) {
				continue
			}
			mode := "HTTP"
			if !reads {
				mode = "other than HTTP"
			}
			d.values = append(d.values, value{v.say, mode, func(p *Probe) {
				v.set(p)
				p.Call.HTTP = reads
			}})
		}
	}
	return d
}

// speaks says whether the mesh reads requests on a workload's port, by the
// services that select it: Unknown where none says, or where they differ.
func (m *Model) speaks(to Labels, port int32) facts.Tristate {
	out, found := facts.Unknown, false
	for _, svc := range m.Services {
		if svc.Namespace != m.Namespace || len(svc.Selector) == 0 || !selects(svc.Selector, to) {
			continue
		}
		for _, p := range svc.Ports {
			if p.Protocol != "TCP" || !slices.Contains(m.targets(p, to), port) {
				continue
			}
			if s := istio.ReadsRequests(p); !found {
				out, found = s, true
			} else if s != out {
				return facts.Unknown
			}
		}
	}
	return out
}

func (m *Model) targets(p facts.ServicePort, to Labels) []int32 {
	if n, ok := istio.TargetPort(p.Target, facts.Pod{}); ok {
		return []int32{n}
	}
	var out []int32
	for _, pod := range m.Pods {
		if n, ok := istio.TargetPort(p.Target, pod); ok && selects(to, pod.Labels) {
			out = append(out, n)
		}
	}
	return out
}

// tokenDim: no token, one of an issuer that nobody knows, and for each issuer,
// audience and claim that somebody asks for, tokens with and without them.
func tokenDim(models []*Model, to Labels, conditions []*condition) dim {
	var ms [3][]matcher // requestPrincipal, audience, claims
	claims := map[string][]matcher{}
	var keys []string
	for _, c := range conditions {
		all := slices.Concat(c.yes, c.none)
		switch c.of {
		case requestPrincipal:
			ms[0] = append(ms[0], all...)
		case audience:
			ms[1] = append(ms[1], all...)
		case claim:
			if claims[c.key] == nil {
				keys = append(keys, c.key)
			}
			claims[c.key] = append(claims[c.key], all...)
		}
	}
	slices.Sort(keys)
	issuers, audiences := issuersOf(models, to, ms[0]), audiencesOf(models, to, ms[1])
	d := dim{name: "token", values: []value{{say: "no token", set: func(p *Probe) { p.Call.Token = nil }}}}
	known := slices.ContainsFunc(models, func(m *Model) bool {
		return m.Partial || slices.ContainsFunc(m.authentications, func(a authentication) bool { return selects(a.selector, to) })
	})
	if !known {
		// Nobody looks at tokens.
		return d
	}
	for _, t := range issuers {
		for _, a := range audiences {
			for _, c := range claimSets(keys, claims) {
				token := t
				token.Audiences, token.Claims = a, c
				d.values = append(d.values, value{say: tokenWords(&token), set: func(p *Probe) { p.Call.Token = &token }})
			}
		}
	}
	return d
}

func tokenWords(t *Token) string {
	out := "a token of " + t.Issuer
	if t.Issuer == freshDomain {
		out = "a token of any other issuer"
	}
	if t.Subject != freshName && t.Subject != "" {
		out += " for " + t.Subject
	}
	if len(t.Audiences) > 0 {
		out += fmt.Sprintf(" with audience %s", strings.Join(t.Audiences, ", "))
	}
	if t.Keys != t.Issuer && t.Issuer != freshDomain {
		out += " signed by " + cutWords(t.Keys)
	}
	return out
}

func cutWords(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// tokenSamples are ISSUER/SUBJECT around what a request principal matches.
func tokenSamples(p matcher) []string {
	out := samples([]matcher{p}, freshName)
	if strings.Contains(p.value, "/") || p.token == nil {
		return out
	}
	for _, issuer := range samples([]matcher{p.token.issuer}, freshName) {
		out = append(out, issuer+"/"+freshName)
	}
	for _, subject := range samples([]matcher{p.token.subject}, freshName) {
		out = append(out, freshName+"/"+subject)
	}
	return out
}

func issuersOf(models []*Model, to Labels, principals []matcher) []Token {
	out := []Token{{Issuer: freshDomain, Subject: freshName, Keys: freshDomain}}
	add := func(t Token) {
		if !slices.ContainsFunc(out, func(o Token) bool { return o.Issuer == t.Issuer && o.Subject == t.Subject && o.Keys == t.Keys }) {
			out = append(out, t)
		}
	}
	for _, p := range principals {
		for _, s := range tokenSamples(p) {
			if i := strings.LastIndex(s, "/"); i > 0 {
				add(Token{Issuer: s[:i], Subject: s[i+1:], Keys: s[:i]})
			}
		}
	}
	for _, m := range models {
		for _, a := range m.authentications {
			if !selects(a.selector, to) {
				continue
			}
			add(Token{Issuer: a.issuer, Subject: freshName, Keys: a.keys})
			for _, p := range principals {
				for _, s := range tokenSamples(p) {
					if subject, ok := strings.CutPrefix(s, a.issuer+"/"); ok {
						add(Token{Issuer: a.issuer, Subject: subject, Keys: a.keys})
					}
				}
				if p.how == suffix {
					add(Token{Issuer: a.issuer, Subject: strings.TrimPrefix(p.value, "/"), Keys: a.keys})
				}
			}
		}
	}
	slices.SortFunc(out[1:], func(a, b Token) int {
		return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Keys, b.Keys), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

// audiencesOf are no audience, each one, and one that nobody asks for.
func audiencesOf(models []*Model, to Labels, ms []matcher) [][]string {
	names := samples(ms, freshName)
	if len(ms) == 0 {
		names = nil
	}
	for _, m := range models {
		for _, a := range m.authentications {
			if selects(a.selector, to) {
				names = append(names, a.audiences...)
			}
		}
	}
	slices.Sort(names)
	out := [][]string{nil}
	for _, n := range slices.Compact(names) {
		out = append(out, []string{n})
	}
	return out
}

// claimSets are a token without claims, one with all that somebody asks for,
// and one with each of their values next to the first of the others.
func claimSets(keys []string, claims map[string][]matcher) []map[string][]string {
	out := []map[string][]string{nil}
	if len(keys) == 0 {
		return out
	}
	first := map[string][]string{}
	for _, k := range keys {
		if v := samples(claims[k], freshName); len(v) > 1 {
			slices.Sort(v[1:])
			first[k] = v[1:2]
		} else {
			first[k] = v[:1]
		}
	}
	out = append(out, first)
	for _, k := range keys {
		for _, v := range append([]string{""}, distinctText(samples(claims[k], freshName), claims[k])...) {
			set := map[string][]string{}
			for _, other := range keys {
				set[other] = first[other]
			}
			set[k] = []string{v}
			if v == "" {
				delete(set, k)
			}
			out = append(out, set)
		}
	}
	return out
}
