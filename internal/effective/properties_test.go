package effective

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func portNumber(n int) intstr.IntOrString { return intstr.FromInt(n) }
func portText(n int32) string             { return strconv.Itoa(int(n)) }

// parts from which random worlds are made; %s is a selector.
var parts = []string{
	`PA %s {SEL mtls: {mode: STRICT}}`, `PA %s {SEL mtls: {mode: PERMISSIVE}}`, `PA %s {SEL mtls: {mode: DISABLE}}`,
	`PA %s {selector: {matchLabels: {app: a}}, portLevelMtls: {"80": {mode: DISABLE}}}`,
	`AP %s {SEL}`, `AP %s {SEL rules: [{}]}`, `AP %s !istio.io/dry-run=true {SEL}`,
	`AP %s {SEL rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {ports: ["80"], paths: ["/a*"]}}]}]}`,
	`AP %s {SEL rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}`,
	`AP %s {SEL rules: [{from: [{source: {requestPrincipals: ["i/*"]}}], when: [{key: "request.auth.claims[g]", values: [x]}]}]}`,
	`AP %s {SEL action: DENY, rules: [{from: [{source: {notNamespaces: [shop]}}], to: [{operation: {methods: [GET]}}]}]}`,
	`AP %s {SEL action: DENY, rules: [{to: [{operation: {ports: ["80"]}}]}]}`,
	`AP %s {SEL action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {paths: [/b]}}]}]}`,
	`RA %s {SEL jwtRules: [{issuer: i, audiences: [p]}]}`,
	`SC %s {WSEL outboundTrafficPolicy: {}, egress: [{hosts: [./*, shop/*]}]}`, `SC %s {WSEL egress: [{hosts: ["*/*"]}]}`,
	`SE %s {hosts: [a.example], exportTo: ["."], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]}`,
	`SE %s {hosts: ["*.example"], subjectAltNames: [x], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]}`,
	`DR %s {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}`, `DR %s {host: "*.svc.cluster.local", trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}`,
	`NP %s {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}`, `NP %s {podSelector: {matchLabels: {app: a}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]}`,
	`NP %s {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}`,
	`TE %s {SEL accessLogging: [{disabled: true}]}`, `TE %s {SEL accessLogging: [{}]}`, `TE %s {accessLogging: [{filter: {expression: odd}}]}`,
}

func drawWorld(tb testing.TB, t *rapid.T) World {
	tb.Helper()
	n := rapid.IntRange(0, 6).Draw(t, "objects")
	var lines []string
	for i := range n {
		line := rapid.SampledFrom(parts).Draw(t, "part")
		sel := rapid.SampledFrom([]string{"", "app: a", "app: b", "tier: x"}).Draw(t, "selector")
		matching, labels := "", ""
		if sel != "" {
			matching, labels = "selector: {matchLabels: {"+sel+"}},", "workloadSelector: {labels: {"+sel+"}},"
		}
		line = strings.NewReplacer("WSEL", labels, "SEL", matching).Replace(line)
		lines = append(lines, fmt.Sprintf(line, fmt.Sprintf("o%d@%d", i, rapid.IntRange(1, 3).Draw(t, "age"))))
	}
	w := world(tb, strings.Join(lines, "\n"))
	w.Partial = rapid.Bool().Draw(t, "partial")
	return w
}

func TestAWorldDoesNotDifferFromItself(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(t, rt)
		again := w
		again.Objects = nil
		for _, o := range w.Objects {
			c, _ := o.DeepCopyObject().(facts.Object)
			again.Objects = append(again.Objects, c)
		}
		if c := Compare(New(w), New(again)); len(c.Opens)+len(c.Shuts)+len(c.Unknown) > 0 {
			rt.Fatalf("%+v", c)
		}
	})
}

func TestWhatOpensOneWayShutsTheOther(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawWorld(t, rt), drawWorld(t, rt)
		b.Partial = a.Partial
		there, back := Compare(New(a), New(b)), Compare(New(b), New(a))
		if x, y := says(there.Opens), says(back.Shuts); x != y {
			rt.Fatalf("opens\n%s\nshuts\n%s", x, y)
		}
		if x, y := says(there.Shuts), says(back.Opens); x != y {
			rt.Fatalf("shuts\n%s\nopens\n%s", x, y)
		}
		if !slices.Equal(there.Unknown, back.Unknown) {
			rt.Fatalf("%v, %v", there.Unknown, back.Unknown)
		}
	})
}

// What a comparison finds is what the probes find, each tried by itself.
func TestComparisonsAndProbesAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawWorld(t, rt), drawWorld(t, rt)
		b.Partial = a.Partial
		before, after := New(a), New(b)
		probes, complete := Probes(200000, before, after)
		if !complete {
			rt.Fatal("cut")
		}
		opens, shuts := map[Layer]bool{}, map[Layer]bool{}
		for _, p := range probes {
			was, is := before.Pass(p), after.Pass(p)
			rank := func(x Answer) int {
				switch {
				case x.Unknown:
					return 1
				case x.Passes:
					return 2
				}
				return 0
			}
			opens[p.Layer] = opens[p.Layer] || rank(was) < rank(is)
			shuts[p.Layer] = shuts[p.Layer] || rank(was) > rank(is)
		}
		c := Compare(before, after)
		for _, d := range c.Opens {
			if !opens[d.Probe.Layer] {
				rt.Fatalf("no probe shows that %s", d.What)
			}
			if was, is := before.Pass(d.Probe), after.Pass(d.Probe); !is.Passes || (was.Passes && !was.Unknown) {
				rt.Fatalf("%s: %+v, %+v", d.What, was, is)
			}
		}
		for _, l := range layers {
			has := func(ds []Difference) bool {
				return slices.ContainsFunc(ds, func(d Difference) bool { return d.Probe.Layer == l })
			}
			if (opens[l] && !has(c.Opens) && len(c.Opens) < maxDifferences) || (shuts[l] && !has(c.Shuts) && len(c.Shuts) < maxDifferences) {
				rt.Fatalf("%s: the comparison finds nothing", l)
			}
		}
	})
}

