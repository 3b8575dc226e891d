package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

const (
	referenceGateway = "https://istio.io/latest/docs/reference/config/networking/gateway/"
	// gatewayLimits are those of all checks of Gateways.
	gatewayLimits = "Looked at are Istio's Gateways that select a running gateway, which is known by the arguments of its proxy (proxy router); not those of the Gateway API. "
)

func perimeterChecks() []Check { return slices.Concat(serverChecks(), reachChecks()) }

func serverChecks() []Check {
	return []Check{
		{
			ID: "GW-001", Title: "a gateway accepts TLS below 1.2, or weak ciphers", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 4.2.1", "NIST SP 800-53 SC-8"},
			Remediation: "take minProtocolVersion off the server, so that Istio's default of TLS 1.2 holds, and the named ciphers out of cipherSuites",
			Limits:      gatewayLimits + "Ciphers of the mesh configuration's tlsDefaults are not looked at, nor what an EnvoyFilter changes.",
			References:  []string{referenceGateway + "#ServerTLSSettings"},
			cluster:     weakServers,
		},
		{
			ID: "GW-002", Title: "a gateway takes requests in plaintext", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 4.2.1", "NIST SP 800-53 SC-8"},
			Remediation: "set tls.httpsRedirect on the server, or have every VirtualService that is bound to it redirect to https; or serve the hosts by HTTPS alone",
			Limits:      gatewayLimits + "A load balancer in front of the gateway that ends TLS, or lets nobody reach the port, is not seen: have an exception granted.",
			References:  []string{referenceGateway + "#ServerTLSSettings", "https://istio.io/latest/docs/ops/best-practices/security/#gateways"},
			cluster:     plainServers,
		},
		{
			ID: "GW-003", Title: "a gateway serves every host", Severity: v1alpha1.SeverityHigh,
			Remediation: "name the hosts that the gateway is for, each with the namespace whose VirtualServices may lead its requests, like payments/pay.example.com",
			Limits:      gatewayLimits + "Servers that only redirect to HTTPS, and those for connections without a name (TCP), are not looked at. Medium where one namespace alone may lead the requests.",
			References:  []string{"https://istio.io/latest/docs/ops/best-practices/security/#avoid-overly-broad-hosts-configurations", referenceGateway + "#Server"},
			cluster:     anyHost,
		},
		{
			ID: "GW-004", Title: "a host that asks for client certificates is reached without one", Severity: v1alpha1.SeverityHigh,
			Remediation: "serve the host by a gateway of its own, or on a port of its own; or bind a VirtualService for exactly this host to the wider Gateway that refuses every request (fault.abort with httpStatus 421)",
			Limits:      gatewayLimits + "Envoy does not compare the name in the TLS handshake with the request's host: under a wildcard server without client certificates, a request may be for the other host. It is a finding where a VirtualService leads requests for the host there.",
			References:  []string{"https://istio.io/latest/docs/ops/best-practices/security/#explicitly-disable-all-the-sensitive-http-host-under-relaxed-sni-host-matching", "https://github.com/envoyproxy/envoy/issues/6767"},
			cluster:     overlappingNames,
		},
		{
			ID: "GW-005", Title: "a gateway does not insist on client certificates", Severity: v1alpha1.SeverityMedium,
			Remediation: "set tls.mode MUTUAL, and take insecureSkipVerify off",
			Limits:      gatewayLimits + "Where nothing asks for client certificates nothing is looked for: nobody declares for which hosts they are needed.",
			References:  []string{referenceGateway + "#ServerTLSSettings-TLSmode"},
			cluster:     optionalCertificates,
		},
		{
			ID: "GW-006", Title: "a gateway's certificate is missing, shared, or can't be told", Severity: v1alpha1.SeverityHigh, Aliases: []string{"IST0138", "IST0161"},
			Remediation: "give the server a credentialName, and every Gateway a certificate of its own, for its own hosts",
			Limits:      gatewayLimits + "Secrets are not read: whether one is there, valid or about to expire is unknown, and so is whether two of them hold one key. Medium where one is shared: a secret is sought in the namespace of the gateway's pods.",
			References:  []string{referenceGateway + "#ServerTLSSettings", "https://istio.io/latest/docs/ops/common-problems/network-issues/#404-errors-occur-when-multiple-gateways-configured-with-same-tls-certificate"},
			cluster:     credentials,
		},
	}
}

