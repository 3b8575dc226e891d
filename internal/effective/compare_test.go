package effective

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func says(ds []Difference) string {
	var out []string
	for _, d := range ds {
		out = append(out, d.What)
	}
	return strings.Join(out, "\n")
}

func TestCompare(t *testing.T) {
	for _, r := range []struct{ says, before, after, opens, shuts, unknown string }{
		{says: "STRICT to PERMISSIVE opens plaintext", before: `PA n {mtls: {mode: STRICT}}`, after: `PA n {mtls: {mode: PERMISSIVE}}`, opens: "calls in plaintext to every workload"},
		{says: "DISABLE opens more", before: `PA n {mtls: {mode: PERMISSIVE}}`, after: `PA n {mtls: {mode: DISABLE}}`, opens: "calls of workloads of the mesh, in plaintext, to every workload"},
		{says: "a port exception", before: `PA n {mtls: {mode: STRICT}}`, after: "PA n {mtls: {mode: STRICT}}\nPA w {selector: {matchLabels: {app: a}}, portLevelMtls: {\"9100\": {mode: PERMISSIVE}}}", opens: "calls in plaintext to app=a on port 9100"},
		{says: "a selector that matches nothing", before: `PA n {mtls: {mode: STRICT}}`, after: `PA n {selector: {matchLabels: {x: nowhere}}, mtls: {mode: STRICT}}`, opens: "calls in plaintext to workloads other than x=nowhere"},
		{says: "an ALLOW under default-deny", before: `AP d {}`, after: "AP d {}\nAP a {selector: {matchLabels: {app: a}}, rules: [{from: [{source: {serviceAccounts: [shop/cart]}}], to: [{operation: {ports: [\"80\"]}}]}]}", opens: "calls of shop/cart to app=a on port 80"},
		{says: "an ALLOW where nothing was denied", before: ``, after: "AP a {rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}", shuts: "calls of callers other than shop/cart to every workload"},
		{says: "an ALLOW that another covers", before: `AP a {rules: [{from: [{source: {namespaces: [shop]}}]}]}`, after: "AP a {rules: [{from: [{source: {namespaces: [shop]}}]}]}\nAP b {rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}"},
		{says: "a path", before: `AP a {rules: [{to: [{operation: {paths: [/a]}}]}]}`, after: `AP a {rules: [{to: [{operation: {paths: ["/a*"]}}]}]}`, opens: "calls to every workload by HTTP of path /a/zz"},
		{says: "a port, however it is read", before: `AP a {rules: [{to: [{operation: {ports: ["80"]}}]}]}`, after: `AP a {rules: [{to: [{operation: {ports: ["80", "81"]}}]}]}`, opens: "calls to every workload on port 81"},
		{says: "all ports but one", before: `AP a {rules: [{to: [{operation: {ports: ["80"]}}]}]}`, after: `AP a {rules: [{}]}`, opens: "calls to every workload on port other than 80"},
		{says: "a method of all ports", before: `AP a {rules: [{to: [{operation: {methods: [GET]}}]}]}`, after: `AP a {rules: [{}]}`, opens: "calls to every workload by method other than GET\ncalls to every workload by other than HTTP"},
		{says: "a host that an entry opens", before: `SC s {outboundTrafficPolicy: {}}`, after: "SC s {outboundTrafficPolicy: {}}\nSE e {hosts: [evil.example], exportTo: [\".\"], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]}", opens: "connections of every workload to host evil.example on port 443"},
		{says: "egress closed", before: `NP n {podSelector: {}, policyTypes: [Egress], egress: [{}]}`, after: `NP n {podSelector: {}, policyTypes: [Egress]}`, shuts: "connections of every workload"},
		{says: "an EnvoyFilter", after: `EF f {}`, unknown: "EnvoyFilter/f"},
		{says: "a VirtualService", before: `VS v {hosts: [a]}`, unknown: "VirtualService/v"},
		{says: "an unknown mark", before: `PA n {mtls: {mode: STRICT}}`, after: `PA n x.istio.io/y=z {mtls: {mode: STRICT}}`, unknown: "PeerAuthentication/n"},
		{says: "a mark of nobody's", before: `PA n {mtls: {mode: STRICT}}`, after: `PA n example.com/y=z {mtls: {mode: STRICT}}`},
		{says: "a filter that is not understood", before: `TE t {accessLogging: [{filter: {expression: x}}]}`, after: `TE t {accessLogging: [{filter: {expression: z}}]}`, unknown: "Telemetry/t"},
		{says: "plaintext calls that leave", after: `DR d {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}`, opens: "calls of every workload to cart.shop.svc.cluster.local without the mesh's mutual TLS"},
		{says: "where a subset that routes lead to is seen", before: `DR msp-egress {host: gw.out.svc.cluster.local, exportTo: ["."], subsets: [{name: a}]}`, after: `DR msp-egress {host: gw.out.svc.cluster.local, exportTo: [shop], subsets: [{name: a}]}`, unknown: "DestinationRule/msp-egress"},
		{says: "an entry that only a gateway sees", before: `SE msp-egress-a.gateway-1 {hosts: [a.example], exportTo: [out], ports: [{number: 443, name: t, protocol: TLS}]}`, after: `SE msp-egress-a.gateway-1 {hosts: [b.example], exportTo: [out], ports: [{number: 443, name: t, protocol: TLS}]}`, unknown: "ServiceEntry/msp-egress-a.gateway-1", opens: "connections of every workload of namespace out to host b.example on port 443", shuts: "connections of every workload of namespace out to host a.example on port 443"},
		{says: "such an entry of somebody else", before: `SE theirs {hosts: [a.example], exportTo: [out], ports: [{number: 443, name: t, protocol: TLS}]}`, after: `SE theirs {hosts: [b.example], exportTo: [out], ports: [{number: 443, name: t, protocol: TLS}]}`, opens: "connections of every workload of namespace out to host b.example on port 443", shuts: "connections of every workload of namespace out to host a.example on port 443"},
		{says: "a policy at a gateway, in the root namespace", before: `AP istio-system/msp-egress.gateway.pay.istio-system {rules: [{from: [{source: {namespaces: [pay]}}]}]}`, after: `AP istio-system/msp-egress.gateway.pay.istio-system {rules: [{}]}`, unknown: "AuthorizationPolicy/msp-egress.gateway.pay.istio-system"},
		{says: "a caller, beside a policy at a gateway in the root namespace", before: "AP istio-system/msp-egress.gateway.pay.istio-system {rules: [{}]}\nAP a {rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}", after: "AP istio-system/msp-egress.gateway.pay.istio-system {rules: [{}]}\nAP a {}", shuts: "calls of shop/cart to every workload"},
		{says: "a rule for a host outside of the mesh", after: `DR d {host: api.example, trafficPolicy: {tls: {mode: SIMPLE}}}`, unknown: "DestinationRule/d"},
		{says: "where an entry's traffic goes", before: `SE e {hosts: [a.example], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]}`, after: `SE e {hosts: [a.example], resolution: STATIC, endpoints: [{address: 6.6.6.6}], ports: [{number: 443, name: t, protocol: TLS}]}`, unknown: "ServiceEntry/e"},
		{says: "an entry for a service of the mesh", after: `SE e {hosts: [cart.shop.svc.cluster.local], resolution: DNS, ports: [{number: 80, name: h, protocol: HTTP}]}`, unknown: "ServiceEntry/e", opens: "connections of every workload of other namespaces to host cart.shop.svc.cluster.local on port 80"},
		{says: "who is allowed by CUSTOM", before: `AP c {action: CUSTOM, provider: {name: x}, rules: [{}]}`, after: `AP c {action: CUSTOM, provider: {name: z}, rules: [{}]}`, unknown: "AuthorizationPolicy/c"},
		{says: "an age that decides", before: "PA a@1 {mtls: {mode: STRICT}}\nPA b@2 {mtls: {mode: DISABLE}}", after: "PA a@3 {mtls: {mode: STRICT}}\nPA b@2 {mtls: {mode: DISABLE}}", shuts: "calls in plaintext to every workload"},
		{says: "a condition that Istio may not know", before: `AP d {action: DENY, rules: [{}]}`, after: `AP d {action: DENY, rules: [{when: [{key: new}]}]}`, opens: "calls to every workload", unknown: "AuthorizationPolicy/d"},
		{says: "a header, whatever the case of its name", before: `AP a {rules: [{when: [{key: "request.headers[X-Team]", values: [v]}]}]}`, after: `AP a {rules: [{when: [{key: "request.headers[x-team]", values: [v]}]}]}`},
		{says: "allow-all", before: `AP d {}`, after: `AP d {rules: [{}]}`, opens: "calls to every workload"},
	} {
		t.Run(r.says, func(t *testing.T) {
			c := Compare(New(world(t, r.before)), New(world(t, r.after)))
			var unknown []string
			for _, u := range c.Unknown {
				unknown = append(unknown, u.String())
			}
			if got := says(c.Opens); got != r.opens {
				t.Errorf("opens %q, want %q", got, r.opens)
			}
			if got := says(c.Shuts); got != r.shuts {
				t.Errorf("shuts %q, want %q", got, r.shuts)
			}
			if got := strings.Join(unknown, " "); got != r.unknown {
				t.Errorf("unknown %q, want %q", got, r.unknown)
			}
		})
	}
}

