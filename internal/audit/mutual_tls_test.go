package audit

import (
	"slices"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

const (
	peerDisable    = securityapi.PeerAuthentication_MutualTLS_DISABLE
	peerPermissive = securityapi.PeerAuthentication_MutualTLS_PERMISSIVE
	peerStrict     = securityapi.PeerAuthentication_MutualTLS_STRICT
	peerUnset      = securityapi.PeerAuthentication_MutualTLS_UNSET
)

// aPeer is a PeerAuthentication, older than the operator's own; app is what it
// selects, empty for all.
func aPeer(ns, name, app string, mode securityapi.PeerAuthentication_MutualTLS_Mode, ports map[uint32]securityapi.PeerAuthentication_MutualTLS_Mode) *securityv1.PeerAuthentication {
	p := &securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, CreationTimestamp: metav1.Unix(1, 0)}}
	p.Spec.Mtls = &securityapi.PeerAuthentication_MutualTLS{Mode: mode}
	if app != "" {
		p.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": app}}
	}
	for port, mode := range ports {
		if p.Spec.PortLevelMtls == nil {
			p.Spec.PortLevelMtls = map[uint32]*securityapi.PeerAuthentication_MutualTLS{}
		}
		p.Spec.PortLevelMtls[port] = &securityapi.PeerAuthentication_MutualTLS{Mode: mode}
	}
	return p
}

type portModes = map[uint32]securityapi.PeerAuthentication_MutualTLS_Mode

func tlsMode(mode networkingapi.ClientTLSSettings_TLSmode) *networkingapi.ClientTLSSettings {
	return &networkingapi.ClientTLSSettings{Mode: mode}
}

func destination(ns, host string, policy *networkingapi.TrafficPolicy, change ...func(*networkingapi.DestinationRule)) *networkingv1.DestinationRule {
	d := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "calls", CreationTimestamp: metav1.Unix(1, 0)}}
	d.Spec.Host, d.Spec.TrafficPolicy = host, policy
	for _, c := range change {
		c(&d.Spec)
	}
	return d
}

func onPort(port uint32, tls *networkingapi.ClientTLSSettings) *networkingapi.TrafficPolicy {
	return &networkingapi.TrafficPolicy{PortLevelSettings: []*networkingapi.TrafficPolicy_PortTrafficPolicy{{Port: &networkingapi.PortSelector{Number: port}, Tls: tls}}}
}

// request is a policy about requests to port 8080 of app=api.
func requestPolicy(ports ...string) *securityv1.AuthorizationPolicy {
	p := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "reads"}}
	p.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": "api"}}
	p.Spec.Rules = []*securityapi.Rule{{To: []*securityapi.Rule_To{{Operation: &securityapi.Operation{Methods: []string{"GET"}, Ports: ports}}}}}
	return p
}

func (s *Scene) withService(change func(*facts.Service)) {
	for key, svc := range s.Facts.Services {
		change(&svc)
		s.Facts.Services[key] = svc
	}
}

// second is another workload, app=ledger, in the mesh.
func (s *Scene) second() *facts.Pod {
	p := *s.pod()
	p.Name, p.Labels, p.Owner.Name = "ledger-0", map[string]string{"app": "ledger"}, "ledger"
	s.Facts.Pods = append(s.Facts.Pods, p)
	return &s.Facts.Pods[1]
}

// unread is a mesh of which nothing but pods is known.
func (s *Scene) blindMesh() {
	s.Facts.Mesh = facts.Mesh{Provider: v1alpha1.ProviderIstio, DataPlane: v1alpha1.DataPlaneSidecar, Namespace: "istio-system", RootNamespace: "istio-system", TrustDomain: "cluster.local"}
}

func TestMutualTLS(t *testing.T) {
	exam(t, "MTLS", slices.Concat(inboundCases(), clientCases(), meshCases()))
}

// What the profile's owner wants, or what only some calls may meet, is less severe.
func TestMutualTLSSeverities(t *testing.T) {
	endless := scene()
	endless.override(8080)
	endless.add(aPeer("payments", "msp-mtls-metrics", "api", peerStrict, portModes{8080: peerPermissive}))
	subset := scene()
	subset.add(destination("payments", "api", nil, func(d *networkingapi.DestinationRule) {
		d.Subsets = []*networkingapi.Subset{{Name: "v1", TrafficPolicy: &networkingapi.TrafficPolicy{Tls: tlsMode(networkingapi.ClientTLSSettings_DISABLE)}}}
	}))
	for _, c := range []struct {
		found []Finding
		want  v1alpha1.Severity
	}{{judged("MTLS-002", endless), v1alpha1.SeverityMedium}, {clientOverrides(subset), v1alpha1.SeverityHigh}} {
		if len(c.found) != 1 || c.found[0].Severity != c.want {
			t.Errorf("want one of %s: %+v", c.want, c.found)
		}
	}
}