func (s *ClusterScene) gateways() []*networkingv1.Gateway {
	return typed[*networkingv1.Gateway](s.Perimeter.Gateways)
}

// typed are the objects of a Go type.
func typed[T facts.Object](objects []facts.Object) []T {
	var out []T
	for _, o := range objects {
		if t, is := o.(T); is {
			out = append(out, t)
		}
	}
	return out
}

// heldTo says whether gateways heed Gateways of their own namespace alone.
func (s *ClusterScene) heldTo() facts.Tristate {
	const setting = "PILOT_SCOPE_GATEWAY_TO_NAMESPACE"
	answer := facts.Unknown
	for i, cp := range s.ControlPlanes {
		if slices.Contains(cp.SettingsElsewhere, setting) {
			return facts.Unknown
		}
		this := facts.No
		if on, err := strconv.ParseBool(cp.Settings[setting]); err == nil && on {
			this = facts.Yes
		}
		if i > 0 && this != answer {
			return facts.Unknown
		}
		answer = this
	}
	return answer
}

// atGateway is what is known of a Gateway.
type atGateway struct {
	// proxies are the gateways at which it opens ports, one set for all Gateways
	// that select the same.
	*proxies
	routes []*networkingv1.VirtualService
}

type proxies struct {
	all []facts.Proxy
	// workloads and namespaces of them, sorted.
	workloads, namespaces []string
}

// of works out what is known of a Gateway: there may be thousands that select
// one gateway, and each is asked of by every check.
func (s *ClusterScene) of(g *networkingv1.Gateway) *atGateway {
	if s.at == nil {
		s.at = map[*networkingv1.Gateway]*atGateway{}
		own := s.heldTo() == facts.Yes
		known := map[string]*proxies{}
		for _, g := range s.gateways() {
			key := facts.SelectorKey(g.Spec.GetSelector())
			if own {
				key += " " + g.Namespace
			}
			if known[key] == nil {
				known[key] = &proxies{all: keep(s.Perimeter.Proxies, func(p facts.Proxy) bool {
					return (!own || p.Namespace == g.Namespace) && facts.Matches(g.Spec.GetSelector(), p.Labels)
				})}
				known[key].name()
			}
			s.at[g] = &atGateway{known[key], typed[*networkingv1.VirtualService](s.Perimeter.Routes[types.NamespacedName{Namespace: g.Namespace, Name: g.Name}])}
		}
	}
	return s.at[g]
}

func (p *proxies) name() {
	for _, x := range p.all {
		p.workloads, p.namespaces = append(p.workloads, proxySubject(x)), append(p.namespaces, x.Namespace)
	}
	slices.Sort(p.workloads)
	slices.Sort(p.namespaces)
	p.workloads, p.namespaces = slices.Compact(p.workloads), slices.Compact(p.namespaces)
}

func proxySubject(p facts.Proxy) string { return p.Source().In("") }

// gatewaysInForce are those at which some gateway's ports are opened.
func (s *ClusterScene) gatewaysInForce() []*networkingv1.Gateway {
	return keep(s.gateways(), func(g *networkingv1.Gateway) bool { return len(s.of(g).all) > 0 })
}

// share says whether two Gateways open ports of one gateway.
func (s *ClusterScene) share(a, b *networkingv1.Gateway) bool {
	x, y := s.of(a).proxies, s.of(b).proxies
	return x == y && len(x.all) > 0 || slices.ContainsFunc(x.workloads, func(w string) bool { return slices.Contains(y.workloads, w) })
}

func gatewaySubject(g *networkingv1.Gateway) string { return "Gateway/" + g.Namespace + "/" + g.Name }

// eachServer makes a finding for each Gateway of what is said of its servers.
func (s *ClusterScene) eachServer(say func(*networkingv1.Gateway, *networkingapi.Server) string, format string) []Finding {
	var out []Finding
	for _, g := range s.gatewaysInForce() {
		var what []string
		for _, server := range g.Spec.GetServers() {
			if words := say(g, server); words != "" {
				what = append(what, words)
			}
		}
		if len(what) > 0 {
			out = append(out, open(gatewaySubject(g), format, listed(what)))
		}
	}
	return out
}

func portOf(server *networkingapi.Server) string {
	return fmt.Sprintf("port %d", server.GetPort().GetNumber())
}

func protocolOf(server *networkingapi.Server) string {
	return strings.ToUpper(server.GetPort().GetProtocol())
}

