package audit

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// closed gives the namespace what the operator would write for its egress and network.
func (s *Scene) closed() {
	s.Facts.Network.PolicyEnforced = facts.Yes
	s.Ours = append(s.Ours, sidecar("msp-egress", networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY, "./*"), isolating("msp-egress", netv1.PolicyTypeEgress), isolating("msp-ingress", netv1.PolicyTypeIngress))
}

func sidecar(name string, mode networkingapi.OutboundTrafficPolicy_Mode, hosts ...string) *networkingv1.Sidecar {
	return &networkingv1.Sidecar{ObjectMeta: named("payments", name), Spec: networkingapi.Sidecar{
		Egress: []*networkingapi.IstioEgressListener{{Hosts: hosts}}, OutboundTrafficPolicy: &networkingapi.OutboundTrafficPolicy{Mode: mode},
	}}
}

func isolating(name string, way netv1.PolicyType) *netv1.NetworkPolicy {
	return &netv1.NetworkPolicy{ObjectMeta: named("payments", name), Spec: netv1.NetworkPolicySpec{PolicyTypes: []netv1.PolicyType{way}}}
}

// without takes an object of the operator away.
func (s *Scene) without(name string) {
	var left []facts.Object
	for _, o := range s.Ours {
		if o.GetName() != name {
			left = append(left, o)
		}
	}
	s.Ours = left
}

// workloadScope is a Sidecar for workload api alone.
func workloadScope(name string, hosts ...string) *networkingv1.Sidecar {
	o := sidecar(name, networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY, hosts...)
	o.Spec.WorkloadSelector = &networkingapi.WorkloadSelector{Labels: map[string]string{"app": "api"}}
	return o
}

func serviceEntry(namespace, host, protocol string, port uint32, exportTo ...string) *networkingv1.ServiceEntry {
	return &networkingv1.ServiceEntry{ObjectMeta: named(namespace, "partner"), Spec: networkingapi.ServiceEntry{
		Hosts: []string{host}, Ports: []*networkingapi.ServicePort{{Number: port, Name: "p", Protocol: protocol}},
		Resolution: networkingapi.ServiceEntry_DNS, ExportTo: exportTo,
	}}
}

func destinationRule(namespace, host string, tls *networkingapi.ClientTLSSettings) *networkingv1.DestinationRule {
	return &networkingv1.DestinationRule{ObjectMeta: named(namespace, "partner"), Spec: networkingapi.DestinationRule{
		Host: host, TrafficPolicy: &networkingapi.TrafficPolicy{Tls: tls},
	}}
}

func (s *Scene) rule(host v1alpha1.ExternalHost, port int32) {
	s.Posture.Egress.Rules = append(s.Posture.Egress.Rules, posture.EgressRule{Name: "partner", To: []v1alpha1.EgressTarget{{
		Hosts: []v1alpha1.ExternalHost{host}, Ports: []v1alpha1.EgressPort{{Port: port}},
	}}})
}

func (s *Scene) serve(svc facts.Service) {
	svc.Namespace = "payments"
	s.Facts.Services[types.NamespacedName{Namespace: "payments", Name: svc.Name}] = svc
}