// In a mesh of another trust domain, cluster.local is the mesh's own.
func TestAnAllowByClusterLocalOpens(t *testing.T) {
	const allow = "AP d {}\nAP theirs {rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]}]}"
	before, after := world(t, "AP d {}"), world(t, allow)
	for _, w := range []*World{&before, &after} {
		w.Mesh.TrustDomain, w.Mesh.TrustDomainAliases = "corp.example", []string{"old.example"}
	}
	c := Compare(New(before), New(after))
	if got, want := says(c.Opens), "calls of shop/cart, shop/cart of trust domain old.example to every workload"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(c.Opens) != 1 || c.Opens[0].By[0].Name != "theirs" {
		t.Errorf("%+v", c.Opens)
	}
	for domain, want := range map[string]string{"corp.example": "yes theirs", "old.example": "yes theirs", "cluster.local": "no d", "other.example": "no d"} {
		got := verdictOf(New(after).Pass(Probe{Layer: Authorization, Call: Call{From: Caller{TrustDomain: domain, Namespace: "shop", ServiceAccount: "cart"}}}))
		if got != want {
			t.Errorf("%s: got %s, want %s", domain, got, want)
		}
	}
}

// The rows are those of Istio's own tests (pilot, trustdomain, bundle_test.go).
func TestMigrated(t *testing.T) {
	for _, r := range []struct{ domains, principals, want string }{
		{"cluster.local", "cluster.local/ns/foo/sa/bar", "cluster.local/ns/foo/sa/bar"},
		{"td", "cluster.local/ns/foo/sa/bar", "td/ns/foo/sa/bar"},
		{"cluster.local", "*", "*"},
		{"td2 td1", "td1/ns/foo/sa/bar", "td2/ns/foo/sa/bar td1/ns/foo/sa/bar"},
		{"td1 cluster.local", "cluster.local/ns/foo/sa/bar cluster.local/ns/yyy/sa/zzz", "td1/ns/foo/sa/bar cluster.local/ns/foo/sa/bar td1/ns/yyy/sa/zzz cluster.local/ns/yyy/sa/zzz"},
		{"td1 cluster.local", "*/ns/foo/sa/bar *sa/zzz *", "*/ns/foo/sa/bar *sa/zzz *"},
		{"td2 foo-td1 cluster.local", "*-td1/ns/foo/sa/bar", "td2/ns/foo/sa/bar *-td1/ns/foo/sa/bar cluster.local/ns/foo/sa/bar"},
		{"td1 td2", "some-td/ns/foo/sa/bar", "some-td/ns/foo/sa/bar"},
		{"new-td td2 td3", "td1/ns/some-ns/sa/some-sa td2/ns/foo/sa/bar", "td1/ns/some-ns/sa/some-sa new-td/ns/foo/sa/bar td2/ns/foo/sa/bar td3/ns/foo/sa/bar"},
		{"td", "cluster.local/ns/foo/*", "cluster.local/ns/foo/*"},
		{"td", "cluster.local/ns/foo/sa/*", "td/ns/foo/sa/*"},
	} {
		if got := strings.Join(migrated(strings.Fields(r.principals), strings.Fields(r.domains)), " "); got != r.want {
			t.Errorf("%s of %s: got %s, want %s", r.principals, r.domains, got, r.want)
		}
	}
}