func inboundCases() []examined {
	end := time.Unix(1<<31, 0)
	declared := func(s *Scene, mode v1alpha1.PortMode, change func(*posture.Override)) {
		s.override(8080)
		o := &s.Posture.MutualTLS.Overrides[0]
		o.Name, o.Mode = "metrics", mode
		if change != nil {
			change(o)
		}
		s.add(aPeer("payments", "ours-in-truth", "api", peerStrict, portModes{8080: peerPermissive}))
	}
	return []examined{
		{"MTLS-001", "no policy", func(s *Scene) { s.Ours = nil }, []string{"Deployment/api: plaintext on every port, by the mesh's own mode"}},
		{"MTLS-001", "an older policy for the namespace", func(s *Scene) { s.add(aPeer("payments", "old", "", peerPermissive, nil)) }, []string{"Deployment/api: by PeerAuthentication/old, though Strict is declared"}},
		{"MTLS-001", "a policy for the workload", func(s *Scene) { s.add(aPeer("payments", "legacy", "api", peerDisable, nil)) }, []string{"Deployment/api: plaintext alone on every port, by PeerAuthentication/legacy"}},
		{"MTLS-001", "but for one port", func(s *Scene) {
			s.pod().Ports = append(s.pod().Ports, facts.ContainerPort{Number: 9090})
			s.add(aPeer("payments", "legacy", "api", peerPermissive, portModes{9090: peerStrict}))
		}, []string{"Deployment/api: plaintext on every port but 9090, by"}},
		{"MTLS-001", "the only declared port is set apart", func(s *Scene) {
			s.add(aPeer("payments", "legacy", "api", peerPermissive, portModes{8080: peerStrict}))
		}, []string{"Deployment/api: every port but 8080"}},
		{"MTLS-001", "some pods", func(s *Scene) {
			s.second().Owner = s.pod().Owner
			s.add(aPeer("payments", "legacy", "ledger", peerPermissive, nil))
		}, []string{"Deployment/api: some of its pods: accepts"}},
		{"MTLS-001", "the root namespace", func(s *Scene) {
			s.Ours = nil
			s.add(aPeer("istio-system", "default", "", peerDisable, nil))
		}, []string{"Deployment/api: by PeerAuthentication/istio-system/default"}},
		{"MTLS-001", "Audit", func(s *Scene) { s.Ours, s.Posture.Mode = nil, v1alpha1.ModeAudit }, []string{"Deployment/api: enforcementMode Audit denies nothing"}},
		{"MTLS-001", "held back", func(s *Scene) { s.Ours, s.Posture.Held = nil, []v1alpha1.Area{v1alpha1.AreaMutualTLS} }, []string{"Deployment/api: the preflight holds it back"}},
		{"MTLS-001", "Permissive is declared", func(s *Scene) { s.Ours, s.Posture.MutualTLS.Mode = nil, v1alpha1.MutualTLSPermissive }, nil},
		{"MTLS-001", "less than Permissive", func(s *Scene) {
			s.Posture.MutualTLS.Mode = v1alpha1.MutualTLSPermissive
			s.add(aPeer("payments", "legacy", "api", peerDisable, nil))
		}, []string{"Deployment/api: plaintext alone"}},
		{"MTLS-001", "nothing is declared", func(s *Scene) { s.Ours, s.Posture.MutualTLS = nil, nil }, nil},
		{"MTLS-001", "an exception of the workload", func(s *Scene) {
			s.Posture.MutualTLS.Exempt = []posture.Exemption{{Name: "x", Selector: map[string]string{"app": "api"}, Mode: v1alpha1.MutualTLSPermissive}}
			s.add(aPeer("payments", "exempt", "api", peerPermissive, nil))
		}, nil},
		{"MTLS-001", "a port alone is another check's", func(s *Scene) { s.add(aPeer("payments", "legacy", "api", peerStrict, portModes{8080: peerDisable})) }, nil},
		{"MTLS-001", "a pod outside of the mesh is another check's", func(s *Scene) { s.Ours, s.pod().Sidecar = nil, false }, nil},
		{"MTLS-001", "of another control plane", func(s *Scene) {
			p := aPeer("payments", "canary", "api", peerDisable, nil)
			p.Labels = map[string]string{"istio.io/rev": "canary"}
			s.add(p)
		}, nil},
		{"MTLS-001", "nobody can tell", func(s *Scene) { s.Ours = nil; s.blindMesh() }, []string{"Deployment/api: unknown: "}},

		{"MTLS-002", "a port of a container", func(s *Scene) { s.add(aPeer("payments", "legacy", "api", peerStrict, portModes{8080: peerDisable})) },
			[]string{"Deployment/api: port 8080 (DISABLE, by PeerAuthentication/legacy)"}},
		{"MTLS-002", "a port of a service alone", func(s *Scene) {
			s.withService(func(svc *facts.Service) { svc.Ports[0].Target = intstr.FromInt32(9000) })
			s.add(aPeer("payments", "legacy", "api", peerUnset, portModes{9000: peerPermissive}))
		}, []string{"Deployment/api: port 9000 (PERMISSIVE"}},
		{"MTLS-002", "a port that nobody declares", func(s *Scene) {
			s.add(aPeer("payments", "legacy", "api", peerStrict, portModes{7070: peerPermissive}))
		}, []string{"Deployment/api: port 7070"}},
		{"MTLS-002", "of another workload", func(s *Scene) {
			s.second()
			s.add(aPeer("payments", "legacy", "ledger", peerStrict, portModes{8080: peerDisable}))
		}, []string{"Deployment/ledger: port 8080"}},
		{"MTLS-002", "declared without an end", func(s *Scene) { declared(s, v1alpha1.PortPermissive, nil) }, []string{"Deployment/api: never end: metrics"}},
		{"MTLS-002", "declared with an end", func(s *Scene) { declared(s, v1alpha1.PortPermissive, func(o *posture.Override) { o.Expires = &end }) }, nil},
		{"MTLS-002", "declared, and an exception lets it be", func(s *Scene) { declared(s, v1alpha1.PortPermissive, func(o *posture.Override) { o.Exception = "x" }) }, nil},
		{"MTLS-002", "declared for another port", func(s *Scene) {
			declared(s, v1alpha1.PortPermissive, func(o *posture.Override) { o.Port, o.Expires = 9090, &end })
		}, []string{"Deployment/api: no port override of the profile says so: port 8080"}},
		{"MTLS-002", "less than is declared", func(s *Scene) {
			declared(s, v1alpha1.PortPermissive, func(o *posture.Override) { o.Expires = &end })
			s.Others[0].(*securityv1.PeerAuthentication).Spec.PortLevelMtls[8080].Mode = peerDisable
		}, []string{"Deployment/api: no port override of the profile says so: port 8080 (DISABLE"}},
		{"MTLS-002", "a stricter port", func(s *Scene) { s.add(aPeer("payments", "legacy", "api", peerPermissive, portModes{8080: peerStrict})) }, nil},
		{"MTLS-002", "as little as the rest", func(s *Scene) {
			s.add(aPeer("payments", "legacy", "api", peerPermissive, portModes{8080: peerPermissive}))
		}, nil},
		{"MTLS-002", "nobody can tell of the rest", func(s *Scene) {
			s.Ours = nil
			s.blindMesh()
			s.add(aPeer("payments", "legacy", "api", peerUnset, portModes{8080: peerPermissive}))
		}, []string{"Deployment/api: unknown: whether the rest of it asks for more than these do"}},

		{"MTLS-003", "two of the namespace", func(s *Scene) { s.add(aPeer("payments", "old", "", peerStrict, nil)) },
			[]string{"PeerAuthentication/old: PeerAuthentication/msp-mtls and it are for the same: every workload of the namespace"}},
		{"MTLS-003", "two of the mesh", func(s *Scene) {
			s.add(aPeer("istio-system", "a", "", peerStrict, nil), aPeer("istio-system", "b", "", peerStrict, nil))
		}, []string{"PeerAuthentication/istio-system/a: PeerAuthentication/istio-system/b and it", "PeerAuthentication/istio-system/b: of the mesh"}},
		{"MTLS-003", "two selectors that a pod meets", func(s *Scene) {
			s.pod().Labels["tier"] = "web"
			p := aPeer("payments", "tier", "", peerStrict, nil)
			p.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"tier": "web"}}
			s.add(p)
			s.Ours = append(s.Ours, aPeer("payments", "msp-mtls-api", "api", peerStrict, nil))
		}, []string{"PeerAuthentication/tier: PeerAuthentication/msp-mtls-api and it are for the same: Deployment/api"}},
		{"MTLS-003", "one of each level", func(s *Scene) {
			s.add(aPeer("istio-system", "default", "", peerStrict, nil), aPeer("payments", "api", "api", peerStrict, nil))
		}, nil},

		{"MTLS-004", "no pod", func(s *Scene) { s.add(aPeer("payments", "gone", "gone", peerStrict, nil)) }, []string{"PeerAuthentication/gone: meets no pod"}},
		{"MTLS-004", "no port", func(s *Scene) {
			s.add(aPeer("payments", "gone", "api", peerStrict, portModes{80: peerStrict, 8080: peerStrict}))
		},
			[]string{"PeerAuthentication/gone: has port 80"}},
		{"MTLS-004", "ports without a selector", func(s *Scene) { s.add(aPeer("payments", "ports", "", peerStrict, portModes{8080: peerDisable})) },
			[]string{"PeerAuthentication/ports: no selector"}},
		{"MTLS-004", "of the operator", func(s *Scene) { s.Ours = append(s.Ours, aPeer("payments", "msp-gone", "gone", peerStrict, nil)) }, nil},
		{"MTLS-004", "nothing runs", func(s *Scene) {
			s.Facts.Pods = nil
			s.add(aPeer("payments", "gone", "gone", peerStrict, nil))
		}, nil},

		{"MTLS-007", "disabled", func(s *Scene) { s.pod().Labels["security.istio.io/tlsMode"] = "disabled" }, []string{"Deployment/api: tlsMode=disabled has every caller's proxy send plaintext"}},
		{"MTLS-007", "as injected", func(s *Scene) { s.pod().Labels["security.istio.io/tlsMode"] = "istio" }, nil},
		{"MTLS-007", "without a proxy", func(s *Scene) { s.pod().Labels["security.istio.io/tlsMode"] = "disabled"; s.pod().Sidecar = false }, nil},

		{"MTLS-011", "of a workload and a port", func(s *Scene) {
			s.Facts.Mesh.DataPlane = v1alpha1.DataPlaneAmbient
			s.add(aPeer("payments", "off", "api", peerDisable, portModes{8080: peerDisable}))
		}, []string{"PeerAuthentication/off: for its workloads, port 8080"}},
		{"MTLS-011", "with sidecars", func(s *Scene) { s.add(aPeer("payments", "off", "api", peerDisable, nil)) }, nil},
		{"MTLS-011", "another mode", func(s *Scene) {
			s.Facts.Mesh.DataPlane = v1alpha1.DataPlaneAmbient
			s.add(aPeer("payments", "off", "api", peerPermissive, nil))
		}, nil},
	}
}

