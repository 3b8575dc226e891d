package audit

import (
	"fmt"
	"slices"
	"testing"
	"time"

	wrappers "google.golang.org/protobuf/types/known/wrapperspb"
	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// cleanPerimeter is a gateway of which no check finds anything.
func cleanPerimeter() facts.Perimeter {
	return facts.Perimeter{
		Proxies:  []facts.Proxy{aProxy("ingress", "public", nil)},
		Gateways: []facts.Object{aGateway("ingress", "public", aServer(443, "HTTPS", "./pay.example.com"))},
		Routes:   map[types.NamespacedName][]facts.Object{},
		Policies: []facts.Object{aList("ingress", "public", "pay.example.com")},
	}
}

func aProxy(namespace, name string, labels map[string]string) facts.Proxy {
	if labels == nil {
		labels = map[string]string{"istio": "ingressgateway"}
	}
	return facts.Proxy{Namespace: namespace, Owner: facts.Owner{Kind: "Deployment", Name: name}, Labels: labels}
}

func aGateway(namespace, name string, servers ...*networkingapi.Server) *networkingv1.Gateway {
	return &networkingv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))},
		Spec:       networkingapi.Gateway{Selector: map[string]string{"istio": "ingressgateway"}, Servers: servers},
	}
}

// aServer ends TLS with a certificate of a file, where its protocol has TLS.
func aServer(port uint32, protocol string, hosts ...string) *networkingapi.Server {
	s := &networkingapi.Server{Port: &networkingapi.Port{Number: port, Protocol: protocol}, Hosts: hosts}
	if protocol == "HTTPS" || protocol == "TLS" {
		s.Tls = &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_SIMPLE, ServerCertificate: "file"}
	}
	return s
}

func withTLS(s *networkingapi.Server, change func(*networkingapi.ServerTLSSettings)) *networkingapi.Server {
	if s.Tls == nil {
		s.Tls = &networkingapi.ServerTLSSettings{}
	}
	change(s.Tls)
	return s
}

func inMode(s *networkingapi.Server, m networkingapi.ServerTLSSettings_TLSmode) *networkingapi.Server {
	return withTLS(s, func(t *networkingapi.ServerTLSSettings) { t.Mode = m })
}

func withSecret(s *networkingapi.Server, name string) *networkingapi.Server {
	return withTLS(s, func(t *networkingapi.ServerTLSSettings) { t.ServerCertificate, t.CredentialName = "", name })
}

func aList(namespace, name, host string) *securityv1.AuthorizationPolicy {
	return &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: securityapi.AuthorizationPolicy{
		Rules: []*securityapi.Rule{{To: []*securityapi.Rule_To{{Operation: &securityapi.Operation{Hosts: []string{host}}}}}},
	}}
}

// aRoute is a VirtualService that is bound to Gateway ingress/public.
func aRoute(host string, routes ...*networkingapi.HTTPRoute) *networkingv1.VirtualService {
	return &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "routes"}, Spec: networkingapi.VirtualService{
		Hosts: []string{host}, Gateways: []string{"ingress/public"}, Http: routes,
	}}
}

var (
	led        = &networkingapi.HTTPRoute{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "api"}}}}
	toHTTPS    = &networkingapi.HTTPRoute{Redirect: &networkingapi.HTTPRedirect{Scheme: "https"}}
	turnedAway = &networkingapi.HTTPRoute{DirectResponse: &networkingapi.HTTPDirectResponse{Status: 421}}
	plainFor   = func(port uint32) *networkingapi.HTTPRoute {
		return &networkingapi.HTTPRoute{Route: led.Route, Match: []*networkingapi.HTTPMatchRequest{{Port: port}}}
	}
)

func (s *ClusterScene) serve(servers ...*networkingapi.Server) {
	s.gateways()[0].Spec.Servers = servers
}

func (s *ClusterScene) routeBy(routes ...facts.Object) {
	s.Perimeter.Routes[types.NamespacedName{Namespace: "ingress", Name: "public"}] = routes
}