// Whoever writes policies must not decide how long a comparison takes.
func TestCompareIsBounded(t *testing.T) {
	rules := func(n int) string {
		var paths []string
		for i := range n {
			paths = append(paths, fmt.Sprintf("%q, %q", fmt.Sprintf("/a%d*", i), fmt.Sprintf("*%d.js", i)))
		}
		return "AP a {rules: [{to: [{operation: {paths: [" + strings.Join(paths, ", ") + "]}}]}]}"
	}
	before, after := New(world(t, rules(500))), New(world(t, rules(499)))
	start := time.Now()
	c := Compare(before, after)
	if !c.Partial {
		t.Error("not said to be partial")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	if c := Compare(New(world(t, rules(4))), New(world(t, rules(3)))); c.Partial || len(c.Shuts) == 0 {
		t.Errorf("%+v", c)
	}
}

func TestDifferencesAreFew(t *testing.T) {
	lines := ""
	for i := range 60 {
		lines += fmt.Sprintf("AP a%d {selector: {matchLabels: {app: w%d}}, rules: [{from: [{source: {namespaces: [n%d]}}]}]}\n", i, i, i)
	}
	if c := Compare(New(world(t, "AP d {}")), New(world(t, "AP d {}\n"+lines))); len(c.Opens) != maxDifferences {
		t.Errorf("%d differences", len(c.Opens))
	}
}

func TestProbesAreBoundedAndGeneralFirst(t *testing.T) {
	m := New(twenty(t))
	all, complete := Probes(100000, m)
	if !complete {
		t.Error("cut")
	}
	some, complete := Probes(50, m)
	if complete || len(some) != 50 {
		t.Errorf("%d, complete %t", len(some), complete)
	}
	if len(all[0].Call.To) > 0 || len(all[len(all)-1].Call.To) == 0 {
		t.Errorf("%+v comes first, %+v last", all[0], all[len(all)-1])
	}
}
