package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// registry is what the namespace's proxies know of the outside. An entry for a
// host is one for the whole namespace, so that rules which name the same host
// share it; the first of them owns it.
type registry struct {
	hosts map[string]*destination
	// order of the hosts' first declaration.
	order  []string
	ranges []addressRange
}

// destination is a host and the ports at which some rule opens it.
type destination struct {
	host  string
	owner string
	ports map[int32]v1alpha1.EgressProtocol
	// through is true where it is reached through the egress gateway.
	through bool
}

// addressRange is a cidrs entry of a rule.
type addressRange struct {
	owner string
	cidrs []string
	ports map[int32]v1alpha1.EgressProtocol
}

// conflict says which port of a rule another rule gives another protocol, or
// which host another way; empty where none does.
func (r *registry) conflict(rule posture.EgressRule, through bool) string {
	mine := map[string]map[int32]v1alpha1.EgressProtocol{}
	for _, t := range rule.To {
		for _, h := range t.Hosts {
			host := string(h)
			if mine[host] == nil {
				mine[host] = map[int32]v1alpha1.EgressProtocol{}
			}
			for _, p := range t.Ports {
				if have, ok := mine[host][p.Port]; ok && !sameProtocol(have, p.Protocol) {
					return fmt.Sprintf("it gives port %d of %s both protocol %s and %s, and a port of a host speaks one protocol; use the same", p.Port, host, have, p.Protocol)
				}
				mine[host][p.Port] = p.Protocol
				d, ok := r.hosts[host]
				if !ok {
					continue
				}
				if have, ok := d.ports[p.Port]; ok && !sameProtocol(have, p.Protocol) {
					return fmt.Sprintf("rule %s gives port %d of %s protocol %s, and a port of a host speaks one protocol; use the same in both", d.owner, p.Port, host, have)
				}
				if d.through != through {
					return fmt.Sprintf("rule %s reaches %s another way, and the mesh leads all of a namespace to a host one way, by the egress gateway or directly; use the same via in both", d.owner, host)
				}
			}
		}
	}
	return ""
}

// sameProtocol says whether the mesh treats two protocols alike: TLS and HTTPS
// are both matched by the name in the handshake.
func sameProtocol(a, b v1alpha1.EgressProtocol) bool {
	return entryProtocol(a, true) == entryProtocol(b, true)
}

// add registers what a rule opens.
func (r *registry) add(rule posture.EgressRule, through bool) {
	for _, t := range rule.To {
		for _, h := range t.Hosts {
			d, ok := r.hosts[string(h)]
			if !ok {
				d = &destination{host: string(h), owner: rule.Name, through: through, ports: map[int32]v1alpha1.EgressProtocol{}}
				r.hosts[d.host] = d
				r.order = append(r.order, d.host)
			}
			for _, p := range t.Ports {
				if _, ok := d.ports[p.Port]; !ok {
					d.ports[p.Port] = p.Protocol
				}
			}
		}
		if len(t.CIDRs) == 0 {
			continue
		}
		a := rangeOf(rule.Name, t)
		if !slices.ContainsFunc(r.ranges, func(b addressRange) bool { return a.owner == b.owner && a.content() == b.content() }) {
			r.ranges = append(r.ranges, a)
		}
	}
}

func rangeOf(rule string, t v1alpha1.EgressTarget) addressRange {
	out := addressRange{owner: rule, ports: map[int32]v1alpha1.EgressProtocol{}}
	for _, c := range t.CIDRs {
		out.cidrs = append(out.cidrs, string(c))
	}
	slices.Sort(out.cidrs)
	for _, p := range t.Ports {
		out.ports[p.Port] = p.Protocol
	}
	return out
}

// host is a name for a range of addresses, which the mesh demands. It can't
// resolve: .invalid is reserved for that (RFC 6761).
func (a addressRange) host(namespace string) string {
	return "cidrs-" + mesh.Hash(a.owner+" "+a.content()) + "." + namespace + ".egress.meshsecurity.invalid"
}

func (a addressRange) content() string {
	return strings.Join(a.cidrs, ",") + " " + portsKey(a.ports)
}

