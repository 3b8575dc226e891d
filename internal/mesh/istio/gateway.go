package istio

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Through an egress gateway every port of a host has a tunnel of its own:
//
//	workload ─▶ its proxy ═══ mutual TLS, the tunnel's name as SNI ═══▶ gateway ─▶ host:port
//	            VirtualService of the host        Gateway server of that name,
//	            DestinationRule subset            VirtualService, ServiceEntry
//
// What is inside passes the gateway as bytes, so that it needs no certificates
// and tears no TLS open. The name has the namespace in it, so that nothing at
// the gateway is ever shared by two namespaces: neither a server, nor a route,
// nor where a host's addresses come from.
type tunnel struct {
	host     string
	port     int32
	protocol v1alpha1.EgressProtocol
	// owner is the rule that declares the host first.
	owner string
	// name is the SNI, and the gateway's own name for the host; subset is its
	// name in the DestinationRule.
	name, subset string
}

// tunnelSuffix ends the names of tunnels. They can't resolve: .invalid is
// reserved for that (RFC 6761).
const tunnelSuffix = ".egress.meshsecurity.invalid"

// tunnelName is PORT.HOST.NAMESPACE and the suffix. The first and the last are
// single labels, so that no two tunnels have the same, whatever the host is. A
// host that is too long for it, or is not a DNS name with two labels at least,
// is hashed into one label.
func tunnelName(namespace, host string, port int32) string {
	name := fmt.Sprintf("%d.%s.%s%s", port, host, namespace, tunnelSuffix)
	if !strings.Contains(host, ".") || len(validation.IsDNS1123Subdomain(name)) > 0 ||
		slices.ContainsFunc(strings.Split(host, "."), func(l string) bool { return len(l) > validation.DNS1123LabelMaxLength }) {
		return fmt.Sprintf("%d.%s.%s%s", port, fingerprint(host), namespace, tunnelSuffix)
	}
	return name
}

// fingerprint is 32 characters, so that nobody finds two names of one.
func fingerprint(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// tunnels of the hosts that rules reach through the gateway, in the order of
// their first declaration and then by port.
func (r *registry) tunnels(namespace string) []tunnel {
	var out []tunnel
	for _, host := range r.order {
		d := r.hosts[host]
		if !d.through {
			continue
		}
		for _, port := range slices.Sorted(maps.Keys(d.ports)) {
			t := tunnel{host: host, port: port, protocol: d.ports[port], owner: d.owner, name: tunnelName(namespace, host, port)}
			t.subset = "t" + fingerprint(t.name)
			out = append(out, t)
		}
	}
	return out
}

// throughGateway are the objects of the tunnels: those of all rules, and those of
// single ones by the rule.
func throughGateway(p posture.Posture, f facts.Facts, tunnels []tunnel) (shared []mesh.Object, byRule map[string][]mesh.Object) {
	byRule = map[string][]mesh.Object{}
	if len(tunnels) == 0 {
		return nil, byRule
	}
	g := p.Egress.Gateway
	for _, t := range tunnels {
		byRule[t.owner] = append(byRule[t.owner], t.entry(p, g), t.away(p, g))
	}
	for _, ts := range byHost(tunnels) {
		byRule[ts[0].owner] = append(byRule[ts[0].owner], towards(p, f, g, ts))
	}
	return []mesh.Object{servers(p, g, tunnels), clients(p, f, g, tunnels), gatewayPolicy(p, f, g, tunnels)}, byRule
}

func byHost(tunnels []tunnel) [][]tunnel {
	var out [][]tunnel
	for i, t := range tunnels {
		if i == 0 || t.host != tunnels[i-1].host {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], t)
	}
	return out
}

func networkingMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: kind}
}

func number(port int32) uint32 { return uint32(port) } //nolint:gosec // the API allows 1 to 65535

// gatewayHost is the gateway's service.
func gatewayHost(g *posture.Gateway, f facts.Facts) string {
	return g.Service + "." + g.Namespace + ".svc." + f.Mesh.ClusterDomain
}

// gatewayAlone is what the gateway's own proxies see, and nobody else.
func gatewayAlone(p posture.Posture, g *posture.Gateway) []string {
	if g.Namespace == p.Namespace {
		return []string{"."}
	}
	return []string{g.Namespace}
}