func clientCases() []examined {
	const (
		api   = "api.payments.svc.cluster.local"
		off   = networkingapi.ClientTLSSettings_DISABLE
		own   = networkingapi.ClientTLSSettings_ISTIO_MUTUAL
		other = networkingapi.ClientTLSSettings_MUTUAL
	)
	all := func(mode networkingapi.ClientTLSSettings_TLSmode) *networkingapi.TrafficPolicy {
		return &networkingapi.TrafficPolicy{Tls: tlsMode(mode)}
	}
	to := func(namespaces ...string) func(*networkingapi.DestinationRule) {
		return func(d *networkingapi.DestinationRule) { d.ExportTo = namespaces }
	}
	return []examined{
		{"MTLS-005", "a host", func(s *Scene) { s.add(destination("payments", api, all(off))) },
			[]string{"DestinationRule/calls: calls of every workload and of other namespaces to " + api + " leave without the mesh's mutual TLS (mode DISABLE)"}},
		{"MTLS-005", "for this namespace alone", func(s *Scene) { s.add(destination("payments", "api", all(other), to("."))) },
			[]string{"DestinationRule/calls: calls of every workload to " + api + " leave without the mesh's mutual TLS (mode MUTUAL)"}},
		{"MTLS-005", "for another namespace", func(s *Scene) {
			s.add(destination("payments", api, all(off), to("shop")))
		}, []string{"DestinationRule/calls: calls of namespace shop to"}},
		{"MTLS-005", "from the root namespace", func(s *Scene) { s.add(destination("istio-system", "*.local", all(off))) }, []string{"DestinationRule/istio-system/calls: to " + api}},
		{"MTLS-005", "a port", func(s *Scene) {
			s.withService(func(svc *facts.Service) {
				svc.Ports = append(svc.Ports, facts.ServicePort{Name: "tcp-x", Protocol: "TCP", Port: 81})
			})
			s.add(destination("payments", api, onPort(80, tlsMode(off))))
		}, []string{"DestinationRule/calls: to " + api + " on port 80"}},
		{"MTLS-005", "a port that the service does not have", func(s *Scene) { s.add(destination("payments", api, onPort(81, tlsMode(off)))) }, nil},
		{"MTLS-005", "a subset", func(s *Scene) {
			s.add(destination("payments", api, nil, func(d *networkingapi.DestinationRule) {
				d.Subsets = []*networkingapi.Subset{{Name: "v1", TrafficPolicy: all(off)}}
			}))
		}, []string{"DestinationRule/calls: where a route leads to its subsets"}},
		{"MTLS-005", "of a workload", func(s *Scene) {
			s.second()
			s.add(destination("payments", api, all(off), to("."), func(d *networkingapi.DestinationRule) {
				d.WorkloadSelector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": "ledger"}}
			}))
		}, []string{"DestinationRule/calls: calls of Deployment/ledger to"}},
		{"MTLS-005", "a service without pods in the mesh", func(s *Scene) { s.second(); s.pod().Sidecar = false; s.add(destination("payments", api, all(off))) }, nil},
		{"MTLS-005", "a host outside", func(s *Scene) {
			s.add(destination("payments", "pay.example.com", all(networkingapi.ClientTLSSettings_SIMPLE)))
		}, nil},
		{"MTLS-005", "the API server", func(s *Scene) {
			s.add(destination("payments", "kubernetes.default.svc.cluster.local", all(off)))
		}, nil},
		{"MTLS-005", "a service that leads out", func(s *Scene) {
			s.Facts.Services[types.NamespacedName{Namespace: "shop", Name: "bank"}] = facts.Service{Namespace: "shop", Name: "bank", External: true}
			s.add(destination("payments", "bank.shop.svc.cluster.local", all(off)))
		}, nil},
		{"MTLS-005", "a service of another namespace", func(s *Scene) { s.add(destination("payments", "cart.shop.svc.cluster.local", all(off))) },
			[]string{"DestinationRule/calls: unknown: whether cart.shop.svc.cluster.local is in the mesh"}},
		{"MTLS-005", "services of another namespace, on a port", func(s *Scene) {
			s.add(destination("payments", "*.shop.svc.cluster.local", onPort(8080, tlsMode(off))))
		}, []string{"DestinationRule/calls: unknown: whether *.shop"}},
		{"MTLS-005", "the mesh's own mutual TLS", func(s *Scene) { s.add(destination("payments", api, all(own))) }, nil},

		{"MTLS-006", "off", func(s *Scene) { s.Facts.Mesh.AutoMutualTLS = facts.No }, []string{"ConfigMap/istio-system/istio: to " + api + ", services of other namespaces"}},
		{"MTLS-006", "off, and asked for by hand here", func(s *Scene) {
			s.Facts.Mesh.AutoMutualTLS, s.Facts.Mesh.Revision = facts.No, "canary"
			s.add(destination("payments", api, all(own)))
		}, []string{"ConfigMap/istio-system/istio-canary: calls leave in plaintext to services of other namespaces"}},
		{"MTLS-006", "off, and asked for by hand everywhere", func(s *Scene) {
			s.Facts.Mesh.AutoMutualTLS = facts.No
			s.add(destination("istio-system", "*.local", all(own)))
		}, nil},
		{"MTLS-006", "nobody calls", func(s *Scene) { s.Facts.Mesh.AutoMutualTLS, s.Facts.Pods = facts.No, nil }, nil},
		{"MTLS-006", "nobody can tell", func(s *Scene) { s.Facts.Mesh.AutoMutualTLS = facts.Unknown }, []string{"ConfigMap/istio-system/istio: unknown: "}},
	}
}

