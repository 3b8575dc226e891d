package effective

import (
	"fmt"
	"slices"
	"testing"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// twenty is a namespace with twenty objects: everything denied but for six
// rules of as many workloads, egress to four hosts, and a port exception.
func twenty(t testing.TB) World {
	t.Helper()
	w := world(t, `
		PA mtls@9 {mtls: {mode: STRICT}}
		PA scrape@9 {selector: {matchLabels: {app: w0}}, mtls: {mode: STRICT}, portLevelMtls: {"9100": {mode: PERMISSIVE}}}
		AP deny@9 {}
		AP no@9 {action: DENY, rules: [{from: [{source: {notNamespaces: [shop, batch]}}], to: [{operation: {ports: ["8443"]}}]}]}
		RA jwt@9 {selector: {matchLabels: {app: w1}}, jwtRules: [{issuer: "https://sso", audiences: [a, b]}]}
		SC egress@9 {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: [./*, istio-system/*, shop/cart.shop.svc.cluster.local]}]}
		NP net@9 {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}], ports: [{port: 53, protocol: UDP}]}, {to: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.7/32]}}], ports: [{port: 5432}]}]}
		NP in@9 {podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {}}]}]}
		TE log@9 {accessLogging: [{providers: [{name: envoy}]}]}
		DR cart@9 {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}`)
	for i := range 6 {
		w.Objects = append(w.Objects, object(t, fmt.Sprintf(`AP allow%d@9 {selector: {matchLabels: {app: w%d}}, rules: [{from: [{source: {serviceAccounts: [shop/s%d]}}, {source: {namespaces: [n%d]}}], to: [{operation: {ports: ["8080"], methods: [GET, POST], paths: [/a%d, "/a%d/*"]}}]}]}`, i, i, i, i, i, i)))
		w.Pods = append(w.Pods, facts.Pod{Name: fmt.Sprint(i), Labels: map[string]string{"app": fmt.Sprintf("w%d", i), "pod-template-hash": fmt.Sprint(i)}})
	}
	for i := range 4 {
		w.Objects = append(w.Objects, object(t, fmt.Sprintf(`SE host%d@9 {hosts: [h%d.example], exportTo: ["."], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}`, i, i)))
	}
	return w
}

// change is the world with one object in the place of the one of its name.
func (w World) change(t testing.TB, line string) World {
	t.Helper()
	o := object(t, line)
	w.Objects = slices.Clone(w.Objects)
	for i, have := range w.Objects {
		if RefOf(have) == RefOf(o) {
			w.Objects[i] = o
			return w
		}
	}
	w.Objects = append(w.Objects, o)
	return w
}

func BenchmarkCompare(b *testing.B) {
	before := twenty(b)
	for name, after := range map[string]World{
		"mutual-tls":     before.change(b, `PA mtls@9 {mtls: {mode: PERMISSIVE}}`),
		"one-rule":       before.change(b, `AP allow3@9 {selector: {matchLabels: {app: w3}}, rules: [{from: [{source: {serviceAccounts: [shop/s3, shop/evil]}}], to: [{operation: {ports: ["8080"], methods: [GET], paths: ["/a*"]}}]}]}`),
		"allow-all":      before.change(b, `AP deny@9 {rules: [{}]}`),
		"sidecar":        before.change(b, `SC egress@9 {outboundTrafficPolicy: {mode: ALLOW_ANY}, egress: [{hosts: ["*/*"]}]}`),
		"network":        before.change(b, `NP net@9 {podSelector: {}, policyTypes: [Egress], egress: [{}]}`),
		"nothing-at-all": before,
		"everything":     {Namespace: "pay", Mesh: before.Mesh},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Compare(New(before), New(after))
			}
		})
	}
}

func BenchmarkAdmits(b *testing.B) {
	m := New(twenty(b))
	c := Call{To: Labels{"app": "w3"}, Port: 8080, HTTP: true, Method: "GET", Path: "/a3/x", From: Caller{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "s3", Pod: Pod{Namespace: "shop"}}}
	if !m.Admits(c).Passes {
		b.Fatal("not admitted")
	}
	for b.Loop() {
		m.Admits(c)
	}
}