// endsTLS says whether a server ends TLS with a certificate of its own.
func endsTLS(server *networkingapi.Server) bool {
	if server.GetTls() == nil || slices.Contains(inTheClear, protocolOf(server)) {
		return false
	}
	switch server.GetTls().GetMode() {
	case networkingapi.ServerTLSSettings_SIMPLE, networkingapi.ServerTLSSettings_MUTUAL, networkingapi.ServerTLSSettings_OPTIONAL_MUTUAL:
		return true
	}
	return false
}

// passesOn says whether a server leaves it to who is behind it to end TLS.
func passesOn(server *networkingapi.Server) bool {
	t := server.GetTls()
	return t != nil && t.GetMode() == networkingapi.ServerTLSSettings_AUTO_PASSTHROUGH
}

// bareHost is a server's host, with and without the namespace before it: "*" for
// any, and the Gateway's own for ".".
func bareHost(g *networkingv1.Gateway, host string) (namespace, name string) {
	ns, name, ok := strings.Cut(host, "/")
	switch {
	case !ok:
		return "*", host
	case ns == ".":
		return g.Namespace, name
	}
	return ns, name
}

func weakServers(s *ClusterScene) []Finding {
	return s.eachServer(func(_ *networkingv1.Gateway, server *networkingapi.Server) string {
		if !endsTLS(server) {
			return ""
		}
		t := server.GetTls()
		var what []string
		switch t.GetMinProtocolVersion() {
		case networkingapi.ServerTLSSettings_TLSV1_0:
			what = append(what, "TLS from 1.0 on")
		case networkingapi.ServerTLSSettings_TLSV1_1:
			what = append(what, "TLS from 1.1 on")
		case networkingapi.ServerTLSSettings_TLSV1_3:
			return "" // The list of ciphers is for those before.
		}
		if weak := weakCiphers(t.GetCipherSuites()); len(weak) > 0 {
			what = append(what, "ciphers that are no authenticated encryption (AEAD): "+listed(weak))
		}
		if len(what) == 0 {
			return ""
		}
		return portOf(server) + " accepts " + strings.Join(what, ", and ")
	}, "%s")
}

// bindsTo says whether a VirtualService that is bound to a Gateway leads requests
// for hosts of a server, at some gateway that sees it.
func (s *ClusterScene) bindsTo(v *networkingv1.VirtualService, g *networkingv1.Gateway, server *networkingapi.Server) bool {
	if !s.seen(v, g) {
		return false
	}
	return slices.ContainsFunc(server.GetHosts(), func(h string) bool {
		ns, name := bareHost(g, h)
		return (ns == "*" || ns == v.Namespace) && slices.ContainsFunc(v.Spec.GetHosts(), func(of string) bool { return meet(name, of) })
	})
}

// seen says whether a VirtualService is exported to a gateway of a Gateway.
func (s *ClusterScene) seen(v *networkingv1.VirtualService, g *networkingv1.Gateway) bool {
	to := v.Spec.GetExportTo()
	return len(to) == 0 || slices.Contains(to, "*") || slices.ContainsFunc(s.of(g).all, func(p facts.Proxy) bool {
		return slices.Contains(to, p.Namespace) || p.Namespace == v.Namespace && slices.Contains(to, ".")
	})
}

// meet says whether two hosts, exact or *.suffix, have a name in common.
func meet(a, b string) bool { return effective.Covers(a, b) || effective.Covers(b, a) }

// answers says what a VirtualService does with requests to a server: whether it
// leads some on, or sends or turns all away that it is for.
func answers(v *networkingv1.VirtualService, g *networkingv1.Gateway, server *networkingapi.Server) (leads, redirects, refuses bool) {
	for _, r := range v.Spec.GetHttp() {
		if !isFor(r, v, g, server) {
			continue
		}
		switch {
		case mesh.ToHTTPS(r):
			redirects = true
		case mesh.Refuses(r):
			refuses = true
		default:
			leads = true
		}
	}
	return leads, redirects && !leads, refuses && !leads && !redirects
}

func isFor(r *networkingapi.HTTPRoute, v *networkingv1.VirtualService, g *networkingv1.Gateway, server *networkingapi.Server) bool {
	return len(r.GetMatch()) == 0 || slices.ContainsFunc(r.GetMatch(), func(m *networkingapi.HTTPMatchRequest) bool {
		return (m.GetPort() == 0 || m.GetPort() == server.GetPort().GetNumber()) && (len(m.GetGateways()) == 0 ||
			slices.Contains(m.GetGateways(), g.Namespace+"/"+g.Name) || v.Namespace == g.Namespace && slices.Contains(m.GetGateways(), g.Name))
	})
}