func (s *ClusterScene) list() *securityv1.AuthorizationPolicy {
	return typed[*securityv1.AuthorizationPolicy](s.Perimeter.Policies)[0]
}

const public = "Gateway/ingress/public: "

var perimeterCases = []examinedCluster{
	{"GW-001", "an old version", func(s *ClusterScene) {
		s.serve(withTLS(aServer(443, "HTTPS", "./pay.example.com"), func(t *networkingapi.ServerTLSSettings) {
			t.MinProtocolVersion = networkingapi.ServerTLSSettings_TLSV1_0
		}))
	}, []string{public + "port 443 accepts TLS from 1.0 on"}},
	{"GW-001", "weak ciphers", func(s *ClusterScene) {
		s.serve(withTLS(aServer(443, "HTTPS", "./pay.example.com"), func(t *networkingapi.ServerTLSSettings) {
			t.CipherSuites = []string{"ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA"}
		}))
	}, []string{public + "(AEAD): AES128-SHA"}},
	{"GW-001", "ciphers before TLS 1.3 alone", func(s *ClusterScene) {
		s.serve(withTLS(aServer(443, "HTTPS", "./pay.example.com"), func(t *networkingapi.ServerTLSSettings) {
			t.CipherSuites, t.MinProtocolVersion = []string{"AES128-SHA"}, networkingapi.ServerTLSSettings_TLSV1_3
		}))
	}, nil},
	{"GW-001", "who is behind ends TLS", func(s *ClusterScene) {
		s.serve(withTLS(aServer(443, "TLS", "./pay.example.com"), func(t *networkingapi.ServerTLSSettings) {
			t.Mode, t.MinProtocolVersion = networkingapi.ServerTLSSettings_PASSTHROUGH, networkingapi.ServerTLSSettings_TLSV1_0
		}))
	}, nil},
	{"GW-001", "a Gateway that selects no gateway", func(s *ClusterScene) {
		s.serve(withTLS(aServer(443, "HTTPS", "./pay.example.com"), func(t *networkingapi.ServerTLSSettings) {
			t.MinProtocolVersion = networkingapi.ServerTLSSettings_TLSV1_0
		}))
		s.gateways()[0].Spec.Selector = map[string]string{"istio": "gone"}
	}, nil},

	{"GW-002", "nothing redirects", func(s *ClusterScene) { s.serve(aServer(80, "HTTP", "./pay.example.com")) },
		[]string{public + "port 80 takes them for ./pay.example.com, and nothing sends callers to HTTPS"}},
	{"GW-002", "the server redirects", func(s *ClusterScene) {
		s.serve(withTLS(aServer(80, "HTTP", "*"), func(t *networkingapi.ServerTLSSettings) { t.HttpsRedirect = true }))
	}, nil},
	{"GW-002", "a VirtualService redirects", func(s *ClusterScene) {
		s.serve(aServer(80, "HTTP", "pay.example.com"))
		s.routeBy(aRoute("pay.example.com", toHTTPS))
	}, nil},
	{"GW-002", "a VirtualService leads on", func(s *ClusterScene) {
		s.serve(aServer(80, "HTTP", "*.example.com"))
		s.routeBy(aRoute("pay.example.com", led, toHTTPS))
	}, []string{public + "VirtualService/shop/routes leads them on"}},
	{"GW-002", "a VirtualService leads on at another port", func(s *ClusterScene) {
		s.serve(aServer(80, "HTTP", "pay.example.com"))
		s.routeBy(aRoute("pay.example.com", plainFor(443), toHTTPS))
	}, nil},
	{"GW-002", "a VirtualService that may not redirect here", func(s *ClusterScene) {
		s.serve(aServer(80, "HTTP", "./pay.example.com"))
		s.routeBy(aRoute("pay.example.com", toHTTPS))
	}, []string{public + "nothing sends callers to HTTPS"}},
	{"GW-002", "a VirtualService that no gateway sees redirects", func(s *ClusterScene) {
		s.serve(aServer(80, "HTTP", "pay.example.com"))
		v := aRoute("pay.example.com", toHTTPS)
		v.Spec.ExportTo = []string{"."}
		s.routeBy(v)
	}, []string{public + "nothing sends callers to HTTPS"}},

	{"GW-003", "every host, from everywhere", func(s *ClusterScene) { s.serve(aServer(443, "HTTPS", "*")) },
		[]string{public + "VirtualServices of every namespace may lead the requests: port 443 (*)"}},
	{"GW-003", "every host of one namespace", func(s *ClusterScene) { s.serve(aServer(443, "HTTPS", "shop/*")) },
		[]string{public + "port 443 (shop/*)"}},
	{"GW-003", "connections have no name", func(s *ClusterScene) { s.serve(aServer(5432, "TCP", "*")) }, nil},
	{"GW-003", "it only redirects", func(s *ClusterScene) {
		s.serve(withTLS(aServer(80, "HTTP", "*"), func(t *networkingapi.ServerTLSSettings) { t.HttpsRedirect = true }))
	}, nil},

	{"GW-004", "one Gateway", func(s *ClusterScene) {
		s.serve(aServer(443, "HTTPS", "*.example.com"), inMode(aServer(443, "HTTPS", "admin.example.com"), networkingapi.ServerTLSSettings_MUTUAL))
		s.routeBy(aRoute("admin.example.com", led))
	}, []string{public + "admin.example.com on port 443, where VirtualService/shop/routes leads requests for it under *.example.com of Gateway/ingress/public"}},
	{"GW-004", "two Gateways, and nothing leads it under the wildcard", func(s *ClusterScene) {
		s.serve(aServer(443, "HTTPS", "*.example.com"))
		s.Perimeter.Gateways = append(s.Perimeter.Gateways, aGateway("ingress", "strict", inMode(aServer(443, "HTTPS", "admin.example.com"), networkingapi.ServerTLSSettings_MUTUAL)))
		s.routeBy(aRoute("*.example.com", led))
	}, nil},
	{"GW-004", "refused under the wildcard", func(s *ClusterScene) {
		s.serve(aServer(443, "HTTPS", "*.example.com"))
		s.Perimeter.Gateways = append(s.Perimeter.Gateways, aGateway("ingress", "strict", inMode(aServer(443, "HTTPS", "admin.example.com"), networkingapi.ServerTLSSettings_MUTUAL)))
		wide := aRoute("*.example.com", led)
		s.routeBy(wide, aRoute("admin.example.com", turnedAway))
		s.Perimeter.Routes[types.NamespacedName{Namespace: "ingress", Name: "strict"}] = []facts.Object{wide}
	}, nil},
	{"GW-004", "one VirtualService of both", func(s *ClusterScene) {
		s.serve(aServer(443, "HTTPS", "*.example.com"))
		s.Perimeter.Gateways = append(s.Perimeter.Gateways, aGateway("ingress", "strict", inMode(aServer(443, "HTTPS", "admin.example.com"), networkingapi.ServerTLSSettings_MUTUAL)))
		wide := aRoute("*.example.com", led)
		s.routeBy(wide)
		s.Perimeter.Routes[types.NamespacedName{Namespace: "ingress", Name: "strict"}] = []facts.Object{wide}
	}, []string{"Gateway/ingress/strict: admin.example.com on port 443"}},
	{"GW-004", "on other ports", func(s *ClusterScene) {
		s.serve(aServer(8443, "HTTPS", "*.example.com"), inMode(aServer(443, "HTTPS", "admin.example.com"), networkingapi.ServerTLSSettings_MUTUAL))
		s.routeBy(aRoute("admin.example.com", led))
	}, nil},
	{"GW-004", "at another gateway", func(s *ClusterScene) {
		s.serve(aServer(443, "HTTPS", "*.example.com"))
		strict := aGateway("ingress", "strict", inMode(aServer(443, "HTTPS", "admin.example.com"), networkingapi.ServerTLSSettings_MUTUAL))
		strict.Spec.Selector = map[string]string{"istio": "strict"}
		s.Perimeter.Proxies = append(s.Perimeter.Proxies, aProxy("ingress", "strict", strict.Spec.Selector))
		s.Perimeter.Gateways = append(s.Perimeter.Gateways, strict)
		s.routeBy(aRoute("admin.example.com", led))
	}, nil},

	{"GW-005", "optional", func(s *ClusterScene) {
		s.serve(inMode(aServer(443, "HTTPS", "./pay.example.com"), networkingapi.ServerTLSSettings_OPTIONAL_MUTUAL))
	}, []string{public + "port 443 lets in who shows none"}},
	{"GW-005", "of any authority", func(s *ClusterScene) {
		s.serve(withTLS(inMode(aServer(443, "HTTPS", "./pay.example.com"), networkingapi.ServerTLSSettings_MUTUAL), func(t *networkingapi.ServerTLSSettings) {
			t.InsecureSkipVerify = wrappers.Bool(true)
		}))
	}, []string{public + "of any authority"}},
	{"GW-005", "required", func(s *ClusterScene) {
		s.serve(inMode(aServer(443, "HTTPS", "./pay.example.com"), networkingapi.ServerTLSSettings_MUTUAL))
	}, nil},

	{"GW-006", "no certificate", func(s *ClusterScene) { s.serve(withSecret(aServer(443, "HTTPS", "./pay.example.com"), "")) },
		[]string{public + "it names no certificate"}},
	{"GW-006", "of a secret", func(s *ClusterScene) { s.serve(withSecret(aServer(443, "HTTPS", "./pay.example.com"), "pay")) },
		[]string{"Namespace/istio-system: are not read"}},
	{"GW-006", "one secret of several namespaces", func(s *ClusterScene) {
		s.serve(withSecret(aServer(443, "HTTPS", "./pay.example.com"), "wildcard"))
		s.Perimeter.Gateways = append(s.Perimeter.Gateways, aGateway("shop", "shop", withSecret(aServer(443, "HTTPS", "./shop.example.com"), "wildcard")))
	}, []string{"Secret/ingress/wildcard: Gateway/ingress/public, Gateway/shop/shop", "Namespace/istio-system: are not read"}},
	{"GW-006", "one name in several namespaces of pods", func(s *ClusterScene) {
		s.serve(withSecret(aServer(443, "HTTPS", "./pay.example.com"), "wildcard"))
		other := aGateway("shop", "shop", withSecret(aServer(443, "HTTPS", "./shop.example.com"), "wildcard"))
		other.Spec.Selector = map[string]string{"istio": "shop"}
		s.Perimeter.Proxies = append(s.Perimeter.Proxies, aProxy("shop", "shop", other.Spec.Selector))
		s.Perimeter.Gateways = append(s.Perimeter.Gateways, other)
	}, []string{"Namespace/istio-system: are not read"}},

	{"GW-007", "no policy", func(s *ClusterScene) { s.Perimeter.Policies = nil }, []string{"Deployment/ingress/public: no AuthorizationPolicy"}},
	{"GW-007", "a dry run", func(s *ClusterScene) {
		s.list().Annotations = map[string]string{"istio.io/dry-run": "true"}
	}, []string{"Deployment/ingress/public: no AuthorizationPolicy"}},
	{"GW-007", "it denies alone", func(s *ClusterScene) { s.list().Spec.Action = securityapi.AuthorizationPolicy_DENY },
		[]string{"Deployment/ingress/public: no AuthorizationPolicy"}},
	{"GW-007", "of other pods", func(s *ClusterScene) {
		s.list().Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"istio": "other"}}
	}, []string{"Deployment/ingress/public: no AuthorizationPolicy"}},
	{"GW-007", "it lets in everybody", func(s *ClusterScene) {
		s.list().Spec.Rules = append(s.list().Spec.Rules, &securityapi.Rule{})
	},
		[]string{"Deployment/ingress/public: AuthorizationPolicy/ingress/public lets everybody"}},
	{"GW-007", "of the mesh", func(s *ClusterScene) {
		s.Perimeter.Policies = []facts.Object{aList("istio-system", "nothing", "pay.example.com")}
	}, nil},
	{"GW-007", "for a Gateway of the Gateway API", func(s *ClusterScene) {
		s.list().Spec.TargetRefs = []*typeapi.PolicyTargetReference{{Kind: "Gateway", Group: "gateway.networking.k8s.io", Name: "api"}}
		s.Perimeter.Proxies[0].Labels["gateway.networking.k8s.io/gateway-name"] = "api"
	}, nil},
	{"GW-007", "for another Gateway", func(s *ClusterScene) {
		s.list().Spec.TargetRefs = []*typeapi.PolicyTargetReference{{Kind: "Gateway", Group: "gateway.networking.k8s.io", Name: "api"}}
	}, []string{"Deployment/ingress/public: no AuthorizationPolicy"}},
	{"GW-007", "it passes on alone", func(s *ClusterScene) {
		s.Perimeter.Policies = nil
		s.serve(inMode(aServer(15443, "TLS", "*.local"), networkingapi.ServerTLSSettings_AUTO_PASSTHROUGH))
	}, nil},
	{"GW-007", "the mesh configuration is unread", func(s *ClusterScene) { s.Perimeter.Policies, s.Mesh.ConfigRead = nil, false },
		[]string{"Deployment/ingress/public: can't be read"}},

	{"GW-008", "foreign pods wear its labels", func(s *ClusterScene) {
		s.Perimeter.Proxies = append(s.Perimeter.Proxies, aProxy("tenant", "fake", nil))
	}, []string{public + "whose pods wear the labels of its selector: Deployment/tenant/fake"}},
	{"GW-008", "pods of several namespaces, none its own", func(s *ClusterScene) {
		s.gateways()[0].Namespace = "shop"
		s.Perimeter.Proxies = append(s.Perimeter.Proxies, aProxy("tenant", "fake", nil))
	}, []string{"Gateway/shop/public: by gateways of several namespaces"}},
	{"GW-008", "istiod holds Gateways to their own namespace", func(s *ClusterScene) {
		s.Perimeter.Proxies = append(s.Perimeter.Proxies, aProxy("tenant", "fake", nil))
		s.ControlPlanes[0].Settings["PILOT_SCOPE_GATEWAY_TO_NAMESPACE"] = "true"
	}, nil},
	{"GW-008", "whether istiod does is unknown", func(s *ClusterScene) {
		s.Perimeter.Proxies = append(s.Perimeter.Proxies, aProxy("tenant", "fake", nil))
		s.ControlPlanes[0].SettingsElsewhere = []string{"PILOT_SCOPE_GATEWAY_TO_NAMESPACE"}
	}, []string{public + "can't be told"}},
	{"GW-008", "open to VirtualServices of everybody", func(s *ClusterScene) {
		s.Perimeter.Gateways = append(s.Perimeter.Gateways, aGateway("shop", "shop", aServer(443, "HTTPS", "shop.example.com")))
	}, []string{"Gateway/shop/shop: at gateways of namespace ingress, VirtualServices of every namespace may lead requests for shop.example.com"}},
	{"GW-008", "for its own VirtualServices", func(s *ClusterScene) {
		s.Perimeter.Gateways = append(s.Perimeter.Gateways, aGateway("shop", "shop", aServer(443, "HTTPS", "./shop.example.com")))
	}, nil},
	{"GW-008", "a host that another one serves", func(s *ClusterScene) {
		s.Perimeter.Gateways = append(s.Perimeter.Gateways, aGateway("shop", "shop", aServer(443, "HTTPS", "./pay.example.com")))
	}, []string{"Gateway/shop/shop: it claims pay.example.com on port 443, which Gateway/ingress/public serves already"}},

	{"GW-009", "a service", func(s *ClusterScene) { s.Perimeter.Doors = aDoor("Service", "of type NodePort") },
		[]string{"Service/shop/db: of type NodePort, it lets callers from outside the cluster past the gateways to port 5432 of Deployment/db"}},
	{"GW-009", "mutual TLS refuses them", func(s *ClusterScene) {
		s.Perimeter.Doors = aDoor("Service", "of type NodePort")
		s.Perimeter.PeerAuthentications = []facts.Object{aPeer("shop", "strict", "", peerStrict, nil)}
	}, nil},
	{"GW-009", "around the proxy", func(s *ClusterScene) {
		s.Perimeter.Doors = aDoor("Deployment", "with hostPort 5432")
		s.Perimeter.Doors[0].Targets[0].Captured = false
		s.Mesh.RootMutualTLS = "STRICT"
	}, []string{"Deployment/shop/db: with hostPort 5432, it lets"}},
	{"GW-009", "mutual TLS of the mesh refuses them", func(s *ClusterScene) {
		s.Perimeter.Doors = aDoor("Deployment", "with hostPort 5432")
		s.Mesh.RootMutualTLS = "STRICT"
	}, nil},
	{"GW-009", "what is asked for is unknown", func(s *ClusterScene) {
		s.Perimeter.Doors = aDoor("Service", "of type NodePort")
		s.Mesh.ConfigRead, s.Mesh.Observed = false, false
	}, []string{"Service/shop/db: can't be read"}},
}

