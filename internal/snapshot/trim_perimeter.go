package snapshot

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// trimVirtualService keeps for which hosts, and of which gateways, it leads
// whereto, and at which of them it leads requests nowhere.
func trimVirtualService(v *networkingv1.VirtualService) *networkingv1.VirtualService {
	out := &networkingv1.VirtualService{TypeMeta: v.TypeMeta, ObjectMeta: trimMeta(v.ObjectMeta)}
	out.Labels = nil
	out.Spec.Hosts, out.Spec.Gateways, out.Spec.ExportTo = v.Spec.GetHosts(), v.Spec.GetGateways(), v.Spec.GetExportTo()
	kept := map[string]*networkingapi.HTTPRoute{}
	for _, r := range v.Spec.GetHttp() {
		t := &networkingapi.HTTPRoute{}
		if len(gatewaysOf(v)) > 0 {
			t.Match = trimMatches(r.GetMatch())
			switch {
			case mesh.ToHTTPS(r):
				t.Redirect = &networkingapi.HTTPRedirect{Scheme: "https"}
			case mesh.Refuses(r):
				t.DirectResponse = &networkingapi.HTTPDirectResponse{Status: http.StatusMisdirectedRequest}
			}
		}
		if r.GetDelegate() != nil {
			t.Delegate = &networkingapi.Delegate{}
		}
		key := t.String()
		if kept[key] == nil {
			kept[key] = t
			out.Spec.Http = append(out.Spec.Http, t)
		}
		keepDestinations(kept[key], r)
	}
	tcp := &networkingapi.TCPRoute{}
	for _, r := range v.Spec.GetTls() {
		tcp.Route = append(tcp.Route, trimWeights(r.GetRoute())...)
	}
	for _, r := range v.Spec.GetTcp() {
		tcp.Route = append(tcp.Route, trimWeights(r.GetRoute())...)
	}
	if len(tcp.Route) > 0 {
		out.Spec.Tcp = []*networkingapi.TCPRoute{tcp}
	}
	return out
}

// trimMatches keeps the ports and gateways that a route is for, sorted; none
// where it is for all.
func trimMatches(matches []*networkingapi.HTTPMatchRequest) []*networkingapi.HTTPMatchRequest {
	byKey := map[string]*networkingapi.HTTPMatchRequest{}
	var keys []string
	for _, m := range matches {
		if m.GetPort() == 0 && len(m.GetGateways()) == 0 {
			return nil
		}
		key := fmt.Sprintf("%05d %s", m.GetPort(), strings.Join(m.GetGateways(), " "))
		if byKey[key] == nil {
			byKey[key] = &networkingapi.HTTPMatchRequest{Port: m.GetPort(), Gateways: m.GetGateways()}
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var out []*networkingapi.HTTPMatchRequest
	for _, k := range keys {
		out = append(out, byKey[k])
	}
	return out
}

// keepDestinations adds to a route what another one leads or mirrors to.
func keepDestinations(to, from *networkingapi.HTTPRoute) {
	for _, d := range from.GetRoute() {
		to.Route = append(to.Route, &networkingapi.HTTPRouteDestination{Destination: d.GetDestination()})
	}
	for _, m := range from.GetMirrors() {
		to.Mirrors = append(to.Mirrors, &networkingapi.HTTPMirrorPolicy{Destination: m.GetDestination()})
	}
	if m := from.GetMirror(); m != nil {
		to.Mirrors = append(to.Mirrors, &networkingapi.HTTPMirrorPolicy{Destination: m})
	}
}

func trimWeights(in []*networkingapi.RouteDestination) []*networkingapi.RouteDestination {
	var out []*networkingapi.RouteDestination
	for _, d := range in {
		out = append(out, &networkingapi.RouteDestination{Destination: d.GetDestination()})
	}
	return out
}

// trimGateway keeps what somebody else's Gateway opens, at whose pods, and how.
// Of files it keeps that there are some.
func trimGateway(g *networkingv1.Gateway) *networkingv1.Gateway {
	out := &networkingv1.Gateway{TypeMeta: g.TypeMeta, ObjectMeta: trimMeta(g.ObjectMeta)}
	out.Spec.Selector = g.Spec.GetSelector()
	for _, s := range g.Spec.GetServers() {
		kept := &networkingapi.Server{Hosts: s.GetHosts(), Port: &networkingapi.Port{Number: s.GetPort().GetNumber(), Protocol: s.GetPort().GetProtocol()}}
		if t := s.GetTls(); t != nil {
			kept.Tls = &networkingapi.ServerTLSSettings{
				HttpsRedirect: t.GetHttpsRedirect(), Mode: t.GetMode(), MinProtocolVersion: t.GetMinProtocolVersion(), CipherSuites: t.GetCipherSuites(),
				CredentialName: t.GetCredentialName(), CredentialNames: t.GetCredentialNames(), InsecureSkipVerify: t.GetInsecureSkipVerify(),
			}
			if t.GetServerCertificate() != "" || len(t.GetTlsCertificates()) > 0 {
				kept.Tls.ServerCertificate = inFiles
			}
		}
		out.Spec.Servers = append(out.Spec.Servers, kept)
	}
	return out
}

// inFiles stands in the cache for a certificate of a proxy's own files.
const inFiles = "file"