func plainServers(s *ClusterScene) []Finding {
	return s.eachServer(func(g *networkingv1.Gateway, server *networkingapi.Server) string {
		if !slices.Contains(inTheClear, protocolOf(server)) || server.GetTls().GetHttpsRedirect() {
			return ""
		}
		sent := false
		for _, v := range s.of(g).routes {
			if !s.bindsTo(v, g, server) {
				continue
			}
			leads, redirects, _ := answers(v, g, server)
			if leads {
				return portOf(server) + " takes them for " + hostsOf(server) + ", and VirtualService/" + v.Namespace + "/" + v.Name + " leads them on"
			}
			sent = sent || redirects
		}
		if sent {
			return ""
		}
		return portOf(server) + " takes them for " + hostsOf(server) + ", and nothing sends callers to HTTPS"
	}, "requests come in plaintext, for everybody on the way to read and change: %s")
}

func hostsOf(server *networkingapi.Server) string { return mesh.Some(server.GetHosts()) }

func anyHost(s *ClusterScene) []Finding {
	var out []Finding
	for _, g := range s.gatewaysInForce() {
		var ports []string
		narrow := true
		for _, server := range g.Spec.GetServers() {
			plain := slices.Contains(inTheClear, protocolOf(server))
			if server.GetTls().GetHttpsRedirect() || !plain && server.GetTls() == nil {
				continue
			}
			for _, h := range server.GetHosts() {
				if ns, name := bareHost(g, h); name == "*" {
					ports = append(ports, fmt.Sprintf("%s (%s)", portOf(server), h))
					narrow = narrow && ns != "*"
				}
			}
		}
		if len(ports) == 0 {
			continue
		}
		f := open(gatewaySubject(g), "it serves whatever host is asked for, and VirtualServices of every namespace may lead the requests: %s", listed(ports))
		if narrow {
			f = open(gatewaySubject(g), "it serves whatever host is asked for: %s", listed(ports))
			f.Severity = v1alpha1.SeverityMedium
		}
		out = append(out, f)
	}
	return out
}

// served is a server with its Gateway.
type served struct {
	of     *networkingv1.Gateway
	server *networkingapi.Server
}

// claim is a host at a port.
type claim struct {
	port uint32
	host string
}

// overlappingNames looks for hosts with client certificates that are led on
// under a wildcard that asks for none.
func overlappingNames(s *ClusterScene) []Finding {
	var mutual []served
	simple := map[claim][]served{}
	for _, g := range s.gatewaysInForce() {
		for _, server := range g.Spec.GetServers() {
			if protocolOf(server) != "HTTPS" {
				continue
			}
			switch server.GetTls().GetMode() {
			case networkingapi.ServerTLSSettings_MUTUAL:
				mutual = append(mutual, served{g, server})
			case networkingapi.ServerTLSSettings_SIMPLE, networkingapi.ServerTLSSettings_OPTIONAL_MUTUAL:
				for _, h := range server.GetHosts() {
					if _, name := bareHost(g, h); strings.HasPrefix(name, "*") {
						at := claim{server.GetPort().GetNumber(), name}
						simple[at] = append(simple[at], served{g, server})
					}
				}
			}
		}
	}
	found := map[*networkingv1.Gateway][]string{}
	for _, m := range mutual {
		for _, h := range m.server.GetHosts() {
			_, host := bareHost(m.of, h)
			for _, wild := range wildcardsOver(host) {
				for _, w := range simple[claim{m.server.GetPort().GetNumber(), wild}] {
					if by := s.ledUnder(w, m, host); by != "" {
						found[m.of] = append(found[m.of], fmt.Sprintf("%s on %s, where %s leads requests for it under %s of %s", host, portOf(m.server), by, wild, gatewaySubject(w.of)))
					}
				}
			}
		}
	}
	var out []Finding
	for _, g := range s.gatewaysInForce() {
		if len(found[g]) > 0 {
			out = append(out, open(gatewaySubject(g), "whoever has no client certificate reaches hosts that ask for one: %s", listed(found[g])))
		}
	}
	return out
}