func aDoor(kind, way string) []facts.Door {
	db := facts.Owner{Kind: "Deployment", Name: "db"}
	return []facts.Door{{Source: facts.Source{Kind: kind, Namespace: "shop", Name: "db"}, Ways: []string{way}, Targets: []facts.Target{{Workload: db, Port: 5432, Captured: true}}}}
}

func TestOwnDoors(t *testing.T) {
	permissive := func(s *Scene) {
		s.without("msp-mtls")
		s.Facts.Mesh.RootMutualTLS = "PERMISSIVE"
	}
	expose := func(s *Scene) {
		s.serve(facts.Service{Name: "api", Selector: map[string]string{"app": "api"}, Ways: []string{"of type NodePort"}, Ports: []facts.ServicePort{{Protocol: "TCP", Port: 80, Target: intstr.FromInt32(8080)}}})
	}
	exam(t, "GW", []examined{
		{"GW-009", "a service", func(s *Scene) { permissive(s); expose(s) }, []string{"Service/api: of type NodePort, it lets callers from outside the cluster past the gateways to port 8080 of Deployment/api"}},
		{"GW-009", "mutual TLS refuses them", expose, nil},
		{"GW-009", "a port of the node, by UDP", func(s *Scene) {
			s.Facts.Pods[0].HostPorts = []facts.ServicePort{{Port: 5353, Protocol: "UDP", Target: intstr.FromInt32(53)}}
		}, []string{"Deployment/api: with hostPort 5353, it lets callers from outside the cluster past the gateways to port 53 of Deployment/api (which its proxy does not see)"}},
	})
}

// What covers a host, and is wider.
func TestWildcardsOver(t *testing.T) {
	for host, want := range map[string][]string{
		"admin.example.com": {"*.example.com", "*.com", "*"}, "*.example.com": {"*.com", "*"}, "*.com": {"*"}, "local": {"*"}, "*": nil,
	} {
		if got := wildcardsOver(host); !slices.Equal(got, want) {
			t.Errorf("%s: %v", host, got)
		}
	}
}

// BenchmarkPerimeter is a look at 10,000 namespaces that each have a Gateway at
// one gateway.
func BenchmarkPerimeter(b *testing.B) {
	p := cleanPerimeter()
	for i := range 10_000 {
		name := fmt.Sprintf("tenant-%d", i)
		p.Gateways = append(p.Gateways, aGateway(name, name, withSecret(aServer(443, "HTTPS", "./"+name+".example.com"), name), inMode(aServer(443, "HTTPS", "./admin."+name+".example.com"), networkingapi.ServerTLSSettings_MUTUAL)))
	}
	for b.Loop() {
		s := clusterScene()
		s.Perimeter = p
		for _, c := range perimeterChecks() {
			c.cluster(s)
		}
	}
}