func TestEgress(t *testing.T) {
	simple := &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_SIMPLE, CaCertificates: "/etc/ca.pem"}
	bare := &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_SIMPLE}
	skip := &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_SIMPLE, InsecureSkipVerify: wrapperspb.Bool(true)}
	exam(t, "EGR", slices.Concat(egressGatewayCases, []examined{
		{"EGR-001", "by the mesh", func(s *Scene) { s.without("msp-egress"); s.Facts.Mesh.RegistryOnly = facts.No }, []string{"Deployment/api: by outboundTrafficPolicy of the mesh configuration"}},
		{"EGR-001", "where nothing is declared", func(s *Scene) {
			s.without("msp-egress")
			s.Facts.Mesh.RegistryOnly, s.Posture.Egress = facts.No, nil
		}, []string{"Deployment/api: any host and address"}},
		{"EGR-001", "by a Sidecar of somebody else", func(s *Scene) {
			o := sidecar("open", networkingapi.OutboundTrafficPolicy_ALLOW_ANY, "./*")
			o.Spec.WorkloadSelector = &networkingapi.WorkloadSelector{Labels: map[string]string{"app": "api"}}
			s.add(o)
		}, []string{"Deployment/api: of Sidecar/open"}},
		{"EGR-001", "the mesh closes it", func(s *Scene) { s.without("msp-egress"); s.Facts.Mesh.RegistryOnly = facts.Yes }, nil},
		{"EGR-001", "as declared", func(s *Scene) {
			s.without("msp-egress")
			s.Facts.Mesh.RegistryOnly, s.Posture.Egress.Default = facts.No, v1alpha1.DefaultAllow
		}, nil},
		{"EGR-001", "no proxy is another check's", func(s *Scene) {
			s.without("msp-egress")
			s.Facts.Mesh.RegistryOnly, s.pod().Sidecar = facts.No, false
		}, nil},
		{"EGR-001", "the mesh configuration can't be read", func(s *Scene) { s.without("msp-egress"); s.Facts.Mesh.ConfigRead = false }, []string{"Deployment/api: unknown: "}},

		{"EGR-002", "no policy", func(s *Scene) { s.without("msp-egress") }, []string{"Deployment/api: no NetworkPolicy selects it"}},
		{"EGR-002", "a policy that opens everything", func(s *Scene) {
			o := isolating("open", netv1.PolicyTypeEgress)
			o.Spec.Egress = []netv1.NetworkPolicyEgressRule{{}}
			s.add(o)
		}, []string{"Deployment/api: NetworkPolicy/open opens it"}},
		{"EGR-002", "a policy that opens a port", func(s *Scene) {
			o := isolating("open", netv1.PolicyTypeEgress)
			o.Spec.Egress = []netv1.NetworkPolicyEgressRule{{Ports: []netv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(443))}}}}
			s.add(o)
		}, nil},
		{"EGR-002", "the proxy alone is declared", func(s *Scene) { s.without("msp-egress"); s.Posture.Egress.Assurance = v1alpha1.AssuranceProxy }, nil},
		{"EGR-002", "a policy for other pods", func(s *Scene) {
			s.without("msp-egress")
			o := isolating("other", netv1.PolicyTypeEgress)
			o.Spec.PodSelector.MatchLabels = map[string]string{"app": "ledger"}
			s.add(o)
		}, []string{"Deployment/api: no NetworkPolicy selects it"}},
		{"EGR-002", "nothing enforces it", func(s *Scene) { s.Facts.Network.PolicyEnforced = facts.No }, []string{"Namespace/payments: does not enforce NetworkPolicy"}},
		{"EGR-002", "nobody knows", func(s *Scene) { s.Facts.Network.PolicyEnforced = facts.Unknown }, []string{"Namespace/payments: unknown: nothing tells"}},

		{"EGR-003", "no Sidecar", func(s *Scene) { s.without("msp-egress") }, []string{"Deployment/api: no Sidecar is for it"}},
		{"EGR-003", "*/*", func(s *Scene) { s.add(workloadScope("wide", "*/*")) }, []string{"Deployment/api: Sidecar/wide takes in */*"}},
		{"EGR-003", "a namespace", func(s *Scene) { s.add(workloadScope("narrow", "shop/*")) }, nil},
		{"EGR-003", "the root namespace's", func(s *Scene) {
			s.without("msp-egress")
			o := sidecar("default", networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY, "./*")
			o.Namespace = "istio-system"
			s.add(o)
		}, nil},
		{"EGR-003", "it may be anywhere", func(s *Scene) { s.without("msp-egress"); s.Facts.Mesh.ConfigRead = false }, []string{"Deployment/api: unknown: "}},

		{"EGR-004", "a host that no rule names", func(s *Scene) { s.add(serviceEntry("payments", "api.evil.test", "TLS", 443, ".")) }, []string{"ServiceEntry/partner: lets workloads out to api.evil.test on port 443, which no egress rule names"}},
		{"EGR-004", "a host that a rule names", func(s *Scene) {
			s.rule("*.partner.test", 443)
			s.add(serviceEntry("payments", "api.partner.test", "TLS", 443, "."))
		}, nil},
		{"EGR-004", "on another port", func(s *Scene) {
			s.rule("api.partner.test", 443)
			s.add(serviceEntry("payments", "api.partner.test", "TLS", 8443, "."))
		}, []string{"ServiceEntry/partner: no egress rule names"}},
		{"EGR-004", "a wildcard", func(s *Scene) { s.Posture.Egress = nil; s.add(serviceEntry("payments", "*.com", "TLS", 443, ".")) }, []string{"ServiceEntry/partner: every host of *.com on port 443"}},
		{"EGR-004", "any address", func(s *Scene) {
			o := serviceEntry("payments", "any.partner.test", "TCP", 443, ".")
			o.Spec.Resolution = networkingapi.ServiceEntry_NONE
			s.rule("any.partner.test", 443)
			s.add(o)
		}, []string{"ServiceEntry/partner: any address on port 443"}},
		{"EGR-004", "exported to all", func(s *Scene) {
			s.rule("api.partner.test", 443)
			s.add(serviceEntry("payments", "api.partner.test", "TLS", 443))
		}, []string{"ServiceEntry/partner: exported to other namespaces"}},
		{"EGR-004", "of another namespace, which no Sidecar takes in", func(s *Scene) { s.add(serviceEntry("shop", "api.evil.test", "TLS", 443)) }, nil},
		{"EGR-004", "of another namespace, which a Sidecar takes in", func(s *Scene) {
			s.add(workloadScope("wide", "shop/*"), serviceEntry("shop", "api.evil.test", "TLS", 443))
		}, []string{"ServiceEntry/shop/partner: api.evil.test"}},
		{"EGR-004", "everything gets out anyway", func(s *Scene) {
			s.without("msp-egress")
			s.Facts.Mesh.RegistryOnly = facts.No
			s.add(serviceEntry("payments", "api.evil.test", "TLS", 443, "."))
		}, nil},
		{"EGR-004", "the mesh's own provider", func(s *Scene) {
			s.Facts.Mesh.ProviderHosts = []string{"payments/authz.partner.test"}
			s.add(serviceEntry("payments", "authz.partner.test", "GRPC", 443, "."))
		}, nil},

		{"EGR-005", "plain HTTP", func(s *Scene) { s.add(serviceEntry("payments", "api.partner.test", "HTTP", 80, ".")) }, []string{"ServiceEntry/partner: api.partner.test on port 80 leave in plaintext"}},
		{"EGR-005", "the proxy originates TLS", func(s *Scene) {
			s.add(serviceEntry("payments", "api.partner.test", "HTTP", 80, "."), destinationRule("payments", "api.partner.test", simple))
		}, nil},
		{"EGR-005", "a rule for another host", func(s *Scene) {
			s.add(serviceEntry("payments", "api.partner.test", "HTTP", 80, "."), destinationRule("payments", "b.partner.test", simple))
		}, []string{"ServiceEntry/partner: plaintext"}},
		{"EGR-005", "TLS of the application", func(s *Scene) { s.add(serviceEntry("payments", "api.partner.test", "TLS", 443, ".")) }, nil},
		{"EGR-005", "bytes", func(s *Scene) { s.add(serviceEntry("payments", "db.partner.test", "TCP", 5432, ".")) }, []string{"ServiceEntry/partner: unknown: calls to db.partner.test on port 5432"}},
		{"EGR-005", "a subset's settings", func(s *Scene) {
			d := destinationRule("payments", "api.partner.test", nil)
			d.Spec.Subsets = []*networkingapi.Subset{{Name: "tls", TrafficPolicy: &networkingapi.TrafficPolicy{Tls: simple}}}
			s.add(serviceEntry("payments", "api.partner.test", "HTTP", 80, "."), d)
		}, []string{"ServiceEntry/partner: unknown: "}},

		{"EGR-006", "insecureSkipVerify", func(s *Scene) { s.add(destinationRule("payments", "api.partner.test", skip)) }, []string{"DestinationRule/partner: whoever answers for api.partner.test"}},
		{"EGR-006", "of the host's namespace", func(s *Scene) {
			s.add(destinationRule("shop", "api.partner.test", skip), serviceEntry("shop", "api.partner.test", "HTTP", 80))
		}, []string{"DestinationRule/shop/partner: whoever answers"}},
		{"EGR-006", "of a namespace whose rule for that host nobody reads", func(s *Scene) { s.add(destinationRule("shop", "api.partner.test", skip)) }, nil},
		{"EGR-006", "verified", func(s *Scene) { s.add(destinationRule("payments", "api.partner.test", simple)) }, nil},
		{"EGR-006", "the system's authorities", func(s *Scene) { s.add(destinationRule("payments", "api.partner.test", bare)) }, nil},
		{"EGR-006", "none, of an old Istio", func(s *Scene) {
			s.Facts.Mesh.Version = "1.20.8"
			s.add(destinationRule("payments", "api.partner.test", bare))
		}, []string{"DestinationRule/partner: Istio 1.20.8 then believes whoever answers"}},
		{"EGR-006", "none, of an Istio that can't be told", func(s *Scene) {
			s.Facts.Mesh.Version = ""
			s.add(destinationRule("payments", "api.partner.test", bare))
		}, []string{"DestinationRule/partner: unknown: "}},

		{"EGR-008", "ExternalName", func(s *Scene) {
			s.serve(facts.Service{Name: "db", External: true, ExternalName: "db.partner.test"})
		}, []string{"Service/db: leads calls to db.partner.test"}},
		{"EGR-008", "ExternalName of the cluster", func(s *Scene) {
			s.serve(facts.Service{Name: "db", External: true, ExternalName: "db.shop.svc.cluster.local"})
		}, nil},
		{"EGR-008", "ExternalName that a rule names", func(s *Scene) {
			s.rule("db.partner.test", 5432)
			s.serve(facts.Service{Name: "db", External: true, ExternalName: "db.partner.test"})
		}, nil},
		{"EGR-008", "the API server's", func(s *Scene) {
			s.Facts.Namespace.Name, s.Posture.Namespace = "default", "default"
			s.Facts.Services = map[types.NamespacedName]facts.Service{{Namespace: "default", Name: "kubernetes"}: {Namespace: "default", Name: "kubernetes"}}
		}, nil},
		{"EGR-008", "no selector", func(s *Scene) { s.serve(facts.Service{Name: "db"}) }, []string{"Service/db: unknown: it has no selector"}},
	}))
	exam(t, "NET", []examined{
		{"NET-001", "no policy", func(s *Scene) { s.without("msp-ingress") }, []string{"Deployment/api: no NetworkPolicy selects it"}},
		{"NET-001", "a policy for egress alone", func(s *Scene) { s.without("msp-ingress"); s.add(isolating("out", netv1.PolicyTypeEgress)) }, []string{"Deployment/api: no NetworkPolicy selects it"}},
		{"NET-001", "one that opens everything", func(s *Scene) {
			o := isolating("open", netv1.PolicyTypeIngress)
			o.Spec.Ingress = []netv1.NetworkPolicyIngressRule{{}}
			s.add(o)
		}, []string{"Deployment/api: NetworkPolicy/open opens it"}},
		{"NET-001", "somebody else's", func(s *Scene) { s.without("msp-ingress"); s.add(isolating("in", netv1.PolicyTypeIngress)) }, nil},
		{"NET-001", "as declared", func(s *Scene) { s.without("msp-ingress"); s.Posture.Authorization.Default = v1alpha1.DefaultAllow }, nil},
		{"NET-001", "nobody knows", func(s *Scene) { s.Facts.Network.PolicyEnforced = facts.Unknown }, []string{"Namespace/payments: unknown: nothing tells"}},
	})
}

// How grave it is that the network closes nothing goes by what is declared.
func TestOpenWayOutIsGraveWhereItIsDeclaredClosed(t *testing.T) {
	for want, egress := range map[v1alpha1.Severity]*posture.Egress{
		v1alpha1.SeverityHigh:   {Default: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceNetwork},
		v1alpha1.SeverityMedium: nil,
	} {
		s := scene()
		s.without("msp-egress")
		s.Posture.Egress = egress
		found := 0
		for _, f := range Examine(s) {
			if f.Check == "EGR-002" {
				found++
				if f.Severity != want {
					t.Errorf("%s, want %s", f.Severity, want)
				}
			}
		}
		if found != 1 {
			t.Errorf("found %d", found)
		}
	}
}