// Whatever somebody might send, if it fares better or worse in one of the
// worlds, then the comparison finds something.
func TestNothingIsMissed(t *testing.T) {
	one := func(rt *rapid.T, name string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, name) }
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawWorld(t, rt), drawWorld(t, rt)
		b.Partial = a.Partial
		before, after := New(a), New(b)
		c := Compare(before, after)
		to := labelsOf(one(rt, "to", "", "app=a", "app=b", "tier=x", "app=a,tier=x", "app=b,tier=x", "q=r"))
		for range 20 {
			p := Probe{Layer: rapid.SampledFrom(layers).Draw(rt, "layer")}
			p.Call = Call{To: to, Port: int32(rapid.SampledFrom([]int{80, 81, 443}).Draw(rt, "port")), HTTP: rapid.Bool().Draw(rt, "http"),
				Method: one(rt, "method", "GET", "PUT"), Path: one(rt, "path", "/", "/a", "/ab", "/b"), Host: "h"}
			p.Call.From = Caller{TrustDomain: one(rt, "domain", "cluster.local", "td"), Namespace: one(rt, "ns", "shop", "pay", "q"), ServiceAccount: one(rt, "sa", "", "cart", "q")}
			p.Call.From.Address = one(rt, "address", "", "10.0.0.9", "10.1.0.9", "9.9.9.9")
			p.Call.From.Pod.Namespace = one(rt, "pod", "", "pay", "shop")
			if rapid.Bool().Draw(rt, "token") {
				p.Call.Token = &Token{Issuer: one(rt, "issuer", "i", "j"), Subject: "s", Audiences: []string{one(rt, "audience", "p", "q")}, Claims: map[string][]string{"g": {one(rt, "claim", "x", "q")}}}
				p.Call.Token.Keys = p.Call.Token.Issuer
			}
			p.Exit = Exit{From: to, Host: one(rt, "host", "a.example", "b.example", "q.test", "cart.shop.svc.cluster.local", "q.pay.svc.cluster.local"), Port: p.Call.Port,
				Namespace: one(rt, "start", "", "shop"), Presents: one(rt, "presents", "", "x", "q"), Address: p.Call.From.Address}
			was, is := before.pass(&p), after.pass(&p)
			has := func(ds []Difference) bool {
				return slices.ContainsFunc(ds, func(d Difference) bool { return d.Probe.Layer == p.Layer })
			}
			if (was.state < is.state && !has(c.Opens)) || (was.state > is.state && !has(c.Shuts)) {
				rt.Fatalf("%+v passes %v before and %v after\nopens %s\nshuts %s", p, was, is, says(c.Opens), says(c.Shuts))
			}
		}
	})
}

func TestADenyNeverOpens(t *testing.T) {
	denies := []string{
		`AP new {action: DENY, rules: [{}]}`, `AP new {action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]}`,
		`AP new {selector: {matchLabels: {app: a}}, action: DENY, rules: [{to: [{operation: {paths: ["/a*"]}}]}]}`, `AP new {}`,
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(t, rt)
		with := w
		with.Objects = append(slices.Clone(w.Objects), object(t, rapid.SampledFrom(denies).Draw(rt, "deny")))
		if c := Compare(New(w), New(with)); len(c.Opens) > 0 {
			rt.Fatal(says(c.Opens))
		}
	})
}

func TestAnAllowUnderDefaultDenyNeverShuts(t *testing.T) {
	allows := []string{
		`AP new {rules: [{}]}`, `AP new {rules: [{from: [{source: {namespaces: [shop]}}]}]}`,
		`AP new {selector: {matchLabels: {app: a}}, rules: [{to: [{operation: {paths: ["/a*"], ports: ["81"]}}]}]}`,
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(t, rt)
		w.Objects = append(w.Objects, object(t, `AP deny {}`))
		with := w
		with.Objects = append(slices.Clone(w.Objects), object(t, rapid.SampledFrom(allows).Draw(rt, "allow")))
		if c := Compare(New(w), New(with)); len(c.Shuts) > 0 {
			rt.Fatal(says(c.Shuts))
		}
	})
}

func TestOrderMakesNoDifference(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawWorld(t, rt), drawWorld(t, rt)
		b.Partial = a.Partial
		shuffled := func(w World) World {
			w.Objects = rapid.Permutation(w.Objects).Draw(rt, "order")
			return w
		}
		x, y := Compare(New(a), New(b)), Compare(New(shuffled(a)), New(shuffled(b)))
		if !slices.Equal(differenceTexts(x), differenceTexts(y)) {
			rt.Fatalf("%v\n%v", differenceTexts(x), differenceTexts(y))
		}
		p, _ := Probes(500, New(a), New(b))
		q, _ := Probes(500, New(shuffled(a)), New(shuffled(b)))
		if diff := cmp.Diff(p, q); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func differenceTexts(c Comparison) []string {
	var out []string
	for _, d := range append(slices.Clone(c.Opens), c.Shuts...) {
		raw, _ := json.Marshal(d)
		out = append(out, string(raw))
	}
	return append(out, fmt.Sprint(c.Unknown))
}
