package audit

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

const cartHost = "cart.shop.svc.cluster.local"

func (s *ClusterScene) route(hosts []string, destinations ...string) *facts.SharedRoute {
	s.Control.Routes = append(s.Control.Routes, facts.SharedRoute{
		Source: facts.Source{Kind: "VirtualService", Namespace: "evil", Name: "split"}, Exported: []string{"*"}, Hosts: hosts, Destinations: destinations,
	})
	return &s.Control.Routes[len(s.Control.Routes)-1]
}

func (s *ClusterScene) entry(namespace string, age int64, hosts ...string) *facts.SharedEntry {
	s.Control.Entries = append(s.Control.Entries, facts.SharedEntry{
		Source: facts.Source{Kind: "ServiceEntry", Namespace: namespace, Name: "hosts"}, Exported: []string{"*"}, Hosts: hosts, Created: metav1.NewTime(time.Unix(1000-age, 0)),
	})
	return &s.Control.Entries[len(s.Control.Entries)-1]
}

var hostCases = []examinedCluster{
	{"CTL-001", "a route for a service of others", func(s *ClusterScene) { s.route([]string{cartHost}, cartHost) },
		[]string{"VirtualService/evil/split: it decides how the calls of every namespace for " + cartHost + " (of namespace shop) are routed"}},
	{"CTL-001", "a route that one namespace sees", func(s *ClusterScene) { s.route([]string{cartHost}).Exported = []string{"shop"} },
		[]string{"VirtualService/evil/split: the calls of namespace shop"}},
	{"CTL-001", "a route for all services of a namespace", func(s *ClusterScene) { s.route([]string{"*.shop.svc.cluster.local"}) },
		[]string{"VirtualService/evil/split: (of namespace shop)"}},
	{"CTL-001", "a route for every service", func(s *ClusterScene) { s.route([]string{"*.local"}) },
		[]string{"VirtualService/evil/split: *.local (of every namespace)"}},
	{"CTL-001", "a route for its own", func(s *ClusterScene) {
		s.route([]string{"cart", "cart.evil.svc.cluster.local", "*.evil.svc.cluster.local", "api.partner.test"}, "elsewhere.test")
	}, nil},
	{"CTL-001", "a route for a host that another namespace declares", func(s *ClusterScene) {
		s.entry("shop", 10, "api.partner.test")
		s.route([]string{"*.partner.test"}, "evil.test")
	}, []string{"VirtualService/evil/split: *.partner.test (declared by namespace shop)"}},
	{"CTL-001", "a route for a host that it declared first", func(s *ClusterScene) {
		s.entry("shop", 10, "api.partner.test")
		s.entry("evil", 20, "api.partner.test")
		s.route([]string{"api.partner.test"}, "evil.test")
	}, []string{"ServiceEntry/shop/hosts: it declares api.partner.test (declared by namespace evil)"}},
	{"CTL-001", "an entry for a service of others", func(s *ClusterScene) { s.entry("evil", 10, cartHost) },
		[]string{"ServiceEntry/evil/hosts: it declares " + cartHost + " (of namespace shop)"}},
	{"CTL-001", "an entry that says itself where", func(s *ClusterScene) {
		s.entry("shop", 10, "api.partner.test")
		s.entry("evil", 5, "api.partner.test").Endpoints = true
	}, []string{"ServiceEntry/evil/hosts: it says itself where calls for it go"}},
	{"CTL-001", "an entry of the root namespace", func(s *ClusterScene) {
		s.entry("shop", 10, "api.partner.test")
		s.entry("istio-system", 5, "api.partner.test")
	}, nil},
	{"CTL-001", "entries for different hosts", func(s *ClusterScene) {
		s.entry("shop", 10, "*.partner.test")
		s.entry("evil", 5, "api.partner.test", "cart.evil.svc.cluster.local")
	}, nil},
	{"CTL-002", "out of the cluster", func(s *ClusterScene) { s.route([]string{cartHost}, cartHost, "evil.test") },
		[]string{"VirtualService/evil/split: it leads or mirrors the calls of every namespace for " + cartHost + " (of namespace shop) to evil.test, outside of the cluster"}},
	{"CTL-002", "to its own namespace", func(s *ClusterScene) { s.route([]string{cartHost}, "copy") },
		[]string{"VirtualService/evil/split: to copy, of another namespace"}},
	{"CTL-002", "to a service that stands for a host", func(s *ClusterScene) {
		s.route([]string{cartHost}, "copy.shop.svc.cluster.local")
		s.Control.Aliases = map[types.NamespacedName]string{{Namespace: "shop", Name: "copy"}: "evil.test"}
	}, []string{"VirtualService/evil/split: to copy.shop.svc.cluster.local (evil.test), outside of the cluster"}},
	{"CTL-002", "to where they belong", func(s *ClusterScene) { s.route([]string{cartHost}, cartHost, "cart-v2.shop.svc.cluster.local") }, nil},
	{"CTL-002", "to a gateway", func(s *ClusterScene) {
		s.entry("shop", 10, "api.partner.test")
		s.route([]string{"api.partner.test"}, "egress.istio-egress.svc.cluster.local")
		s.Control.Gateways = []string{"istio-egress"}
	}, nil},
	{"CTL-002", "of its own host", func(s *ClusterScene) { s.route([]string{"cart"}, "evil.test") }, nil},
	{"CTL-002", "to another route", func(s *ClusterScene) { s.route([]string{cartHost}).Delegates = true },
		[]string{"VirtualService/evil/split: unknown: it leaves calls of every namespace"}},
}
