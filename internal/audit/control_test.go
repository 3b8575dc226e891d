package audit

import (
	"testing"

	analysis "istio.io/api/analysis/v1alpha1"
	metaapi "istio.io/api/meta/v1alpha1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

func (s *Scene) lead(hosts []string, destinations ...string) {
	s.Routings = append(s.Routings, facts.Routing{Namespace: "payments", Name: "split", Hosts: hosts, Destinations: destinations})
}

func TestControl(t *testing.T) {
	api := []string{"api"}
	cart := v1alpha1.EgressTarget{Service: &v1alpha1.ServiceReference{Namespace: "shop", Name: "cart"}}
	exam(t, "CTL", []examined{
		{"CTL-002", "out of the cluster", func(s *Scene) { s.lead(api, "api", "evil.test") }, []string{"VirtualService/split: calls for api to evil.test, outside of the cluster"}},
		{"CTL-002", "to a host that a rule names", func(s *Scene) { s.rule("api.partner.test", 443); s.lead(api, "api.partner.test") }, nil},
		{"CTL-002", "to a service that stands for a host", func(s *Scene) {
			s.serve(facts.Service{Name: "copy", External: true, ExternalName: "evil.test"})
			s.lead(api, "api", "copy.payments.svc.cluster.local")
		}, []string{"VirtualService/split: outside of the cluster"}},
		{"CTL-002", "to another namespace", func(s *Scene) { s.lead(api, "cart.shop.svc.cluster.local") }, []string{"VirtualService/split: calls for api to cart.shop.svc.cluster.local, of another namespace"}},
		{"CTL-002", "to another namespace that a rule names", func(s *Scene) {
			s.Posture.Egress.Rules = []posture.EgressRule{{Name: "cart", To: []v1alpha1.EgressTarget{cart}}}
			s.lead(api, "cart.shop.svc.cluster.local")
		}, nil},
		{"CTL-002", "to another service of the host's namespace", func(s *Scene) { s.lead([]string{"cart.shop.svc.cluster.local"}, "cart-v2.shop.svc.cluster.local") }, nil},
		{"CTL-002", "to the namespace of a gateway", func(s *Scene) {
			s.agent(facts.RoleGateway, "istio-egress", "egress", true)
			s.lead([]string{"api.partner.test"}, "egress.istio-egress.svc.cluster.local")
		}, nil},
		{"CTL-002", "within the namespace", func(s *Scene) { s.lead(api, "api", "api-v2", "api-v3.payments", "api-v4.payments.svc") }, nil},
		{"CTL-002", "a wildcard's own name", func(s *Scene) { s.lead([]string{"*.partner.test.example"}, "www.partner.test.example") }, nil},
		{"CTL-002", "a wildcard over everybody", func(s *Scene) { s.lead([]string{"*.test"}, "evil.test") }, []string{"VirtualService/split: calls for *.test to evil.test"}},
		{"CTL-002", "a host in short", func(s *Scene) { s.lead([]string{"cart.shop"}, "cart.shop.svc.cluster.local") }, nil},
		{"CTL-002", "every host", func(s *Scene) { s.lead([]string{"*"}, "cart.shop.svc.cluster.local") }, []string{"VirtualService/split: calls for * to cart.shop.svc.cluster.local"}},
		{"CTL-002", "to another route", func(s *Scene) {
			s.lead(api)
			s.Routings[0].Delegates = true
		}, []string{"VirtualService/split: unknown: it leaves calls for api"}},
		{"CTL-003", "here", func(s *Scene) {
			s.Influences = []facts.Influence{{Kind: "EnvoyFilter", Namespace: "payments", Name: "lua", What: "can change anything that the proxies do"}}
		}, []string{"EnvoyFilter/lua: it can change anything"}},
		{"CTL-003", "for the whole mesh", func(s *Scene) {
			s.Influences = []facts.Influence{{Kind: "WasmPlugin", Namespace: "istio-system", Name: "waf", What: "runs in the proxies"}}
		}, []string{"WasmPlugin/istio-system/waf: it runs in the proxies"}},
		{"CTL-003", "a route is another check's", func(s *Scene) {
			s.Influences = []facts.Influence{{Kind: "VirtualService", Namespace: "payments", Name: "split"}}
		}, nil},
		{"CTL-008", "refused by the mesh", func(s *Scene) { s.said(condition("WaypointAccepted", "False", 2)) },
			[]string{"AuthorizationPolicy/theirs: what it says is not in force, or not all of it: istiod reports WaypointAccepted=False (Why): because"}},
		{"CTL-008", "of what it was before", func(s *Scene) { s.said(condition("WaypointAccepted", "False", 1)) }, nil},
		{"CTL-008", "taken", func(s *Scene) {
			s.said(condition("ZtunnelAccepted", "True", 2), condition("istio.io/WaypointBound", "False", 2))
		}, nil},
		{"CTL-008", "wrong by analysis", func(s *Scene) { s.said().ValidationMessages = analysed(analysis.AnalysisMessageBase_ERROR) },
			[]string{"AuthorizationPolicy/theirs: istiod reports IST0101 ReferencedResourceNotFound"}},
		{"CTL-008", "odd by analysis", func(s *Scene) { s.said().ValidationMessages = analysed(analysis.AnalysisMessageBase_WARNING) },
			[]string{"AuthorizationPolicy/theirs: istiod warns of it: IST0101"}},
		{"CTL-008", "of another namespace", func(s *Scene) {
			s.said(condition("WaypointAccepted", "False", 2))
			s.Others[len(s.Others)-1].SetNamespace("istio-system")
		}, nil},
		{"CTL-009", "left", func(s *Scene) {
			s.Drift = []Drift{{Resource: "PeerAuthentication/msp-default", What: "Modified by kubectl"}}
		}, []string{"PeerAuthentication/msp-default: left so: Modified by kubectl"}},
	})
}

// said adds a policy of which istiod says something.
func (s *Scene) said(conditions ...*metaapi.IstioCondition) *metaapi.IstioStatus {
	// It denies nobody, so that no other check minds it.
	p := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "theirs", Generation: 2}}
	p.Status.Conditions = conditions
	s.add(p)
	return &p.Status
}

func condition(kind, status string, generation int64) *metaapi.IstioCondition {
	return &metaapi.IstioCondition{Type: kind, Status: status, Reason: "Why", Message: "because", ObservedGeneration: generation}
}

func analysed(level analysis.AnalysisMessageBase_Level) []*analysis.AnalysisMessageBase {
	return []*analysis.AnalysisMessageBase{{Level: level, Type: &analysis.AnalysisMessageBase_Type{Code: "IST0101", Name: "ReferencedResourceNotFound"}}}
}

// A service of the same name elsewhere has no say.
func TestARouteGoesByTheServicesOfItsNamespace(t *testing.T) {
	s := scene()
	s.Facts.Services[types.NamespacedName{Namespace: "shop", Name: "api-v2"}] = facts.Service{Namespace: "shop", Name: "api-v2", External: true, ExternalName: "evil.test"}
	s.lead([]string{"api"}, "api-v2")
	for _, f := range Examine(s) {
		t.Errorf("%s %s: %s", f.Check, f.Subject, f.Message)
	}
}