// wildcardsOver are the wildcards that cover a host, exact or *.suffix, and more.
func wildcardsOver(host string) []string {
	var out []string
	rest := strings.TrimPrefix(host, "*.")
	if rest == host {
		rest = "." + rest
	}
	for {
		_, tail, ok := strings.Cut(strings.TrimPrefix(rest, "."), ".")
		if !ok {
			break
		}
		out = append(out, "*."+tail)
		rest = "." + tail
	}
	if host != "*" {
		out = append(out, "*")
	}
	return out
}

// ledUnder names the VirtualService that leads requests for a host with client
// certificates at a wider server without; empty for none.
func (s *ClusterScene) ledUnder(wide, strict served, host string) string {
	if !s.share(wide.of, strict.of) {
		return ""
	}
	by := ""
	for _, v := range s.of(wide.of).routes {
		if !s.bindsTo(v, wide.of, wide.server) {
			continue
		}
		exact := slices.Contains(v.Spec.GetHosts(), host)
		leads, _, refuses := answers(v, wide.of, wide.server)
		if exact && refuses {
			return ""
		}
		// A wider one is of concern where it is what leads the host's own requests.
		same := slices.Contains(s.of(strict.of).routes, v) && slices.ContainsFunc(v.Spec.GetHosts(), func(h string) bool { return meet(h, host) })
		if leads && (exact || same) && by == "" {
			by = "VirtualService/" + v.Namespace + "/" + v.Name
		}
	}
	return by
}

func optionalCertificates(s *ClusterScene) []Finding {
	return s.eachServer(func(_ *networkingv1.Gateway, server *networkingapi.Server) string {
		t := server.GetTls()
		switch {
		case !endsTLS(server):
		case t.GetMode() == networkingapi.ServerTLSSettings_OPTIONAL_MUTUAL:
			return portOf(server) + " lets in who shows none (OPTIONAL_MUTUAL)"
		case t.GetMode() == networkingapi.ServerTLSSettings_MUTUAL && t.GetInsecureSkipVerify().GetValue():
			return portOf(server) + " lets in who shows one of any authority (insecureSkipVerify)"
		}
		return ""
	}, "it asks for client certificates and does not insist: %s")
}

// credentials looks at where servers have their certificates from.
func credentials(s *ClusterScene) []Finding {
	out := s.eachServer(func(_ *networkingv1.Gateway, server *networkingapi.Server) string {
		t := server.GetTls()
		switch {
		case protocolOf(server) == "HTTPS" && t == nil, endsTLS(server) && len(namesOf(t)) == 0 && t.GetServerCertificate() == "" && len(t.GetTlsCertificates()) == 0:
			return portOf(server) + " for " + hostsOf(server)
		}
		return ""
	}, "it names no certificate, so that nothing answers by TLS: %s")
	type secret struct{ namespace, name string }
	users := map[secret][]*networkingv1.Gateway{}
	var order []secret
	for _, g := range s.gatewaysInForce() {
		for _, server := range g.Spec.GetServers() {
			if !endsTLS(server) {
				continue
			}
			for _, name := range namesOf(server.GetTls()) {
				for _, namespace := range s.of(g).namespaces {
					at := secret{namespace, name}
					if users[at] == nil {
						order = append(order, at)
					}
					if n := len(users[at]); n == 0 || users[at][n-1] != g {
						users[at] = append(users[at], g)
					}
				}
			}
		}
	}
	slices.SortFunc(order, func(a, b secret) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	for _, at := range order {
		var names []string
		elsewhere := false
		for _, g := range users[at] {
			names = append(names, gatewaySubject(g))
			elsewhere = elsewhere || g.Namespace != users[at][0].Namespace || !s.share(g, users[at][0])
		}
		if elsewhere {
			f := open("Secret/"+at.namespace+"/"+at.name, "Gateways of several namespaces, or of several gateways, serve their hosts with this one key: %s", mesh.Some(names))
			f.Severity = v1alpha1.SeverityMedium
			out = append(out, f)
		}
	}
	if len(order) > 0 {
		out = append(out, ungranted("Namespace/"+s.Mesh.Namespace, "whether the certificates of gateways are there, valid and not about to expire: the secrets that hold them are not read"))
	}
	return out
}

func namesOf(t *networkingapi.ServerTLSSettings) []string {
	out := slices.Clone(t.GetCredentialNames())
	if t.GetCredentialName() != "" {
		out = append(out, t.GetCredentialName())
	}
	return out
}