func meshCases() []examined {
	return []examined{
		{"MTLS-008", "weak ciphers", func(s *Scene) {
			s.Facts.Mesh.CipherSuites = []string{"ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA", "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]"}
		}, []string{"ConfigMap/istio-system/istio: (AEAD): AES128-SHA ("}},
		{"MTLS-008", "weak ciphers that nobody uses", func(s *Scene) {
			s.Facts.Mesh.CipherSuites, s.Facts.Mesh.MinTLSVersion = []string{"AES128-SHA"}, "TLSV1_3"
		}, nil},
		{"MTLS-008", "a floor of 1.2", func(s *Scene) { s.Facts.Mesh.MinTLSVersion = "TLSV1_2" }, nil},
		{"MTLS-008", "a floor of nobody knows what", func(s *Scene) { s.Facts.Mesh.MinTLSVersion = "TLSV1_0" }, []string{"ConfigMap/istio-system/istio: unknown: what meshMTLS.minProtocolVersion TLSV1_0 means"}},
		{"MTLS-008", "nobody can tell", func(s *Scene) { s.blindMesh() }, []string{"ConfigMap/istio-system/istio: unknown: "}},

		{"MTLS-009", "aliases", func(s *Scene) {
			s.Facts.Mesh.ForeignTrust, s.Facts.Mesh.TrustDomainAliases = true, []string{"old.example.com", "a.example.com"}
		}, []string{"ConfigMap/istio-system/istio: other trust domains than cluster.local are accepted as callers of the mesh: trustDomainAliases a.example.com, old.example.com"}},
		{"MTLS-009", "authorities", func(s *Scene) { s.Facts.Mesh.ForeignTrust = true }, []string{"ConfigMap/istio-system/istio: caCertificates"}},
		{"MTLS-009", "not looked at", func(s *Scene) { s.Facts.Mesh.AnyTrustDomain = true }, []string{"ConfigMap/istio-system/istio: PILOT_SKIP_VALIDATE_TRUST_DOMAIN"}},
		{"MTLS-009", "nothing is in the mesh", func(s *Scene) { s.blindMesh(); s.pod().Sidecar = false }, nil},
		{"MTLS-009", "nobody can tell", func(s *Scene) { s.blindMesh() }, []string{"ConfigMap/istio-system/istio: unknown: "}},

		{"MTLS-010", "no protocol", func(s *Scene) {
			s.withService(func(svc *facts.Service) { svc.Ports[0].Name = "web" })
			s.add(requestPolicy())
		}, []string{"Service/api: port web 80/TCP declares no protocol, and AuthorizationPolicy/reads is about requests"}},
		{"MTLS-010", "no protocol, and no rule about requests", func(s *Scene) {
			s.withService(func(svc *facts.Service) { svc.Ports[0].Name = "web" })
		}, nil},
		{"MTLS-010", "no protocol, and a rule for another port", func(s *Scene) {
			s.withService(func(svc *facts.Service) { svc.Ports[0].Name = "web" })
			s.add(requestPolicy("9090"))
		}, nil},
		{"MTLS-010", "a rule about tokens", func(s *Scene) {
			s.withService(func(svc *facts.Service) { svc.Ports[0].Name = "web" })
			p := requestPolicy("8080")
			p.Spec.Rules[0].To[0].Operation.Methods = nil
			p.Spec.Rules[0].From = []*securityapi.Rule_From{{Source: &securityapi.Source{RequestPrincipals: []string{"*"}}}}
			s.add(p)
		}, []string{"Service/api: AuthorizationPolicy/reads"}},
		{"MTLS-010", "gRPC as tcp by its name", func(s *Scene) {
			s.withService(func(svc *facts.Service) { svc.Ports[0].Name, svc.Ports[0].AppProtocol = "grpc", "tcp" })
			s.add(requestPolicy())
		}, []string{"Service/api: is declared as tcp, and its name says grpc"}},
		{"MTLS-010", "gRPC as tcp by a probe", func(s *Scene) {
			s.withService(func(svc *facts.Service) { svc.Ports[0].Name = "tcp-api" })
			s.pod().Probes = []facts.Probe{{Port: 8080}}
			s.add(requestPolicy())
		}, []string{"Service/api: is probed by gRPC"}},
		{"MTLS-010", "tcp", func(s *Scene) {
			s.withService(func(svc *facts.Service) { svc.Ports[0].Name = "tcp-db" })
			s.add(requestPolicy())
		}, nil},
		{"MTLS-010", "declared", func(s *Scene) { s.add(requestPolicy()) }, nil},
	}
}
