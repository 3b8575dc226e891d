package audit

import (
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// throughGatewayOf declares a host that is reached by an egress gateway alone,
// with what the operator writes for it.
func throughGatewayOf(s *Scene) {
	s.Posture.Egress = &posture.Egress{
		Default: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceGateway, Gateway: &posture.Gateway{Namespace: "out", Service: "gw", Port: 443},
		Rules: []posture.EgressRule{{Name: "stripe", To: []v1alpha1.EgressTarget{{Hosts: []v1alpha1.ExternalHost{"api.stripe.com"}, Ports: []v1alpha1.EgressPort{{Port: 443}}}}}},
	}
	s.Facts.Network.PolicyEnforced = facts.Yes
	s.Ours = append(s.Ours,
		&networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "msp-egress-stripe"}, Spec: networkingapi.VirtualService{Hosts: []string{"api.stripe.com"}}},
		&securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "out", Name: "msp-egress.gateway.payments.out"}})
}

func byHand(s *Scene) {
	s.Posture.Egress = nil
	s.Facts.Network.PolicyEnforced = facts.Yes
	s.Routings = []facts.Routing{{Namespace: "payments", Name: "out", Hosts: []string{"api.stripe.com"}, Destinations: []string{"gw.out.svc.cluster.local"}, Gateways: []string{"gw.out.svc.cluster.local"}}}
}

var egressGatewayCases = []examined{
	{"EGR-007", "mandatory", throughGatewayOf, nil},
	{"EGR-007", "the network lets it past", func(s *Scene) { throughGatewayOf(s); s.without("msp-egress") }, []string{"Namespace/payments: out to api.stripe.com on port 443"}},
	{"EGR-007", "held by the proxy by choice", func(s *Scene) {
		throughGatewayOf(s)
		s.without("msp-egress")
		s.Posture.Egress.Assurance, s.Posture.Egress.Rules[0].Via = v1alpha1.AssuranceProxy, v1alpha1.ViaGateway
	}, nil},
	{"EGR-007", "nothing leads it there", func(s *Scene) { throughGatewayOf(s); s.without("msp-egress"); s.Ours = s.Ours[:len(s.Ours)-2] }, []string{"Namespace/payments: nothing leads calls for api.stripe.com"}},
	{"EGR-007", "no policy at the gateway", func(s *Scene) { throughGatewayOf(s); s.Ours = s.Ours[:len(s.Ours)-1] }, []string{"Namespace/out: only namespace payments"}},
	{"EGR-007", "policies are not enforced", func(s *Scene) { throughGatewayOf(s); s.Facts.Network.PolicyEnforced = facts.No }, []string{"Namespace/payments: does not enforce NetworkPolicy"}},
	{"EGR-007", "whether they are is unknown", func(s *Scene) { throughGatewayOf(s); s.Facts.Network.PolicyEnforced = facts.Unknown }, []string{"Namespace/payments: nothing tells"}},
	{"EGR-007", "by hand, mandatory", byHand, nil},
	{"EGR-007", "by hand, past it", func(s *Scene) { byHand(s); s.without("msp-egress") }, []string{"VirtualService/out: no NetworkPolicy keeps"}},
	{"EGR-007", "by hand, unknown", func(s *Scene) { byHand(s); s.Facts.Network.PolicyEnforced = facts.Unknown }, []string{"VirtualService/out: nothing tells"}},
	{"EGR-007", "by hand, not enforced", func(s *Scene) { byHand(s); s.Facts.Network.PolicyEnforced = facts.No }, []string{"VirtualService/out: does not enforce"}},
	{"EGR-007", "by hand, open by choice", func(s *Scene) {
		byHand(s)
		s.without("msp-egress")
		s.Posture.Egress = &posture.Egress{Default: v1alpha1.DefaultAllow}
	}, nil},
}