// entries are the registry's ServiceEntries by the rule that owns them.
func (r *registry) entries(p posture.Posture, f facts.Facts) map[string][]*networkingv1.ServiceEntry {
	type draft struct {
		content string
		spec    networkingapi.ServiceEntry
	}
	drafts := map[string][]*draft{}
	add := func(owner, content string, spec *networkingapi.ServiceEntry) {
		d := &draft{content: content}
		spec.ExportTo = []string{"."}
		spec.Location = networkingapi.ServiceEntry_MESH_EXTERNAL
		spec.DeepCopyInto(&d.spec)
		drafts[owner] = append(drafts[owner], d)
	}
	for _, hosts := range r.shared(f) {
		d := r.hosts[hosts[0]]
		resolution := resolutionOf(d, f)
		add(d.owner, strings.Join(hosts, ","), &networkingapi.ServiceEntry{
			Hosts: hosts, Resolution: resolution, Ports: entryPorts(d.ports, resolution == networkingapi.ServiceEntry_DYNAMIC_DNS),
		})
	}
	for _, a := range r.ranges {
		add(a.owner, a.content(), &networkingapi.ServiceEntry{
			Hosts: []string{a.host(p.Namespace)}, Addresses: a.cidrs,
			Resolution: networkingapi.ServiceEntry_NONE, Ports: entryPorts(a.ports, false),
		})
	}
	out := map[string][]*networkingv1.ServiceEntry{}
	for owner, list := range drafts {
		for _, d := range list {
			name := mesh.Name("egress", owner)
			if len(list) > 1 {
				name = mesh.Part(name, mesh.Hash(d.content))
			}
			se := &networkingv1.ServiceEntry{
				TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "ServiceEntry"},
				ObjectMeta: mesh.Meta(p, name, owner),
			}
			d.spec.DeepCopyInto(&se.Spec)
			out[owner] = append(out[owner], se)
		}
	}
	return out
}

// shared puts hosts of one rule that have the same ports into one entry. A host
// with a port that has no names (TCP, MONGO) has an entry of its own: the mesh
// could not tell the entry's hosts apart.
func (r *registry) shared(f facts.Facts) [][]string {
	index := map[string]int{}
	var out [][]string
	for _, host := range r.order {
		d := r.hosts[host]
		key := d.owner + " " + portsKey(d.ports) + " " + resolutionOf(d, f).String()
		i, ok := index[key]
		if !ok || nameless(d.ports) {
			index[key] = len(out)
			out = append(out, []string{host})
			continue
		}
		out[i] = append(out[i], host)
	}
	for _, hosts := range out {
		slices.Sort(hosts)
	}
	return out
}

// resolutionOf is how proxies find a host's addresses.
func resolutionOf(d *destination, f facts.Facts) networkingapi.ServiceEntry_Resolution {
	switch {
	case !wildcard(d.host):
		return networkingapi.ServiceEntry_DNS
	case atLeast(f.Mesh.Version, hasDynamicDNS):
		return networkingapi.ServiceEntry_DYNAMIC_DNS
	}
	return networkingapi.ServiceEntry_NONE
}

func wildcard(host string) bool { return strings.HasPrefix(host, "*") }

// nameless says whether some of the ports carry no name by which the mesh
// could tell destinations apart.
func nameless(ports map[int32]v1alpha1.EgressProtocol) bool {
	for _, protocol := range ports {
		if protocol == v1alpha1.ProtocolTCP || protocol == v1alpha1.ProtocolMongo {
			return true
		}
	}
	return false
}

func entryPorts(ports map[int32]v1alpha1.EgressProtocol, dynamic bool) []*networkingapi.ServicePort {
	var out []*networkingapi.ServicePort
	for _, number := range slices.Sorted(maps.Keys(ports)) {
		protocol := entryProtocol(ports[number], dynamic)
		out = append(out, &networkingapi.ServicePort{
			Number: uint32(number), //nolint:gosec // the API allows 1 to 65535
			Name:   fmt.Sprintf("%s-%d", strings.ToLower(string(protocol)), number), Protocol: string(protocol),
		})
	}
	return out
}

// entryProtocol is the mesh's name of a protocol; DYNAMIC_DNS knows HTTPS as TLS alone.
func entryProtocol(p v1alpha1.EgressProtocol, dynamic bool) v1alpha1.EgressProtocol {
	if dynamic && p == v1alpha1.ProtocolHTTPS {
		return v1alpha1.ProtocolTLS
	}
	return p
}

func portsKey(ports map[int32]v1alpha1.EgressProtocol) string {
	var b strings.Builder
	for _, number := range slices.Sorted(maps.Keys(ports)) {
		fmt.Fprintf(&b, "%d/%s ", number, ports[number])
	}
	return b.String()
}

// capturesPort says whether an entry takes all connections to one of its
// ports, wherever they go: a TCP port without addresses.
func capturesPort(se *networkingv1.ServiceEntry) bool {
	if len(se.Spec.Addresses) > 0 {
		return false
	}
	return slices.ContainsFunc(se.Spec.Ports, func(p *networkingapi.ServicePort) bool {
		return p.Protocol == string(v1alpha1.ProtocolTCP) || p.Protocol == string(v1alpha1.ProtocolMongo)
	})
}