// servers is the Gateway: a server for each tunnel, on one port, told apart by
// SNI. Only routes of its own namespace may use it.
func servers(p posture.Posture, g *posture.Gateway, tunnels []tunnel) *networkingv1.Gateway {
	gw := &networkingv1.Gateway{TypeMeta: networkingMeta("Gateway"), ObjectMeta: mesh.Meta(p, mesh.Name("egress"), "")}
	gw.Spec.Selector = g.Selector
	for _, t := range tunnels {
		gw.Spec.Servers = append(gw.Spec.Servers, &networkingapi.Server{
			Port:  &networkingapi.Port{Number: number(g.Port), Name: "tls-" + t.subset, Protocol: "TLS"},
			Hosts: []string{"./" + t.name},
			Tls:   &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_ISTIO_MUTUAL},
		})
	}
	return gw
}

// clients is the DestinationRule by which the namespace's proxies enter the
// tunnels: by the mesh's own mutual TLS, to the gateway and to nobody else.
func clients(p posture.Posture, f facts.Facts, g *posture.Gateway, tunnels []tunnel) *networkingv1.DestinationRule {
	dr := &networkingv1.DestinationRule{TypeMeta: networkingMeta("DestinationRule"), ObjectMeta: mesh.Meta(p, mesh.Name("egress"), "")}
	dr.Spec.Host, dr.Spec.ExportTo = gatewayHost(g, f), []string{"."}
	for _, t := range tunnels {
		s := &networkingapi.Subset{Name: t.subset, TrafficPolicy: &networkingapi.TrafficPolicy{Tls: &networkingapi.ClientTLSSettings{
			Mode: networkingapi.ClientTLSSettings_ISTIO_MUTUAL, Sni: t.name,
		}}}
		if f.Mesh.ConfigRead {
			s.TrafficPolicy.Tls.SubjectAltNames = []string{"spiffe://" + f.Mesh.TrustDomain + "/ns/" + g.Namespace + "/sa/" + g.ServiceAccount}
		}
		if requests(t.protocol) {
			// The gateway does not look inside, so that it is the caller who says which
			// version of HTTP the host is spoken to in.
			s.TrafficPolicy.ConnectionPool = &networkingapi.ConnectionPoolSettings{Http: &networkingapi.ConnectionPoolSettings_HTTPSettings{UseClientProtocol: true}}
		}
		dr.Spec.Subsets = append(dr.Spec.Subsets, s)
	}
	return dr
}

// requests says whether the proxies see requests in a protocol.
func requests(p v1alpha1.EgressProtocol) bool {
	switch entryProtocol(p, false) {
	case v1alpha1.ProtocolHTTP, v1alpha1.ProtocolHTTP2, v1alpha1.ProtocolGRPC:
		return true
	}
	return false
}

// towards is the route from the namespace's proxies into the tunnels of a host.
func towards(p posture.Posture, f facts.Facts, g *posture.Gateway, tunnels []tunnel) *networkingv1.VirtualService {
	first := tunnels[0]
	vs := &networkingv1.VirtualService{
		TypeMeta:   networkingMeta("VirtualService"),
		ObjectMeta: mesh.Meta(p, mesh.Part(mesh.Name("egress", first.owner), mesh.Hash(first.host)), first.owner),
	}
	vs.Spec.Hosts, vs.Spec.Gateways, vs.Spec.ExportTo = []string{first.host}, []string{"mesh"}, []string{"."}
	for _, t := range tunnels {
		to := &networkingapi.Destination{Host: gatewayHost(g, f), Subset: t.subset, Port: &networkingapi.PortSelector{Number: number(g.Port)}}
		switch {
		case requests(t.protocol):
			vs.Spec.Http = append(vs.Spec.Http, &networkingapi.HTTPRoute{
				Match: []*networkingapi.HTTPMatchRequest{{Port: number(t.port)}},
				Route: []*networkingapi.HTTPRouteDestination{{Destination: to}},
			})
		case nameless(map[int32]v1alpha1.EgressProtocol{t.port: t.protocol}):
			vs.Spec.Tcp = append(vs.Spec.Tcp, &networkingapi.TCPRoute{
				Match: []*networkingapi.L4MatchAttributes{{Port: number(t.port)}},
				Route: []*networkingapi.RouteDestination{{Destination: to}},
			})
		default:
			vs.Spec.Tls = append(vs.Spec.Tls, &networkingapi.TLSRoute{
				Match: []*networkingapi.TLSMatchAttributes{{Port: number(t.port), SniHosts: []string{t.host}}},
				Route: []*networkingapi.RouteDestination{{Destination: to}},
			})
		}
	}
	return vs
}

// gatewaySide names the objects of a tunnel that only the gateway sees.
func (t tunnel) gatewaySide(p posture.Posture) metav1.ObjectMeta {
	return mesh.Meta(p, mesh.Part(mesh.Name("egress", t.owner), "gateway-"+mesh.Hash(t.name)), t.owner)
}

