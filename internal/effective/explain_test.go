package effective

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// pod reads a facts.Pod from YAML; "" is one of the mesh without labels.
func pod(t testing.TB, text string) facts.Pod {
	t.Helper()
	p := facts.Pod{Name: "p", Sidecar: true}
	if err := yaml.UnmarshalStrict([]byte("{"+text+"}"), &p); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

// whole is a test's world with everything known.
func whole(t testing.TB, lines string) World {
	t.Helper()
	w := world(t, lines)
	w.Mesh.Version, w.Mesh.PathNormalization, w.NetworkEnforced = "1.31.1", "BASE", facts.Yes
	return w
}

// told is OUTCOME LAYER NAMES, with what goes past and through.
func told(v Verdict) string {
	out := []string{string(v.Outcome)}
	if v.Layer != "" {
		out = append(out, string(v.Layer))
	}
	for _, r := range v.By {
		out = append(out, r.Name)
	}
	if v.Past != "" {
		out = append(out, "past")
	}
	for _, h := range v.Through {
		out = append(out, "through "+h)
	}
	return strings.Join(out, " ")
}

func TestExplain(t *testing.T) {
	const (
		strictly = `PA p {mtls: {mode: STRICT}}`
		shop     = `AP a {rules: [{from: [{source: {namespaces: [shop]}}]}]}`
		shut     = `NP n {podSelector: {}}`
	)
	for _, r := range []struct {
		says, objects, call, pod string
		world                    func(*World)
		want                     string
	}{
		{says: "nothing stops anything", call: `{Port: 80}`, want: "Allowed"},
		{says: "every layer names what lets it in", objects: strictly + "\n" + shop + "\nNP n {podSelector: {}, ingress: [{}]}", call: `{From: shop/cart}`, want: "Allowed n p a"},
		{says: "the network goes first", objects: shut + "\n" + strictly, call: `{}`, want: "Denied NetworkIn n"},
		{says: "transport goes before authorization", objects: strictly + "\nAP d {}", call: `{}`, want: "Denied Transport p"},
		{says: "an identity passes STRICT and not the default-deny", objects: strictly + "\nAP d {}", call: `{From: shop/cart}`, want: "Denied Authorization d"},
		{says: "port over workload over namespace", objects: "PA p {mtls: {mode: STRICT}}\nPA w {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {\"9100\": {mode: PERMISSIVE}}}", call: `{Port: 9100}`, pod: `Labels: {app: a}`, want: "Allowed w"},
		{says: "at DISABLE callers have no identity", objects: "PA p {mtls: {mode: DISABLE}}\n" + shop, call: `{From: shop/cart}`, want: "Denied Authorization a"},
		{says: "a namespace's DENY over a root ALLOW", objects: "AP istio-system/r {rules: [{}]}\nAP n {action: DENY, rules: [{}]}", call: `{}`, want: "Denied Authorization n"},
		{says: "a root ALLOW beside a namespace's default-deny", objects: "AP istio-system/r {rules: [{}]}\nAP d {}", call: `{}`, want: "Allowed r"},
		{says: "a token that nobody accepts, before an ALLOW", objects: "RA j {jwtRules: [{issuer: other}]}\nAP a {rules: [{}]}", call: `{HTTP: true, Token: {Issuer: i, Keys: i, Subject: s}}`, want: "Denied Authorization j"},
		{says: "CUSTOM is somebody else's answer", objects: `AP c {action: CUSTOM, provider: {name: x}, rules: [{}]}`, call: `{}`, want: "Unknown Authorization c"},
		{says: "and DENY denies whatever it is", objects: "AP c {action: CUSTOM, provider: {name: x}, rules: [{}]}\nAP n {action: DENY, rules: [{}]}", call: `{}`, want: "Denied Authorization n"},
		{says: "and so does no ALLOW", objects: "AP c {action: CUSTOM, provider: {name: x}, rules: [{}]}\nAP d {}", call: `{}`, want: "Denied Authorization d"},
		{says: "a CUSTOM does not undo STRICT", objects: strictly + "\nAP c {action: CUSTOM, provider: {name: x}, rules: [{}]}", call: `{}`, want: "Denied Transport p"},

		{says: "a pod without a proxy", objects: strictly + "\nAP d {}", call: `{}`, pod: `Sidecar: false`, want: "Allowed past"},
		{says: "is held by the network alone", objects: shut + "\nAP d {}", call: `{}`, pod: `Sidecar: false`, want: "Denied NetworkIn n past"},
		{says: "a pod on its node's network", objects: "AP d {}", call: `{}`, pod: `Sidecar: false, Bypass: [hostNetwork]`, want: "Allowed past"},
		{says: "may be out of the network's reach too", objects: shut, call: `{}`, pod: `Sidecar: false, Bypass: [hostNetwork]`, want: "Unknown NetworkIn n past"},
		{says: "an excluded port", objects: strictly + "\nAP d {}", call: `{Port: 9443}`, pod: `Uncaptured: [9443]`, want: "Allowed past"},
		{says: "another port of the same pod", objects: strictly + "\nAP d {}", call: `{Port: 80}`, pod: `Uncaptured: [9443]`, want: "Denied Transport p"},
		{says: "a port that is not included", objects: strictly, call: `{Port: 81}`, pod: `Capture: {SomeIn: true, InPorts: [80]}`, want: "Allowed past"},
		{says: "a port that is", objects: strictly, call: `{Port: 80}`, pod: `Capture: {SomeIn: true, InPorts: [80]}`, want: "Denied Transport p"},
		{says: "nothing is excluded of what is included", objects: strictly, call: `{Port: 80}`, pod: `Capture: {SomeIn: true, InPorts: [80]}, Uncaptured: [80]`, want: "Denied Transport p"},
		{says: "nothing is led through the proxy", objects: strictly, call: `{Port: 80}`, pod: `Capture: {None: true}`, want: "Allowed past"},
		{says: "the proxy's own ports", objects: strictly + "\nAP d {}", call: `{Port: 15020}`, want: "Allowed past"},
		{says: "UDP", objects: strictly + "\nAP d {}", call: `{Port: 80, Protocol: UDP}`, want: "Allowed past"},
		{says: "interfaces left out", objects: strictly, call: `{}`, pod: `Capture: {Interfaces: true}`, want: "Unknown Capture p"},
		{says: "which makes no difference to what is let in", objects: `PA p {mtls: {mode: PERMISSIVE}}`, call: `{}`, pod: `Capture: {Interfaces: true}`, want: "Allowed p"},
		{says: "ztunnel is not modelled", objects: strictly, call: `{}`, pod: `Sidecar: false, Ambient: true`, want: "Unknown Capture p"},
		{says: "nor is a gateway", objects: strictly, call: `{}`, pod: `Gateway: true`, want: "Unknown Capture p"},
		{says: "on its node's network a proxy captures nothing", objects: strictly, call: `{}`, pod: `Bypass: [hostNetwork]`, want: "Allowed past"},
		{says: "but the network is", objects: shut, call: `{}`, pod: `Sidecar: false, Ambient: true`, want: "Denied NetworkIn n"},

		{says: "a network that does not enforce", objects: shut, call: `{}`, world: func(w *World) { w.NetworkEnforced = facts.No }, want: "Allowed n"},
		{says: "a network of which it is not known", objects: shut, call: `{}`, world: func(w *World) { w.NetworkEnforced = facts.Unknown }, want: "Unknown NetworkIn n"},
		{says: "behind which the mesh denies", objects: shut + "\n" + strictly, call: `{}`, world: func(w *World) { w.NetworkEnforced = facts.Unknown }, want: "Denied Transport p"},
		{says: "an EnvoyFilter", objects: strictly, call: `{}`, world: func(w *World) {
			w.Influences = []facts.Influence{{Kind: "EnvoyFilter", Namespace: "pay", Name: "f", Areas: []v1alpha1.Area{v1alpha1.AreaMutualTLS, v1alpha1.AreaAuthorization}}}
		}, want: "Unknown Transport p f"},
		{says: "an EnvoyFilter among the objects", objects: "AP d {}\nEF f {}", call: `{}`, want: "Unknown Transport f"},
		{says: "no control plane was seen", objects: strictly, call: `{}`, world: func(w *World) { w.Mesh.Observed = false }, want: "Unknown Transport p"},
		{says: "Linkerd", objects: strictly, call: `{}`, world: func(w *World) { w.Mesh.Provider = v1alpha1.ProviderLinkerd }, want: "Unknown Capture p"},
		{says: "a listener of a Sidecar", objects: strictly + "\nSC s {ingress: [{port: {number: 80, protocol: HTTP, name: h}, defaultEndpoint: \"127.0.0.1:8080\"}]}", call: `{Port: 80}`, want: "Unknown Transport p s"},

		{says: "the root namespace was not looked at: a DENY holds", objects: "AP n {action: DENY, rules: [{}]}", call: `{}`, world: func(w *World) { w.Partial = true }, want: "Denied Authorization n"},
		{says: "and a default-deny may be opened there", objects: "AP d {}", call: `{}`, world: func(w *World) { w.Partial = true }, want: "Unknown Authorization d"},
		{says: "and what is allowed may be denied there", objects: "AP a {rules: [{}]}", call: `{}`, world: func(w *World) { w.Partial = true }, want: "Unknown Authorization a"},
		{says: "nor is the mode known", objects: shop, call: `{From: shop/cart}`, world: func(w *World) { w.Partial, w.Mesh.Observed = true, false }, want: "Unknown Authorization"},

		{says: "an alias's identity", objects: strictly + "\nAP a {rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]}]}", call: `{From: shop/cart@old.example}`, world: func(w *World) { w.Mesh.TrustDomainAliases = []string{"old.example"} }, want: "Allowed p a"},
		{says: "another trust domain's is refused", objects: strictly, call: `{From: shop/cart@other.example}`, want: "Denied Transport"},
		{says: "unless all are accepted", objects: strictly, call: `{From: shop/cart@other.example}`, world: func(w *World) { w.Mesh.AnyTrustDomain = true }, want: "Allowed p"},
		{says: "which is not known without a control plane", objects: strictly, call: `{From: shop/cart@other.example}`, world: func(w *World) { w.Mesh.Version = "" }, want: "Unknown Transport"},

		{says: "a path is normalized", objects: `AP n {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`, call: `{HTTP: true, Path: "/x/../admin?a=b"}`, want: "Denied Authorization n"},
		{says: "and slashes are not merged by BASE", objects: `AP n {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`, call: `{HTTP: true, Path: "//admin"}`, want: "Allowed"},
		{says: "but by MERGE_SLASHES", objects: `AP n {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`, call: `{HTTP: true, Path: "//admin"}`, world: func(w *World) { w.Mesh.PathNormalization = "MERGE_SLASHES" }, want: "Denied Authorization n"},
		{says: "where the mode is not known it is not either", objects: `AP n {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`, call: `{HTTP: true, Path: "//admin"}`, world: func(w *World) { w.Mesh.PathNormalization = "" }, want: "Unknown Authorization n"},
		{says: "a port that is declared as TCP has no requests", objects: `AP n {action: DENY, rules: [{to: [{operation: {paths: [/admin], ports: ["80"]}}]}]}`, call: `{HTTP: true, Port: 80, Path: /}`, world: func(w *World) {
			w.Services = map[types.NamespacedName]facts.Service{{}: {Namespace: "pay", Name: "s", Selector: map[string]string{"app": "a"}, Ports: []facts.ServicePort{{Name: "tcp", Protocol: "TCP", Port: 80, Target: portNumber(80)}}}}
		}, pod: `Labels: {app: a}`, want: "Denied Authorization n"},
	} {
		t.Run(r.says, func(t *testing.T) {
			w := whole(t, r.objects)
			if r.world != nil {
				r.world(&w)
			}
			v := New(w).Explain(call(t, r.call), pod(t, r.pod))
			if got := told(v); got != r.want {
				t.Errorf("got %s, want %s: %s", got, r.want, v.Why)
			}
		})
	}
}

func TestExplainSaysWhy(t *testing.T) {
	for _, r := range []struct{ objects, call, pod, why string }{
		{"", `{Port: 80}`, "", "no NetworkPolicy is in its way; port 80 takes plaintext (PERMISSIVE by the mesh's default); no policy denies it"},
		{`PA istio-system/p {mtls: {mode: STRICT}}`, `{Port: 80}`, "", "port 80 takes mutual TLS alone (STRICT by PeerAuthentication/istio-system/p), and the call is plaintext"},
		{`AP d {}`, `{}`, "", "no policy allows it, and AuthorizationPolicy/d has everything else denied"},
		{`AP n {action: DENY, rules: [{}]}`, `{}`, "", "AuthorizationPolicy/n denies it"},
		{`AP c {action: CUSTOM, provider: {name: none}, rules: [{}]}`, `{}`, "", "AuthorizationPolicy/c asks an external authorizer that the mesh does not have, so that it is denied"},
		{`AP d {}`, `{Port: 9443}`, "Uncaptured: [9443]", "no NetworkPolicy is in its way; the mesh does not see it: port 9443 is not led through the proxy (excludeInboundPorts)"},
		{`PA p {mtls: {mode: STRICT}}`, `{Port: 80}`, "Capture: {Interfaces: true}", "the mesh may not see it: some of the pod's network interfaces are not led through the proxy (excludeInterfaces); where it does, port 80 takes mutual TLS alone (STRICT by PeerAuthentication/p), and the call is plaintext"},
		{`NP n {podSelector: {}}`, `{}`, "", "the network stops it: nothing lets it through, and NetworkPolicy/n isolates the pod"},
	} {
		if got := New(whole(t, r.objects)).Explain(call(t, r.call), pod(t, r.pod)).Why; got != r.why {
			t.Errorf("got  %s\nwant %s", got, r.why)
		}
	}
}

func TestShadow(t *testing.T) {
	for _, r := range []struct{ says, objects, call, want, shadow string }{
		{"no dry run", `AP a {rules: [{}]}`, `{}`, "Allowed a", ""},
		{"a dry-run DENY would deny", "AP a {rules: [{}]}\nAP n !istio.io/dry-run=true {action: DENY, rules: [{}]}", `{}`, "Allowed a", "Denied n"},
		{"one that does not match would not", "AP a {rules: [{}]}\nAP n !istio.io/dry-run=true {action: DENY, rules: [{to: [{operation: {ports: [\"9\"]}}]}]}", `{Port: 8}`, "Allowed a", "Allowed a"},
		{"a dry-run ALLOW alone would have the rest denied", `AP n !istio.io/dry-run=true {rules: [{from: [{source: {namespaces: [shop]}}]}]}`, `{}`, "Allowed", "Denied n"},
		{"and would allow what it matches", "AP d {}\nAP n !istio.io/dry-run=true {rules: [{from: [{source: {namespaces: [shop]}}]}]}", `{From: shop/cart}`, "Denied Authorization d", "Allowed n"},
		{"another workload's has no say", `AP n !istio.io/dry-run=true {selector: {matchLabels: {app: b}}}`, `{}`, "Allowed", ""},
	} {
		t.Run(r.says, func(t *testing.T) {
			v := New(whole(t, r.objects)).Explain(call(t, r.call), pod(t, ""))
			shadow := ""
			if v.Shadow != nil {
				shadow = told(Verdict{Outcome: v.Shadow.Outcome, By: v.Shadow.By})
			}
			if got := told(v); got != r.want || shadow != r.shadow {
				t.Errorf("got %s and %s, want %s and %s", got, shadow, r.want, r.shadow)
			}
		})
	}
}

func TestNormalized(t *testing.T) {
	for _, r := range []struct{ path, base, merged, decoded string }{
		{"/a/../b", "/b", "/b", "/b"},
		{`\da`, "/da", "/da", "/da"},
		{"/a//b", "/a//b", "/a/b", "/a/b"},
		{"/a%2fb", "/a%2fb", "/a%2fb", "/a/b"},
		{"/a%2f%2Fb", "/a%2f%2Fb", "/a%2f%2Fb", "/a/b"},
		{"/%61dmin/%2e%2E/x", "/x", "/x", "/x"},
		{"/a/./b/.", "/a/b/", "/a/b/", "/a/b/"},
		{"/a/b/..", "/a/", "/a/", "/a/"},
		{"/../..", "/", "/", "/"},
		{"/a?b=/../c#d", "/a", "/a", "/a"},
		{"/100%", "/100%", "/100%", "/100%"},
		{"*", "*", "*", "*"},
	} {
		for mode, want := range map[string]string{"BASE": r.base, "MERGE_SLASHES": r.merged, "DECODE_AND_MERGE_SLASHES": r.decoded} {
			if got := normalPath(r.path, mode); got != want {
				t.Errorf("%s by %s: got %s, want %s", r.path, mode, got, want)
			}
		}
	}
	if got := normalPath("/a/../b?c", "NONE"); got != "/a/../b" {
		t.Error(got)
	}
}

func TestInbound(t *testing.T) {
	w := whole(t, `
		PA p {mtls: {mode: STRICT}}
		PA w {selector: {matchLabels: {app: a}}, portLevelMtls: {"9100": {mode: PERMISSIVE}, "9200": {mode: DISABLE}}}`)
	w.Services = map[types.NamespacedName]facts.Service{{}: {Namespace: "pay", Name: "s", Selector: map[string]string{"app": "a"}, Ports: []facts.ServicePort{{Protocol: "TCP", Port: 80, Target: portNumber(8081)}}}}
	var got []string
	for _, l := range New(w).Inbound(pod(t, `Labels: {app: a}, Ports: [{Number: 8080}], Uncaptured: [7000]`)) {
		name := "the mesh's default"
		if len(l.Plaintext.By) > 0 {
			name = l.Plaintext.By[0].Name
		}
		got = append(got, fmt.Sprint(l.Port, " ", l.Mode, " ", l.Plaintext.Outcome, " ", name, " ", l.Past != ""))
	}
	want := []string{
		"0 STRICT Denied p false", "7000  Allowed the mesh's default true", "8080 STRICT Denied p false", "8081 STRICT Denied p false",
		"9100 PERMISSIVE Allowed w false", "9200 DISABLE Allowed w false",
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
	for _, l := range New(w).Inbound(pod(t, `Sidecar: false`)) {
		if l.Past == "" || l.Mode != "" || l.Plaintext.Outcome != Allowed {
			t.Errorf("%+v", l)
		}
	}
}

// drawPod is a pod that traffic may evade.
func drawPod(t *rapid.T, labels Labels) facts.Pod {
	p := facts.Pod{Name: "p", Labels: labels, Sidecar: rapid.IntRange(0, 3).Draw(t, "sidecar") > 0}
	if rapid.Bool().Draw(t, "excludes") {
		p.Uncaptured = []int32{80}
	}
	p.Capture = rapid.SampledFrom([]facts.Capture{{}, {}, {}, {None: true}, {Interfaces: true}, {SomeIn: true, InPorts: []int32{81}}, {OutPast: []int32{443}}, {SomeOut: true, OutBlocks: []string{"10.0.0.0/8"}}}).Draw(t, "capture")
	return p
}

// Explain says what the layers say: it denies nothing that they let in, allows
// nothing that they stop, and where the proxy does not see a call it says
// Denied by the network alone.
func TestExplainAgreesWithTheLayers(t *testing.T) {
	one := func(rt *rapid.T, name string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, name) }
	count := map[Outcome]int{}
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(t, rt)
		w.NetworkEnforced, w.Mesh.Version, w.Mesh.PathNormalization = facts.Yes, "1.31.1", "BASE"
		m := New(w)
		p := drawPod(rt, labelsOf(one(rt, "to", "", "app=a", "app=b", "tier=x", "app=a,tier=x")))
		c := Call{To: p.Labels, Port: int32(rapid.SampledFrom([]int{80, 81}).Draw(rt, "port")), HTTP: rapid.Bool().Draw(rt, "http"),
			Method: one(rt, "method", "GET", "PUT"), Path: one(rt, "path", "/", "/a", "/b")}
		c.From = Caller{TrustDomain: "cluster.local", Namespace: one(rt, "ns", "shop", "pay"), ServiceAccount: one(rt, "sa", "", "cart", "q"), Address: one(rt, "address", "10.0.0.9", "10.1.0.9")}
		c.From.Pod.Namespace = c.From.Namespace
		v, layers, network := m.Explain(c, p), m.Admits(c), m.Pass(Probe{Layer: NetworkIn, Call: c})
		count[v.Outcome]++
		past := !p.Sidecar || p.Capture.None || (c.Port == 80 && (len(p.Uncaptured) > 0 || p.Capture.SomeIn))
		switch {
		case past != (v.Past != ""):
			rt.Fatalf("past %v, %+v", past, v)
		case past && (v.Outcome == Denied) == network.Passes:
			rt.Fatalf("past the proxy, the network says %+v: %+v", network, v)
		case past:
		case v.Outcome == Denied && layers.Passes, v.Outcome == Allowed && (!layers.Passes || layers.Unknown):
			rt.Fatalf("layers say %+v: %+v", layers, v)
		case v.Outcome == Unknown && !layers.Unknown && !w.Partial && !p.Capture.Interfaces:
			rt.Fatalf("layers say %+v: %+v", layers, v)
		case v.Outcome == Denied && p.Capture.Interfaces && network.Passes:
			rt.Fatalf("denied, and could go past the proxy: %+v", v)
		}
		if v.Why == "" || (v.Outcome != Allowed) != (v.Layer != "") {
			rt.Fatalf("%+v", v)
		}
	})
	for _, o := range []Outcome{Allowed, Denied, Unknown} {
		if count[o] == 0 {
			t.Errorf("nothing was %s", o)
		}
	}
}
