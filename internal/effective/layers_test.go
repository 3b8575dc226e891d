package effective

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// call reads a Call from YAML; from is NAMESPACE/ACCOUNT[@TRUSTDOMAIN] or an address.
func call(t testing.TB, text string) Call {
	t.Helper()
	var c struct {
		Call
		From string
	}
	if err := yaml.UnmarshalStrict([]byte(text), &c); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for who := range strings.FieldsSeq(c.From) {
		id, domain, _ := strings.Cut(who, "@")
		if ns, sa, ok := strings.Cut(id, "/"); ok {
			if domain == "" {
				domain = "cluster.local"
			}
			c.Call.From.TrustDomain, c.Call.From.Namespace, c.Call.From.ServiceAccount = domain, ns, sa
		} else {
			c.Call.From.Address = who
		}
	}
	return c.Call
}

// verdictOf is "yes", "no" or "unknown", and the deciding object.
func verdictOf(a Answer) string {
	out := map[bool]string{true: "yes", false: "no"}[a.Passes]
	if a.Unknown {
		out = "unknown"
		if !a.Passes {
			out = "unknown and shut"
		}
	}
	for _, r := range a.By {
		out += " " + r.Name
	}
	return out
}

func TestAuthorization(t *testing.T) {
	const allowShop = `AP a {rules: [{from: [{source: {namespaces: [shop]}}]}]}`
	token := func(extra string) string {
		return `{HTTP: true, Token: {Issuer: i, Keys: i, Subject: s` + extra + `}}`
	}
	rows := []struct{ says, objects, call, want string }{
		{"nothing is denied without a policy", ``, `{}`, "yes"},
		{"an ALLOW without rules denies all", `AP d {}`, `{}`, "no d"},
		{"an ALLOW with one empty rule allows all", `AP d {rules: [{}]}`, `{}`, "yes d"},
		{"what one ALLOW matches passes", allowShop, `{From: shop/cart}`, "yes a"},
		{"what no ALLOW matches is denied", allowShop, `{From: bank/cart}`, "no a"},
		{"one of several ALLOWs is enough", "AP d {}\n" + allowShop, `{From: shop/cart}`, "yes a"},
		{"a workload without ALLOW stays open", `AP a {selector: {matchLabels: {app: a}}}`, `{To: {app: b}}`, "yes"},
		{"a DENY goes before an ALLOW", "AP a {rules: [{}]}\nAP n {action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]}", `{From: shop/cart}`, "no n"},
		{"a DENY without rules denies nothing", `AP n {action: DENY}`, `{}`, "yes"},
		{"AUDIT neither allows nor denies", "AP d {}\nAP u {action: AUDIT, rules: [{}]}", `{}`, "no d"},
		{"CUSTOM decides outside", `AP c {action: CUSTOM, provider: {name: x}, rules: [{}]}`, `{}`, "unknown c"},
		{"CUSTOM can't allow what no ALLOW does", "AP d {}\nAP c {action: CUSTOM, provider: {name: x}, rules: [{}]}", `{}`, "no d"},
		{"CUSTOM can't allow what a DENY denies", "AP n {action: DENY, rules: [{}]}\nAP c {action: CUSTOM, provider: {name: x}, rules: [{}]}", `{}`, "no n"},
		{"CUSTOM of an authorizer that the mesh does not have denies", `AP c {action: CUSTOM, provider: {name: none}, rules: [{to: [{operation: {ports: ["8"]}}]}]}`, `{Port: 8}`, "no c"},
		{"what it matches, and nothing else", `AP c {action: CUSTOM, provider: {name: none}, rules: [{to: [{operation: {ports: ["9"]}}]}]}`, `{Port: 8}`, "yes"},
		{"a dry-run CUSTOM may ask its authorizer", `AP c !istio.io/dry-run=true {action: CUSTOM, provider: {name: x}, rules: [{}]}`, `{}`, "unknown c"},
		{"AUDIT beside an ALLOW makes no difference", "AP a {rules: [{}]}\nAP u {action: AUDIT, rules: [{}]}", `{}`, "yes a"},
		{"CUSTOM that does not match does nothing", `AP c {action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {ports: ["9"]}}]}]}`, `{Port: 8}`, "yes"},
		{"a dry-run ALLOW makes no implicit deny", `AP a !istio.io/dry-run=true {}`, `{}`, "yes"},
		{"a dry-run DENY denies nothing", `AP a !istio.io/dry-run=true {action: DENY, rules: [{}]}`, `{}`, "yes"},
		{"dry-run true has more than one spelling", `AP a !istio.io/dry-run=T {}`, `{}`, "yes"},
		{"a dry-run that can't be read is enforced", `AP a !istio.io/dry-run=yes {}`, `{}`, "no a"},
		{"the root namespace's policies are for everybody", `AP istio-system/r {}`, `{}`, "no r"},
		{"and their selectors match here", `AP istio-system/r {selector: {matchLabels: {app: a}}}`, `{To: {app: a}}`, "no r"},
		{"or do not", `AP istio-system/r {selector: {matchLabels: {app: a}}}`, `{To: {app: b}}`, "yes"},
		{"another namespace's have no force", `AP other/r {}`, `{}`, "yes"},
		{"another revision's have no force", `AP r istio.io/rev=canary {}`, `{}`, "yes"},
		{"targetRefs are for gateways", `AP a {targetRefs: [{kind: Gateway, group: g, name: gw}]}`, `{}`, "yes"},
		{"a targetRef is too", `AP a {targetRef: {kind: Gateway, group: g, name: gw}}`, `{}`, "yes"},

		{"namespaces match in any trust domain", allowShop, `{From: shop/cart@elsewhere}`, "yes a"},
		{"namespaces may have wildcards", `AP a {rules: [{from: [{source: {namespaces: ["sh*"]}}]}]}`, `{From: shop/cart}`, "yes a"},
		{"namespaces match nobody in plaintext", allowShop, `{}`, "no a"},
		{"notNamespaces match everybody in plaintext", `AP a {rules: [{from: [{source: {notNamespaces: [shop]}}]}]}`, `{}`, "yes a"},
		{"notNamespaces leave out", `AP a {rules: [{from: [{source: {notNamespaces: [shop]}}]}]}`, `{From: shop/x}`, "no a"},
		{"serviceAccounts match in any trust domain", `AP a {rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}`, `{From: shop/cart@elsewhere}`, "yes a"},
		{"a service account without namespace is the policy's own", `AP a {rules: [{from: [{source: {serviceAccounts: [cart]}}]}]}`, `{From: pay/cart}`, "yes a"},
		{"notServiceAccounts leave out", `AP a {rules: [{from: [{source: {notServiceAccounts: [shop/cart]}}]}]}`, `{From: shop/cart}`, "no a"},
		{"principals name the trust domain", `AP a {rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]}]}`, `{From: shop/cart}`, "yes a"},
		{"principals of another trust domain differ", `AP a {rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]}]}`, `{From: shop/cart@elsewhere}`, "no a"},
		{"principals may begin with a wildcard", `AP a {rules: [{from: [{source: {principals: ["*/ns/shop/sa/cart"]}}]}]}`, `{From: shop/cart@elsewhere}`, "yes a"},
		{"principals may end with a wildcard", `AP a {rules: [{from: [{source: {principals: [cluster.local/ns/shop/*]}}]}]}`, `{From: shop/any}`, "yes a"},
		{"the principal * is any identity", `AP a {rules: [{from: [{source: {principals: ["*"]}}]}]}`, `{From: shop/any}`, "yes a"},
		{"the principal * is no plaintext", `AP a {rules: [{from: [{source: {principals: ["*"]}}]}]}`, `{}`, "no a"},
		{"a DENY of principals is evaded in plaintext", `AP n {action: DENY, rules: [{from: [{source: {principals: ["*"]}}]}]}`, `{}`, "yes"},
		{"notPrincipals match everybody in plaintext", `AP n {action: DENY, rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/cart]}}]}]}`, `{}`, "no n"},
		{"notPrincipals leave out", `AP n {action: DENY, rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/cart]}}]}]}`, `{From: shop/cart}`, "yes"},
		{"trustDomains match the trust domain", `AP a {rules: [{from: [{source: {trustDomains: [elsewhere]}}]}]}`, `{From: shop/x@elsewhere}`, "yes a"},
		{"ipBlocks match addresses", `AP a {rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}`, `{From: 10.1.2.3}`, "yes a"},
		{"an ipBlock may be one address", `AP a {rules: [{from: [{source: {ipBlocks: [10.0.0.1]}}]}]}`, `{From: 10.0.0.2}`, "no a"},
		{"notIpBlocks leave out", `AP a {rules: [{from: [{source: {ipBlocks: [10.0.0.0/8], notIpBlocks: [10.1.0.0/16]}}]}]}`, `{From: 10.1.2.3}`, "no a"},
		{"remoteIpBlocks match addresses", `AP a {rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}]}`, `{From: 11.1.2.3}`, "no a"},
		{"the remote address is what the request says", `AP a {rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}]}`, `{From: 11.1.2.3, HTTP: true, Attributes: {"request.headers[x-forwarded-for]": "9.9.9.9, 10.1.1.1"}}`, "yes a"},
		{"of its addresses the last", `AP a {rules: [{when: [{key: remote.ip, values: [9.0.0.0/8]}]}]}`, `{From: 11.1.2.3, HTTP: true, Attributes: {"request.headers[x-forwarded-for]": "9.9.9.9, 10.1.1.1"}}`, "no a"},
		{"the direct address is not", `AP a {rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}`, `{From: 11.1.2.3, HTTP: true, Attributes: {"request.headers[x-forwarded-for]": 10.1.1.1}}`, "no a"},
		{"all fields of a source have to match", `AP a {rules: [{from: [{source: {namespaces: [shop], ipBlocks: [10.0.0.0/8]}}]}]}`, `{From: shop/cart 11.0.0.1}`, "no a"},
		{"one source is enough", `AP a {rules: [{from: [{source: {namespaces: [bank]}}, {source: {ipBlocks: [10.0.0.0/8]}}]}]}`, `{From: shop/cart 10.0.0.1}`, "yes a"},

		{"ports match the container's", `AP a {rules: [{to: [{operation: {ports: ["80"]}}]}]}`, `{Port: 80}`, "yes a"},
		{"notPorts leave out", `AP a {rules: [{to: [{operation: {notPorts: ["80"]}}]}]}`, `{Port: 80}`, "no a"},
		{"methods match", `AP a {rules: [{to: [{operation: {methods: [GET]}}]}]}`, `{HTTP: true, Method: POST}`, "no a"},
		{"notMethods leave out", `AP a {rules: [{to: [{operation: {notMethods: [GET]}}]}]}`, `{HTTP: true, Method: POST}`, "yes a"},
		{"hosts match regardless of case", `AP a {rules: [{to: [{operation: {hosts: [Api.example]}}]}]}`, `{HTTP: true, Host: aPI.example}`, "yes a"},
		{"a path matches whole", `AP a {rules: [{to: [{operation: {paths: [/foo]}}]}]}`, `{HTTP: true, Path: /foo/x}`, "no a"},
		{"/foo* matches /foobar", `AP a {rules: [{to: [{operation: {paths: ["/foo*"]}}]}]}`, `{HTTP: true, Path: /foobar}`, "yes a"},
		{"a path may begin with a wildcard", `AP a {rules: [{to: [{operation: {paths: ["*.js"]}}]}]}`, `{HTTP: true, Path: /a/b.js}`, "yes a"},
		{"{*} is one segment", `AP a {rules: [{to: [{operation: {paths: ["/a/{*}/c"]}}]}]}`, `{HTTP: true, Path: /a/b/c}`, "yes a"},
		{"{*} is not two", `AP a {rules: [{to: [{operation: {paths: ["/a/{*}/c"]}}]}]}`, `{HTTP: true, Path: /a/b/b/c}`, "no a"},
		{"{*} is not empty", `AP a {rules: [{to: [{operation: {paths: ["/a/{*}/c"]}}]}]}`, `{HTTP: true, Path: /a//c}`, "no a"},
		{"{**} is any number", `AP a {rules: [{to: [{operation: {paths: ["/a/{**}"]}}]}]}`, `{HTTP: true, Path: /a/b/b/c}`, "yes a"},
		{"{**} may be empty", `AP a {rules: [{to: [{operation: {paths: ["/a/{**}"]}}]}]}`, `{HTTP: true, Path: /a/}`, "yes a"},
		{"{**} is not nothing", `AP a {rules: [{to: [{operation: {paths: ["/a/{**}"]}}]}]}`, `{HTTP: true, Path: /a}`, "no a"},
		{"notPaths leave out", `AP a {rules: [{to: [{operation: {paths: ["/*"], notPaths: [/admin]}}]}]}`, `{HTTP: true, Path: /admin}`, "no a"},
		{"a query is no part of a path", `AP a {rules: [{to: [{operation: {paths: [/a]}}]}]}`, `{HTTP: true, Path: "/a?b"}`, "yes a"},
		{"a path is what it comes down to", `AP n {action: DENY, rules: [{to: [{operation: {paths: ["/a*"]}}]}]}`, `{HTTP: true, Path: /b/../a/c}`, "no n"},
		{"on a connection an ALLOW that asks for HTTP matches nothing", `AP a {rules: [{to: [{operation: {ports: ["80"]}}, {operation: {methods: [GET]}}]}]}`, `{Port: 80}`, "no a"},
		{"on a connection a DENY loses what it asks of HTTP", `AP n {action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ["80"]}}]}]}`, `{Port: 80}`, "no n"},
		{"and keeps the rest", `AP n {action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ["80"]}}]}]}`, `{Port: 81}`, "yes"},

		{"a condition on a header", `AP a {rules: [{when: [{key: "request.headers[x]", values: [v]}]}]}`, `{HTTP: true, Attributes: {"request.headers[x]": v}}`, "yes a"},
		{"a header's name is the same in any case", `AP a {rules: [{when: [{key: "request.headers[X-Team]", values: [v]}]}]}`, `{HTTP: true, Attributes: {"request.headers[x-team]": v}}`, "yes a"},
		{"a header's value is not", `AP a {rules: [{when: [{key: "request.headers[x]", values: [v]}]}]}`, `{HTTP: true, Attributes: {"request.headers[x]": V}}`, "no a"},
		{"a path is not the same in any case", `AP a {rules: [{to: [{operation: {paths: [/foo]}}]}]}`, `{HTTP: true, Path: /Foo}`, "no a"},
		{"a host is compared with its port", `AP a {rules: [{to: [{operation: {hosts: [api.example]}}]}]}`, `{HTTP: true, Host: "api.example:8080"}`, "no a"},
		{"a key that Istio does not document may drop a DENY", `AP n {action: DENY, rules: [{when: [{key: request.new, notValues: [v]}]}]}`, `{HTTP: true}`, "unknown n"},
		{"or an ALLOW", `AP a {rules: [{when: [{key: request.new, values: [v]}]}]}`, `{HTTP: true}`, "unknown a"},
		{"and makes no difference beside one that allows", "AP a {rules: [{when: [{key: request.new, values: [v]}]}]}\nAP b {rules: [{}]}", `{HTTP: true}`, "yes b"},
		{"all conditions have to hold", `AP a {rules: [{when: [{key: source.namespace, values: [shop]}, {key: destination.port, values: ["80"]}]}]}`, `{From: shop/x, Port: 81}`, "no a"},
		{"a condition on the source's address", `AP a {rules: [{when: [{key: source.ip, notValues: [10.0.0.0/8]}]}]}`, `{From: 10.0.0.1}`, "no a"},
		{"a condition on the principal", `AP a {rules: [{when: [{key: source.principal, values: [cluster.local/ns/shop/sa/x]}]}]}`, `{From: shop/x}`, "yes a"},
		{"a condition on the service account", `AP a {rules: [{when: [{key: source.serviceAccount, values: [shop/x]}]}]}`, `{From: shop/x}`, "yes a"},

		{"a request without a token passes a RequestAuthentication", `RA r {jwtRules: [{issuer: i}]}`, `{HTTP: true}`, "yes"},
		{"a valid token passes", `RA r {jwtRules: [{issuer: i}]}`, token(""), "yes"},
		{"a token of another issuer is refused", `RA r {jwtRules: [{issuer: j}]}`, token(""), "no r"},
		{"a token of other keys is refused", `RA r {jwtRules: [{issuer: i, jwksUri: "https://other"}]}`, token(""), "no r"},
		{"a token for another audience is refused", `RA r {jwtRules: [{issuer: i, audiences: [a]}]}`, token(", Audiences: [b]"), "no r"},
		{"a token for one of the audiences passes", `RA r {jwtRules: [{issuer: i, audiences: [a, b]}]}`, token(", Audiences: [b]"), "yes"},
		{"any rule may accept a token", "RA r {jwtRules: [{issuer: j}]}\nRA s {jwtRules: [{issuer: i}]}", token(""), "yes"},
		{"a RequestAuthentication without rules looks at no token", `RA r {}`, token(""), "yes"},
		{"that of other workloads looks at no token", `RA r {selector: {matchLabels: {app: a}}, jwtRules: [{issuer: j}]}`, token(""), "yes"},
		{"one with targetRefs is for gateways", `RA r {targetRefs: [{kind: Gateway, group: g, name: gw}], jwtRules: [{issuer: j}]}`, token(""), "yes"},
		{"request principals are ISSUER/SUBJECT", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{from: [{source: {requestPrincipals: [i/s]}}]}]}", token(""), "yes a"},
		{"request principals need a token", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{from: [{source: {requestPrincipals: [\"*\"]}}]}]}", `{HTTP: true}`, "no a"},
		{"a token that nobody validates is none", `AP a {rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}`, token(""), "no a"},
		{"a request principal needs a subject", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{from: [{source: {requestPrincipals: [\"*\"]}}]}]}", `{HTTP: true, Token: {Issuer: i, Keys: i}}`, "no a"},
		{"any subject of an issuer", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{from: [{source: {requestPrincipals: [i/*]}}]}]}", token(""), "yes a"},
		{"a subject of any issuer", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{from: [{source: {requestPrincipals: [\"*/s\"]}}]}]}", token(""), "yes a"},
		{"an issuer's beginning ends at its last slash", "RA r {jwtRules: [{issuer: \"https://sso.example\"}]}\nAP a {rules: [{from: [{source: {requestPrincipals: [\"https://sso*\"]}}]}]}", `{HTTP: true, Token: {Issuer: "https://sso.example", Keys: "https://sso.example", Subject: s}}`, "no a"},
		{"so that a DENY by it denies nothing", "RA r {jwtRules: [{issuer: \"https://sso.example\"}]}\nAP n {action: DENY, rules: [{from: [{source: {requestPrincipals: [\"https://sso*\"]}}]}]}", `{HTTP: true, Token: {Issuer: "https://sso.example", Keys: "https://sso.example", Subject: s}}`, "yes"},
		{"a subject may have slashes", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{from: [{source: {requestPrincipals: [i/*]}}]}]}", `{HTTP: true, Token: {Issuer: i, Keys: i, Subject: a/b}}`, "yes a"},
		{"but then none that is written out matches it", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{from: [{source: {requestPrincipals: [i/a/b]}}]}]}", `{HTTP: true, Token: {Issuer: i, Keys: i, Subject: a/b}}`, "no a"},
		{"claims match one of their values", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{when: [{key: \"request.auth.claims[g]\", values: [x]}]}]}", token(", Claims: {g: [w, x]}"), "yes a"},
		{"claims that are missing do not match", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{when: [{key: \"request.auth.claims[g]\", values: [x]}]}]}", token(""), "no a"},
		{"audiences as a condition", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{when: [{key: request.auth.audiences, values: [x]}]}]}", token(", Audiences: [x]"), "yes a"},
		{"the presenter as a condition", "RA r {jwtRules: [{issuer: i}]}\nAP a {rules: [{when: [{key: request.auth.presenter, values: [x]}]}]}", token(", Claims: {azp: [x]}"), "yes a"},
	}
	for _, r := range rows {
		t.Run(r.says, func(t *testing.T) {
			if got := verdictOf(New(world(t, r.objects)).Pass(Probe{Layer: Authorization, Call: call(t, r.call)})); got != r.want {
				t.Errorf("got %s, want %s", got, r.want)
			}
		})
	}
}

// CVE-2026-39350 is mended in 1.27.9.
func TestDotsOfServiceAccounts(t *testing.T) {
	for _, r := range []struct{ version, account, want string }{
		{"1.27.8", "cert-manager-io", "yes a"}, {"1.27.8", "cert-manager.io", "yes a"}, {"1.27.8", "cert-manager-iox", "no a"},
		{"1.27.9", "cert-manager-io", "no a"}, {"1.27.9", "cert-manager.io", "yes a"}, {"", "cert-manager-io", "no a"},
	} {
		w := world(t, `AP a {rules: [{from: [{source: {serviceAccounts: [shop/cert-manager.io]}}]}]}`)
		w.Mesh.Version = r.version
		if got := verdictOf(New(w).Pass(Probe{Layer: Authorization, Call: call(t, `{From: shop/`+r.account+`}`)})); got != r.want {
			t.Errorf("%s in %s: got %s, want %s", r.account, r.version, got, r.want)
		}
	}
	before, after := world(t, `AP a {rules: [{from: [{source: {principals: ["*/ns/shop/sa/cert-manager.io"]}}]}]}`), world(t, `AP a {rules: [{from: [{source: {serviceAccounts: [shop/cert-manager.io]}}]}]}`)
	before.Mesh.Version, after.Mesh.Version = "1.27.8", "1.27.8"
	if got, want := says(Compare(New(before), New(after)).Opens), "calls of shop/cert-managerzio to every workload"; got != want {
		t.Errorf("opens %s, want %s", got, want)
	}
}

// By a trust domain of the mesh's all of them are meant, and cluster.local is no
// other name for them here (pilot, trustdomain, ExpandTrustDomainAliases).
func TestTrustDomainsOfTheMesh(t *testing.T) {
	for _, r := range []struct{ names, caller, want string }{
		{"corp.example", "corp.example", "yes a"}, {"corp.example", "old.example", "yes a"}, {"old.example", "corp.example", "yes a"},
		{"corp.example", "other.example", "no a"}, {"cluster.local", "corp.example", "no a"}, {"other.example", "other.example", "yes a"},
	} {
		w := world(t, `AP a {rules: [{from: [{source: {trustDomains: [`+r.names+`]}}]}]}`)
		w.Mesh.TrustDomain, w.Mesh.TrustDomainAliases = "corp.example", []string{"old.example"}
		if got := verdictOf(New(w).Pass(Probe{Layer: Authorization, Call: Call{From: Caller{TrustDomain: r.caller, Namespace: "n", ServiceAccount: "a"}}})); got != r.want {
			t.Errorf("%s of %s: got %s, want %s", r.names, r.caller, got, r.want)
		}
	}
}

func TestAuthorizationIsUnknownWithoutTheRoot(t *testing.T) {
	w := world(t, ``)
	w.Partial = true
	if got := verdictOf(New(w).Pass(Probe{Layer: Authorization})); got != "unknown" {
		t.Error(got)
	}
	w = world(t, `AP d {}`)
	w.Partial = true
	if got := verdictOf(New(w).Pass(Probe{Layer: Authorization})); got != "no d" {
		t.Error(got)
	}
}

func TestNetworkPolicy(t *testing.T) {
	for _, r := range []struct{ says, objects, probe, want string }{
		{"pods that nothing selects are open", `NP n {podSelector: {matchLabels: {app: a}}}`, `{Layer: NetworkIn, Call: {To: {app: b}}}`, "yes"},
		{"a policy isolates what it selects", `NP n {podSelector: {matchLabels: {app: a}}}`, `{Layer: NetworkIn, Call: {To: {app: a}}}`, "no n"},
		{"without types it is for ingress", `NP n {podSelector: {}}`, `{Layer: NetworkOut}`, "yes"},
		{"and for egress where it has such rules", `NP n {podSelector: {}, egress: [{ports: [{port: 1}]}]}`, `{Layer: NetworkOut, Exit: {Port: 2}}`, "no n"},
		{"an empty rule lets everything through", `NP n {podSelector: {}, ingress: [{}]}`, `{Layer: NetworkIn}`, "yes n"},
		{"policies add up", "NP m {podSelector: {}}\nNP n {podSelector: {}, ingress: [{ports: [{port: 80}]}]}", `{Layer: NetworkIn, Call: {Port: 80}}`, "yes n"},
		{"expressions select", `NP n {podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [a]}]}}`, `{Layer: NetworkIn, Call: {To: {app: a}}}`, "yes"},
		{"a podSelector alone is of the own namespace", `NP n {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {x: z}}}]}]}`, `{Layer: NetworkIn, Call: {From: {Pod: {Namespace: pay, Labels: {x: z}}}}}`, "yes n"},
		{"and of no other", `NP n {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {x: z}}}]}]}`, `{Layer: NetworkIn, Call: {From: {Pod: {Namespace: shop, Labels: {x: z}}}}}`, "no n"},
		{"both selectors have to match", `NP n {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {x: z}}, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}]}`, `{Layer: NetworkIn, Call: {From: {Pod: {Namespace: shop}}}}`, "no n"},
		{"a namespace is known by its name", `NP n {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}]}`, `{Layer: NetworkIn, Call: {From: {Pod: {Namespace: shop}}}}`, "yes n"},
		{"an empty namespaceSelector is every pod", `NP n {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}`, `{Layer: NetworkIn, Call: {From: {Pod: {Namespace: shop}}}}`, "yes n"},
		{"and nothing outside of the cluster", `NP n {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}`, `{Layer: NetworkIn, Call: {From: {Address: 1.1.1.1}}}`, "no n"},
		{"a block matches addresses", `NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}`, `{Layer: NetworkOut, Exit: {Address: 10.1.1.1}}`, "yes n"},
		{"but for its exceptions", `NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]}`, `{Layer: NetworkOut, Exit: {Address: 10.1.1.1}}`, "no n"},
		{"a port is TCP", `NP n {podSelector: {}, ingress: [{ports: [{port: 80}]}]}`, `{Layer: NetworkIn, Call: {Port: 80, Protocol: UDP}}`, "no n"},
		{"unless it says so", `NP n {podSelector: {}, ingress: [{ports: [{port: 80, protocol: UDP}]}]}`, `{Layer: NetworkIn, Call: {Port: 80, Protocol: UDP}}`, "yes n"},
		{"endPort ends a range", `NP n {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}]}`, `{Layer: NetworkIn, Call: {Port: 90}}`, "yes n"},
		{"and nothing beyond", `NP n {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}]}`, `{Layer: NetworkIn, Call: {Port: 91}}`, "no n"},
		{"a named port is the container's", `NP n {podSelector: {}, ingress: [{ports: [{port: http}]}]}`, `{Layer: NetworkIn, Call: {To: {app: a}, Port: 8080}}`, "yes n"},
		{"and no other", `NP n {podSelector: {}, ingress: [{ports: [{port: http}]}]}`, `{Layer: NetworkIn, Call: {To: {app: a}, Port: 8081}}`, "no n"},
		{"another namespace's policy has no force", `NP other/n {podSelector: {}}`, `{Layer: NetworkIn}`, "yes"},
	} {
		t.Run(r.says, func(t *testing.T) {
			w := world(t, r.objects)
			w.Pods = []facts.Pod{{Name: "a", Labels: map[string]string{"app": "a"}, Ports: []facts.ContainerPort{{Name: "http", Number: 8080}}}}
			var p Probe
			if err := yaml.UnmarshalStrict([]byte(r.probe), &p); err != nil {
				t.Fatal(err)
			}
			if got := verdictOf(New(w).Pass(p)); got != r.want {
				t.Errorf("got %s, want %s", got, r.want)
			}
		})
	}
}

func TestProxyOut(t *testing.T) {
	const closed = `SC s {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: [./*]}]}`
	const entry = `SE e {hosts: [api.example], exportTo: ["."], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]}`
	for _, r := range []struct{ says, objects, exit, want string }{
		{"the mesh's default lets out", ``, `{Host: x.example, Port: 443}`, "yes"},
		{"REGISTRY_ONLY stops what is not registered", closed, `{Host: x.example, Port: 443}`, "no s"},
		{"a connection around the proxy is not stopped", closed, `{Host: x.example, Port: 443, Direct: true}`, "yes"},
		{"an empty policy is REGISTRY_ONLY", `SC s {outboundTrafficPolicy: {}, egress: [{hosts: [./*]}]}`, `{Host: x.example}`, "no s"},
		{"ALLOW_ANY lets out", `SC s {outboundTrafficPolicy: {mode: ALLOW_ANY}, egress: [{hosts: [./*]}]}`, `{Host: x.example}`, "yes s"},
		{"a Sidecar without a policy leaves it to the mesh", `SC s {egress: [{hosts: [./*]}]}`, `{Host: x.example}`, "yes s"},
		{"a registered host passes", closed + "\n" + entry, `{Host: api.example, Port: 443}`, "yes e"},
		{"not on another port", closed + "\n" + entry, `{Host: api.example, Port: 80}`, "no s"},
		{"not where it is not imported", `SC s {outboundTrafficPolicy: {}, egress: [{hosts: [other/*]}]}` + "\n" + entry, `{Host: api.example, Port: 443}`, "no s"},
		{"an import may be of one host", `SC s {outboundTrafficPolicy: {}, egress: [{hosts: [./api.example]}]}` + "\n" + entry, `{Host: api.example, Port: 443}`, "yes e"},
		{"an import may be a wildcard", `SC s {outboundTrafficPolicy: {}, egress: [{hosts: ["*/*.example"]}]}` + "\n" + entry, `{Host: api.example, Port: 443}`, "yes e"},
		{"an import of nothing", `SC s {outboundTrafficPolicy: {}, egress: [{hosts: ["~/*"]}]}` + "\n" + entry, `{Host: api.example, Port: 443}`, "no s"},
		{"an import may be for one port", `SC s {outboundTrafficPolicy: {}, egress: [{port: {number: 80, protocol: HTTP, name: h}, hosts: [./*]}]}` + "\n" + entry, `{Host: api.example, Port: 443}`, "no s"},
		{"no egress imports everything", `SC s {outboundTrafficPolicy: {}}` + "\n" + entry, `{Host: api.example, Port: 443}`, "yes e"},
		{"services of imported namespaces pass", `SC s {outboundTrafficPolicy: {}, egress: [{hosts: [shop/*]}]}`, `{Host: cart.shop.svc.cluster.local}`, "yes s"},
		{"services of others do not", `SC s {outboundTrafficPolicy: {}, egress: [{hosts: [shop/*]}]}`, `{Host: cart.bank.svc.cluster.local}`, "no s"},
		{"a workload's Sidecar goes before the namespace's", closed + "\nSC w {workloadSelector: {labels: {app: a}}, outboundTrafficPolicy: {mode: ALLOW_ANY}}", `{From: {app: a}, Host: x.example}`, "yes w"},
		{"a namespace's before the root namespace's", closed + "\nSC istio-system/r {outboundTrafficPolicy: {mode: ALLOW_ANY}}", `{Host: x.example}`, "no s"},
		{"the root namespace's is the default", `SC istio-system/r {outboundTrafficPolicy: {}}`, `{Host: x.example}`, "no r"},
		{"but not one with a selector", `SC istio-system/r {workloadSelector: {labels: {app: a}}, outboundTrafficPolicy: {}}`, `{From: {app: a}, Host: x.example}`, "yes"},
		{"the oldest of a namespace wins", "SC a@1 {outboundTrafficPolicy: {}}\nSC b@2 {outboundTrafficPolicy: {mode: ALLOW_ANY}}", `{Host: x.example}`, "yes b"},
		{"an entry of another namespace that is exported", `SC s {outboundTrafficPolicy: {}}` + "\n" + `SE shop/e {hosts: [api.example], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "yes e"},
		{"one that is not", `SC s {outboundTrafficPolicy: {}}` + "\n" + `SE shop/e {hosts: [api.example], exportTo: ["."], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "no s"},
		{"one that is exported by name", `SC s {outboundTrafficPolicy: {}}` + "\n" + `SE shop/e {hosts: [api.example], exportTo: [pay], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "yes e"},
		{"a wildcard host", closed + "\n" + `SE e {hosts: ["*.example"], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "yes e"},
		{"addresses by TCP", closed + "\n" + `SE e {hosts: [x.invalid], addresses: [10.0.0.0/8], resolution: NONE, ports: [{number: 5432, name: t, protocol: TCP}]}`, `{Address: 10.1.1.1, Port: 5432}`, "yes e"},
		{"and none outside of them", closed + "\n" + `SE e {hosts: [x.invalid], addresses: [10.0.0.0/8], resolution: NONE, ports: [{number: 5432, name: t, protocol: TCP}]}`, `{Address: 11.1.1.1, Port: 5432}`, "no s"},
		{"TCP without addresses takes everything on its port", closed + "\n" + `SE e {hosts: [x.invalid], resolution: NONE, ports: [{number: 5432, name: t, protocol: TCP}]}`, `{Address: 11.1.1.1, Port: 5432}`, "yes e"},
		{"entries alike of one host add up", closed + "\n" + `SE d@2 {hosts: [api.example], ports: [{number: 80, name: h, protocol: HTTP}]}` + "\n" + `SE e@1 {hosts: [api.example], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "yes e"},
		{"of those that are not, the oldest counts", closed + "\n" + `SE d@2 {hosts: [api.example], resolution: DNS, ports: [{number: 80, name: h, protocol: HTTP}]}` + "\n" + `SE e@1 {hosts: [api.example], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "no d"},
		{"and the others open nothing", closed + "\n" + `SE d@2 {hosts: [api.example], resolution: DNS, ports: [{number: 80, name: h, protocol: HTTP}]}` + "\n" + `SE e@1 x.istio.io/y=z {hosts: [api.example], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "no d"},
		{"of the same second it may be any", closed + "\n" + `SE d@2 {hosts: [api.example], resolution: DNS, ports: [{number: 80, name: h, protocol: HTTP}]}` + "\n" + `SE e@2 {hosts: [api.example], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "unknown e"},
		{"but one of its own namespace before an older one", closed + "\n" + `SE shop/d@2 {hosts: [api.example], ports: [{number: 80, name: h, protocol: HTTP}]}` + "\n" + `SE e@1 {hosts: [api.example], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "yes e"},
		{"names in the certificate are checked", closed + "\n" + `SE e {hosts: [api.example], subjectAltNames: [b.example], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Host: api.example, Port: 443}`, "no e"},
		{"another namespace gets what is exported", `SE e {hosts: [api.example], ports: [{number: 443, name: t, protocol: TLS}]}`, `{Namespace: shop, Host: api.example, Port: 443}`, "yes e"},
		{"and not what is not", entry, `{Namespace: shop, Host: api.example, Port: 443}`, "no"},
	} {
		t.Run(r.says, func(t *testing.T) {
			var x Exit
			if err := yaml.UnmarshalStrict([]byte(r.exit), &x); err != nil {
				t.Fatal(err)
			}
			if got := verdictOf(New(world(t, r.objects)).Pass(Probe{Layer: ProxyOut, Exit: x})); got != r.want {
				t.Errorf("got %s, want %s", got, r.want)
			}
		})
	}
	t.Run("the mesh configuration may not be known", func(t *testing.T) {
		w := world(t, ``)
		w.Mesh.RegistryOnly = facts.Unknown
		if got := verdictOf(New(w).Leaves(Exit{Host: "x.example"})); got != "unknown" {
			t.Error(got)
		}
		w.Mesh.RegistryOnly = facts.Yes
		if got := verdictOf(New(w).Leaves(Exit{Host: "x.example"})); got != "no" {
			t.Error(got)
		}
	})
}

func TestClientTransport(t *testing.T) {
	const host = `{Host: cart.shop.svc.cluster.local, Port: 80}`
	for _, r := range []struct{ says, objects, exit, want string }{
		{"without a rule mutual TLS is used", ``, host, "no"},
		{"DISABLE is plaintext", `DR d {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}`, host, "yes d"},
		{"SIMPLE is not the mesh's", `DR d {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: SIMPLE}}}`, host, "yes d"},
		{"ISTIO_MUTUAL is", `DR d {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}`, host, "no d"},
		{"no tls is the mesh's default", `DR d {host: cart.shop.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: RANDOM}}}`, host, "no d"},
		{"a port replaces the rest", `DR d {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}}`, host, "yes d"},
		{"another port does not", `DR d {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 81}, tls: {mode: DISABLE}}]}}`, host, "no d"},
		{"who goes to a subset is not known", `DR d {host: cart.shop.svc.cluster.local, subsets: [{name: s, trafficPolicy: {tls: {mode: DISABLE}}}]}`, host, "unknown d"},
		{"wildcards match", `DR d {host: "*.svc.cluster.local", trafficPolicy: {tls: {mode: DISABLE}}}`, host, "yes d"},
		{"the longer host wins", "DR a {host: \"*.svc.cluster.local\", trafficPolicy: {tls: {mode: DISABLE}}}\nDR d {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}", host, "no d"},
		{"the client's namespace goes before the service's", "DR a {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}\nDR shop/d {host: cart, trafficPolicy: {tls: {mode: DISABLE}}}", host, "no a"},
		{"the service's namespace goes before the root", "DR istio-system/a {host: \"*.local\", trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}\nDR shop/d {host: cart, trafficPolicy: {tls: {mode: DISABLE}}}", host, "yes d"},
		{"the root namespace's is the default", "DR istio-system/a {host: \"*.local\", trafficPolicy: {tls: {mode: DISABLE}}}", host, "yes a"},
		{"a namespace that is none of them has no say", "DR bank/a {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}", host, "no"},
		{"what is not exported has no force", `DR shop/d {host: cart, exportTo: ["."], trafficPolicy: {tls: {mode: DISABLE}}}`, host, "no"},
		{"a workload's own goes first", "DR a {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}\nDR d {host: cart.shop.svc.cluster.local, workloadSelector: {matchLabels: {app: a}}, trafficPolicy: {tls: {mode: DISABLE}}}", `{From: {app: a}, Host: cart.shop.svc.cluster.local}`, "yes d"},
		{"another workload's does not", "DR d {host: cart.shop.svc.cluster.local, workloadSelector: {matchLabels: {app: a}}, trafficPolicy: {tls: {mode: DISABLE}}}", `{From: {app: b}, Host: cart.shop.svc.cluster.local}`, "no"},
		{"hosts outside of the mesh have no mutual TLS to lose", `DR d {host: api.example, trafficPolicy: {tls: {mode: DISABLE}}}`, `{Host: api.example}`, "no"},
	} {
		t.Run(r.says, func(t *testing.T) {
			var x Exit
			if err := yaml.UnmarshalStrict([]byte(r.exit), &x); err != nil {
				t.Fatal(err)
			}
			if got := verdictOf(New(world(t, r.objects)).Pass(Probe{Layer: ClientTransport, Exit: x})); got != r.want {
				t.Errorf("got %s, want %s", got, r.want)
			}
		})
	}
}

func TestUnlogged(t *testing.T) {
	for _, r := range []struct{ says, objects, want string }{
		{"without Telemetry the mesh's provider logs", ``, "no"},
		{"everything is logged", `TE t {accessLogging: [{providers: [{name: envoy}]}]}`, "no t"},
		{"nothing is logged", `TE t {accessLogging: [{disabled: true}]}`, "yes t"},
		{"a filter that is not ours is not understood", `TE t {accessLogging: [{filter: {expression: "response.code > 500"}}]}`, "unknown t"},
		{"the outgoing side says nothing of denied calls", `TE t {accessLogging: [{match: {mode: CLIENT}, disabled: true}]}`, "no"},
		{"one entry that logs is enough", `TE t {accessLogging: [{disabled: true}, {providers: [{name: other}]}]}`, "no t"},
		{"an entry that does not log, after one that does, may be for the same provider", `TE t {accessLogging: [{providers: [{name: other}]}, {disabled: true}]}`, "unknown t"},
		{"two entries that do not log", `TE t {accessLogging: [{disabled: true}, {disabled: true}]}`, "yes t"},
		{"a workload's goes before the namespace's", "TE a {accessLogging: [{}]}\nTE t {selector: {matchLabels: {app: a}}, accessLogging: [{disabled: true}]}", "yes t"},
		{"the namespace's before the root namespace's", "TE istio-system/a {accessLogging: [{disabled: true}]}\nTE t {accessLogging: [{}]}", "no t"},
		{"the root namespace's is the default", "TE istio-system/a {accessLogging: [{disabled: true}]}", "yes a"},
		{"the oldest wins", "TE a@1 {accessLogging: [{disabled: true}]}\nTE b@2 {accessLogging: [{}]}", "no b"},
		{"a provider that is not defined hides the default one", `TE t {accessLogging: [{providers: [{name: nowhere}]}]}`, "unknown t"},
		{"one without access logging has no say", "TE a@2 {tracing: [{}]}\nTE b@1 {accessLogging: [{}]}", "no b"},
	} {
		t.Run(r.says, func(t *testing.T) {
			w := world(t, r.objects)
			w.Mesh.AccessLogProviders, w.Mesh.Providers = []string{"envoy"}, []string{"other"}
			if got := verdictOf(New(w).Pass(Probe{Layer: Unlogged, Call: Call{To: Labels{"app": "a"}}})); got != r.want {
				t.Errorf("got %s, want %s", got, r.want)
			}
		})
	}
}

func TestUnloggedWithoutADefaultProvider(t *testing.T) {
	for _, r := range []struct {
		says, objects string
		log           facts.Tristate
		want          string
	}{
		{"without Telemetry it depends on the mesh", ``, facts.No, "unknown"},
		{"an entry for no provider logs nothing", `TE t {accessLogging: [{}]}`, facts.No, "yes t"},
		{"nor does it by what it filters", `TE t {accessLogging: [{filter: {expression: x}}]}`, facts.No, "yes t"},
		{"nor one for a provider that is not defined", `TE t {accessLogging: [{providers: [{name: nowhere}]}]}`, facts.No, "yes t"},
		{"which a workload inherits", "TE n {accessLogging: [{providers: [{name: nowhere}]}]}\nTE t {selector: {matchLabels: {app: a}}, accessLogging: [{}]}", facts.No, "yes t"},
		{"the mesh's own log may take its place", `TE t {accessLogging: [{}]}`, facts.Yes, "unknown t"},
		{"also of one that is to log nothing", `TE t {accessLogging: [{disabled: true}]}`, facts.Yes, "unknown t"},
		{"a named provider needs no default", `TE t {accessLogging: [{providers: [{name: envoy}]}]}`, facts.No, "no t"},
		{"one that the namespace inherits neither", "TE istio-system/r {accessLogging: [{providers: [{name: envoy}]}]}\nTE t {accessLogging: [{disabled: true}]}", facts.No, "yes t"},
		{"nor a workload that inherits", "TE n {accessLogging: [{providers: [{name: envoy}]}]}\nTE t {selector: {matchLabels: {app: a}}, accessLogging: [{}]}", facts.No, "no t"},
		{"of a level the oldest names it alone", "TE istio-system/a@2 {accessLogging: [{}]}\nTE istio-system/r@1 {accessLogging: [{providers: [{name: envoy}]}]}\nTE t {accessLogging: [{}]}", facts.No, "yes t"},
	} {
		t.Run(r.says, func(t *testing.T) {
			w := world(t, r.objects)
			w.Mesh.AccessLog = r.log
			if got := verdictOf(New(w).Pass(Probe{Layer: Unlogged, Call: Call{To: Labels{"app": "a"}}})); got != r.want {
				t.Errorf("got %s, want %s", got, r.want)
			}
		})
	}
}

func TestAdmits(t *testing.T) {
	const allow = `AP a {rules: [{from: [{source: {namespaces: [shop]}}]}]}`
	for _, r := range []struct{ says, objects, call, want string }{
		{"a call that every layer lets in", allow, `{From: shop/cart}`, "yes a"},
		{"plaintext stops at STRICT", `PA p {mtls: {mode: STRICT}}`, `{}`, "no p"},
		{"an identity passes STRICT", "PA p {mtls: {mode: STRICT}}\n" + allow, `{From: shop/cart}`, "yes a"},
		{"at DISABLE an identity is not seen", "PA p {mtls: {mode: DISABLE}}\n" + allow, `{From: shop/cart}`, "no a"},
		{"the network goes first", "NP n {podSelector: {}}\n" + allow, `{From: shop/cart}`, "no n"},
		{"authorization goes last", allow, `{From: bank/cart}`, "no a"},
	} {
		t.Run(r.says, func(t *testing.T) {
			if got := verdictOf(New(world(t, r.objects)).Admits(call(t, r.call))); got != r.want {
				t.Errorf("got %s, want %s", got, r.want)
			}
		})
	}
}

func TestLeaves(t *testing.T) {
	m := New(world(t, "SC s {outboundTrafficPolicy: {}}\nNP n {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}\nSE e {hosts: [a.example], ports: [{number: 443, name: t, protocol: TLS}, {number: 80, name: h, protocol: HTTP}]}"))
	for want, x := range map[string]Exit{
		"yes e n": {Host: "a.example", Port: 443},
		"no n":    {Host: "a.example", Port: 80},
		"no s":    {Host: "b.example", Port: 443},
		"yes n":   {Host: "b.example", Port: 443, Direct: true},
	} {
		if got := verdictOf(m.Leaves(x)); got != want {
			t.Errorf("%+v: got %s, want %s", x, got, want)
		}
	}
}

// The protocol that a Service declares decides whether requests are read.
func TestWhatPortsSpeak(t *testing.T) {
	w := world(t, `AP a {selector: {matchLabels: {app: a}}, rules: [{to: [{operation: {ports: ["80", "81", "82"], methods: [GET]}}]}]}`)
	w.Services = map[types.NamespacedName]facts.Service{{Namespace: "pay", Name: "a"}: {Namespace: "pay", Name: "a", Selector: map[string]string{"app": "a"}, Ports: []facts.ServicePort{
		{Name: "http-x", Protocol: "TCP", Port: 1, Target: portNumber(80)}, {Name: "tcp-x", Protocol: "TCP", Port: 2, Target: portNumber(81)},
	}}}
	probes, complete := Probes(1000, New(w))
	if !complete {
		t.Error("cut")
	}
	found := map[string]bool{}
	for _, p := range probes {
		if p.Layer == Authorization && p.Call.To["app"] == "a" {
			found[strings.TrimSpace(map[bool]string{true: "http ", false: "tcp "}[p.Call.HTTP]+portText(p.Call.Port))] = true
		}
	}
	for _, want := range []string{"http 80", "tcp 81", "http 82", "tcp 82"} {
		if !found[want] {
			t.Errorf("no probe for %s", want)
		}
	}
	for _, not := range []string{"tcp 80", "http 81"} {
		if found[not] {
			t.Errorf("a probe for %s", not)
		}
	}
}