// away is the route from the gateway's server to the host.
func (t tunnel) away(p posture.Posture, g *posture.Gateway) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{TypeMeta: networkingMeta("VirtualService"), ObjectMeta: t.gatewaySide(p)}
	at := []string{p.Namespace + "/" + mesh.Name("egress")}
	vs.Spec.Hosts, vs.Spec.Gateways, vs.Spec.ExportTo = []string{t.name}, at, gatewayAlone(p, g)
	vs.Spec.Tcp = []*networkingapi.TCPRoute{{
		Match: []*networkingapi.L4MatchAttributes{{Port: number(g.Port), Gateways: at}},
		Route: []*networkingapi.RouteDestination{{Destination: &networkingapi.Destination{Host: t.name, Port: &networkingapi.PortSelector{Number: number(t.port)}}}},
	}}
	return vs
}

// entry is where the gateway finds the host. It has the tunnel's name: were it
// the host's, the gateway would take one namespace's word for it for all.
func (t tunnel) entry(p posture.Posture, g *posture.Gateway) *networkingv1.ServiceEntry {
	se := &networkingv1.ServiceEntry{TypeMeta: networkingMeta("ServiceEntry"), ObjectMeta: t.gatewaySide(p)}
	se.Spec.Hosts, se.Spec.ExportTo = []string{t.name}, gatewayAlone(p, g)
	se.Spec.Location, se.Spec.Resolution = networkingapi.ServiceEntry_MESH_EXTERNAL, networkingapi.ServiceEntry_DNS
	se.Spec.Ports = []*networkingapi.ServicePort{{Number: number(t.port), Name: fmt.Sprintf("tls-%d", t.port), Protocol: "TLS"}}
	se.Spec.Endpoints = []*networkingapi.WorkloadEntry{{Address: t.host}}
	return se
}

// gatewayPolicy lets the namespace's workloads through the gateway's tunnels that
// are its own. It is beside the gateway's pods and belongs to the baseline that
// declares the gateway.
func gatewayPolicy(p posture.Posture, f facts.Facts, g *posture.Gateway, tunnels []tunnel) *securityv1.AuthorizationPolicy {
	beside := posture.Posture{Namespace: g.Namespace, Owner: g.Baseline}
	ap := &securityv1.AuthorizationPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: securityv1.SchemeGroupVersion.String(), Kind: "AuthorizationPolicy"},
		ObjectMeta: mesh.Meta(beside, mesh.GatewayPolicyName(p.Namespace, g.Namespace), ""),
	}
	names := make([]string, 0, len(tunnels))
	for _, t := range tunnels {
		names = append(names, t.name)
	}
	slices.Sort(names)
	callers := posture.Callers{Namespaces: []string{p.Namespace}}
	ap.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: g.Selector}
	ap.Spec.Action = securityapi.AuthorizationPolicy_ALLOW
	ap.Spec.Rules = []*securityapi.Rule{{
		From: sources(callers, identities(posture.Rule{Action: v1alpha1.RuleAllow, From: callers}, f), nil),
		When: []*securityapi.Condition{{Key: "connection.sni", Values: names}},
	}}
	return ap
}

// assessGateway says through what a rule's traffic leaves.
func assessGateway(p posture.Posture, f facts.Facts, a *mesh.Assessment) {
	g := p.Egress.Gateway
	if !g.Ready {
		a.Say(v1alpha1.VerdictNeedsPrerequisite, "no pod of the egress gateway in namespace %s is ready as service account %s, so that nothing gets through; start it", g.Namespace, g.ServiceAccount)
	}
	through := fmt.Sprintf("leaves through the egress gateway %s/%s of %s", g.Namespace, g.Service, posture.From(g.Baseline.Name))
	if seen := f.EgressGateway; seen != nil && len(seen.Openers) > 0 {
		var names []string
		for _, s := range seen.Openers {
			names = append(names, s.In(p.Namespace))
		}
		a.Say(v1alpha1.VerdictEnforced, "%s; which callers of other namespaces may use this route is not known, since others let callers into the gateway too: %s; remove them, or have them select other pods", through, mesh.Some(names))
	} else {
		a.Say(v1alpha1.VerdictEnforced, "%s, which lets only this namespace into this route", through)
	}
	if !f.Mesh.ConfigRead {
		a.Say(v1alpha1.VerdictEnforced, "the mesh configuration could not be read, so that the gateway is known by its service alone and not by the identity in its certificate")
	}
}
