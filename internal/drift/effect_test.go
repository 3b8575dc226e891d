package drift

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func TestEffect(t *testing.T) {
	const gone = "-"
	type rowT struct {
		name, kind string
		// desired and live spec; "-" for no object.
		want, have string
		// behind is what else is desired: names of the fixtures.
		behind []string
		effect v1alpha1.Effect
	}
	const (
		pa, ap, ra = "PeerAuthentication", "AuthorizationPolicy", "RequestAuthentication"
		sc, se, np = "Sidecar", "ServiceEntry", "NetworkPolicy"
		te         = "Telemetry"
		override   = `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"9100": {mode: PERMISSIVE}}}`
		api        = `{rules: [{from: [{source: {namespaces: [a, b]}}], to: [{operation: {ports: ["1"], paths: [/x]}}]}]}`
		deny       = `{action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}]}`
		jwt        = `{jwtRules: [{issuer: a, audiences: [p, q]}]}`
		registry   = `{outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: [./*, a/*]}]}`
		entry      = `{hosts: [a], exportTo: ["."], ports: [{number: 1, name: a}], subjectAltNames: [a]}`
		netpol     = `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 1.0.0.0/8, except: [1.1.0.0/16]}}], ports: [{port: 1, protocol: TCP}]}]}`
		logs       = `{accessLogging: [{providers: [{name: envoy}], filter: {expression: x}}]}`
	)
	rows := []rowT{
		{"strict to permissive", pa, `{mtls: {mode: STRICT}}`, `{mtls: {mode: PERMISSIVE}}`, nil, weakens},
		{"permissive to disable", pa, `{mtls: {mode: PERMISSIVE}}`, `{mtls: {mode: DISABLE}}`, nil, weakens},
		{"permissive to strict", pa, `{mtls: {mode: PERMISSIVE}}`, `{mtls: {mode: STRICT}}`, nil, tightens},
		{"disable to inherited", pa, `{mtls: {mode: DISABLE}}`, `{mtls: {}}`, nil, tightens},
		{"strict to inherited", pa, `{mtls: {mode: STRICT}}`, `{}`, nil, weakens},
		{"permissive to inherited", pa, `{mtls: {mode: PERMISSIVE}}`, `{}`, nil, weakens},
		{"same", pa, `{mtls: {mode: STRICT}}`, `{mtls: {mode: STRICT}}`, nil, neutral},
		{"port as strict as the rest", pa, `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}`, `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"1": {mode: STRICT}}}`, nil, neutral},
		{"port inherits", pa, override, `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"9100": {}}}`, nil, tightens},
		{"port weaker", pa, override, `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"9100": {mode: DISABLE}}}`, nil, weakens},
		{"another port", pa, override, `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"9101": {mode: PERMISSIVE}}}`, nil, weakens},
		{"port stricter", pa, override, `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}`, nil, tightens},
		{"strict narrowed", pa, `{mtls: {mode: STRICT}}`, `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}`, nil, weakens},
		{"exception widened", pa, override, `{mtls: {mode: PERMISSIVE}}`, nil, weakens},
		{"strict widened", pa, `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}`, `{mtls: {mode: STRICT}}`, nil, tightens},
		{"strict gone", pa, `{mtls: {mode: STRICT}}`, gone, nil, weakens},
		{"permissive gone", pa, `{mtls: {mode: PERMISSIVE}}`, gone, nil, weakens},
		{"disable gone", pa, `{mtls: {mode: DISABLE}}`, gone, nil, tightens},
		{"exception gone, strict behind it", pa, override, gone, []string{"msp-mtls"}, tightens},
		{"exception gone, who knows", pa, override, gone, nil, weakens},
		{"strict added", pa, gone, `{mtls: {mode: STRICT}}`, nil, tightens},
		{"permissive added", pa, gone, override, nil, weakens},

		{"deny-all made allow-all", ap, `{}`, `{rules: [{}]}`, nil, weakens},
		{"deny-all narrowed", ap, `{}`, `{selector: {matchLabels: {app: a}}}`, nil, weakens},
		{"deny-all narrowed by target", ap, `{}`, `{targetRefs: [{kind: Gateway, name: x, group: g}]}`, nil, weakens},
		{"deny-all widened", ap, `{selector: {matchLabels: {app: a}}}`, `{}`, nil, tightens},
		{"deny-all gone", ap, `{}`, gone, nil, weakens},
		{"audit instead of allow", ap, `{}`, `{action: AUDIT}`, nil, weakens},
		{"custom instead of allow", ap, api, `{action: CUSTOM, provider: {name: x}}`, nil, weakens},
		{"deny instead of allow", ap, api, `{action: DENY}`, nil, weakens},
		{"allow instead of deny", ap, deny, `{rules: [{from: [{source: {namespaces: [a]}}]}]}`, nil, weakens},
		{"caller added", ap, api, `{rules: [{from: [{source: {namespaces: [a, b, c]}}], to: [{operation: {ports: ["1"], paths: [/x]}}]}]}`, nil, weakens},
		{"caller removed", ap, api, `{rules: [{from: [{source: {namespaces: [a]}}], to: [{operation: {ports: ["1"], paths: [/x]}}]}]}`, nil, tightens},
		{"caller changed", ap, api, `{rules: [{from: [{source: {namespaces: [a, c]}}], to: [{operation: {ports: ["1"], paths: [/x]}}]}]}`, nil, weakens},
		{"callers reordered", ap, api, `{rules: [{from: [{source: {namespaces: [b, a]}}], to: [{operation: {ports: ["1"], paths: [/x]}}]}]}`, nil, neutral},
		{"any caller", ap, api, `{rules: [{to: [{operation: {ports: ["1"], paths: [/x]}}]}]}`, nil, weakens},
		{"caller added, path removed", ap, api, `{rules: [{from: [{source: {namespaces: [a, b, c]}}], to: [{operation: {ports: ["1"], paths: [/y]}}]}]}`, nil, weakens},
		{"method demanded", ap, api, `{rules: [{from: [{source: {namespaces: [a, b]}}], to: [{operation: {ports: ["1"], paths: [/x], methods: [GET]}}]}]}`, nil, tightens},
		{"not-method demanded", ap, api, `{rules: [{from: [{source: {namespaces: [a, b]}}], to: [{operation: {ports: ["1"], paths: [/x], notMethods: [GET]}}]}]}`, nil, tightens},
		{"rule added", ap, api, `{rules: [{from: [{source: {namespaces: [a, b]}}], to: [{operation: {ports: ["1"], paths: [/x]}}]}, {}]}`, nil, weakens},
		{"condition added", ap, api, `{rules: [{from: [{source: {namespaces: [a, b]}}], to: [{operation: {ports: ["1"], paths: [/x]}}], when: [{key: connection.sni, values: [v]}]}]}`, nil, tightens},
		{"condition replaced by its twin", ap, `{rules: [{when: [{key: k, values: [v]}, {key: l, values: [v]}]}]}`, `{rules: [{when: [{key: k, values: [v]}, {key: k, values: [v]}]}]}`, nil, weakens},
		{"condition dropped", ap, `{rules: [{when: [{key: k, values: [v]}]}]}`, `{rules: [{}]}`, nil, weakens},
		{"allow for other workloads", ap, api, `{selector: {matchLabels: {app: a}}, rules: [{from: [{source: {namespaces: [a, b]}}], to: [{operation: {ports: ["1"], paths: [/x]}}]}]}`, nil, weakens},
		{"allow gone, deny-all behind it", ap, api, gone, []string{"msp-default-deny"}, tightens},
		{"allow gone, who knows", ap, api, gone, nil, weakens},
		{"deny narrowed", ap, deny, `{action: DENY, rules: [{from: [{source: {namespaces: [a]}}], to: [{operation: {ports: ["1"]}}]}]}`, nil, weakens},
		{"deny widened", ap, deny, `{action: DENY, rules: [{}]}`, nil, tightens},
		{"deny emptied", ap, deny, `{action: DENY}`, nil, weakens},
		{"deny for fewer workloads", ap, deny, `{action: DENY, selector: {matchLabels: {a: b}}, rules: [{from: [{source: {namespaces: [a]}}]}]}`, nil, weakens},
		{"deny gone", ap, deny, gone, nil, weakens},
		{"deny added", ap, gone, deny, nil, tightens},
		{"allow added", ap, gone, api, nil, weakens},
		{"deny-all added", ap, gone, `{}`, nil, tightens},
		{"audit added", ap, gone, `{action: AUDIT, rules: [{}]}`, nil, neutral},

		{"audience removed", ra, jwt, `{jwtRules: [{issuer: a, audiences: [p]}]}`, nil, tightens},
		{"any audience", ra, jwt, `{jwtRules: [{issuer: a}]}`, nil, weakens},
		{"timeout", ra, jwt, `{jwtRules: [{issuer: a, audiences: [p, q], timeout: 1s}]}`, nil, neutral},
		{"other issuer", ra, jwt, `{jwtRules: [{issuer: b, audiences: [p, q]}]}`, nil, weakens},
		{"issuer added", ra, jwt, `{jwtRules: [{issuer: a, audiences: [p, q]}, {issuer: b}]}`, nil, weakens},
		{"issuer removed", ra, jwt, `{}`, nil, weakens},
		{"other workloads", ra, jwt, `{selector: {matchLabels: {a: b}}, jwtRules: [{issuer: a, audiences: [p, q]}]}`, nil, weakens},
		{"tokens not validated", ra, jwt, gone, nil, weakens},

		{"any host", sc, registry, `{outboundTrafficPolicy: {mode: ALLOW_ANY}, egress: [{hosts: [./*, a/*]}]}`, nil, weakens},
		{"mode left to the mesh", sc, registry, `{egress: [{hosts: [./*, a/*]}]}`, nil, weakens},
		{"registry only", sc, `{egress: [{hosts: [a/*]}]}`, `{outboundTrafficPolicy: {}, egress: [{hosts: [a/*]}]}`, nil, tightens},
		{"host added", sc, registry, `{outboundTrafficPolicy: {}, egress: [{hosts: [./*, a/*, b/*]}]}`, nil, weakens},
		{"host removed", sc, registry, `{outboundTrafficPolicy: {}, egress: [{hosts: [./*]}]}`, nil, tightens},
		{"all hosts", sc, registry, `{outboundTrafficPolicy: {}}`, nil, weakens},
		{"for fewer workloads", sc, registry, `{workloadSelector: {labels: {a: b}}, outboundTrafficPolicy: {}, egress: [{hosts: [./*, a/*]}]}`, nil, weakens},
		{"inbound listener", sc, registry, `{ingress: [{port: {number: 1, protocol: TCP, name: a}, defaultEndpoint: "127.0.0.1:1"}], outboundTrafficPolicy: {}, egress: [{hosts: [./*, a/*]}]}`, nil, weakens},
		{"egress proxy", sc, registry, `{outboundTrafficPolicy: {egressProxy: {host: x}}, egress: [{hosts: [./*, a/*]}]}`, nil, weakens},
		{"sidecar gone", sc, registry, gone, nil, weakens},
		{"sidecar added", sc, gone, registry, nil, weakens},

		{"host added", se, entry, `{hosts: [a, b], exportTo: ["."], ports: [{number: 1, name: a}], subjectAltNames: [a]}`, nil, weakens},
		{"host removed", se, `{hosts: [a, b]}`, `{hosts: [a]}`, nil, tightens},
		{"exported", se, entry, `{hosts: [a], exportTo: [".", "*"], ports: [{number: 1, name: a}], subjectAltNames: [a]}`, nil, weakens},
		{"exported to all", se, entry, `{hosts: [a], ports: [{number: 1, name: a}], subjectAltNames: [a]}`, nil, weakens},
		{"port added", se, entry, `{hosts: [a], exportTo: ["."], ports: [{number: 1, name: a}, {number: 2, name: b}], subjectAltNames: [a]}`, nil, weakens},
		{"names not checked", se, entry, `{hosts: [a], exportTo: ["."], ports: [{number: 1, name: a}]}`, nil, weakens},
		{"names checked", se, `{hosts: [a]}`, `{hosts: [a], subjectAltNames: [a]}`, nil, tightens},
		{"endpoint added", se, entry, `{hosts: [a], exportTo: ["."], ports: [{number: 1, name: a}], subjectAltNames: [a], endpoints: [{address: 6.6.6.6}]}`, nil, weakens},
		{"entry gone, registry only", se, entry, gone, []string{"msp-egress"}, tightens},
		{"entry gone, who knows", se, entry, gone, nil, weakens},
		{"entry added", se, gone, entry, nil, weakens},

		{"rule added", np, netpol, `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 1.0.0.0/8, except: [1.1.0.0/16]}}], ports: [{port: 1, protocol: TCP}]}, {}]}`, nil, weakens},
		{"rule removed", np, netpol, `{podSelector: {}, policyTypes: [Egress]}`, nil, tightens},
		{"any port", np, netpol, `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 1.0.0.0/8, except: [1.1.0.0/16]}}]}]}`, nil, weakens},
		{"any peer", np, netpol, `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 1, protocol: TCP}]}]}`, nil, weakens},
		{"exception dropped", np, netpol, `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 1.0.0.0/8}}], ports: [{port: 1, protocol: TCP}]}]}`, nil, weakens},
		{"exception added", np, netpol, `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 1.0.0.0/8, except: [1.1.0.0/16, 1.2.0.0/16]}}], ports: [{port: 1, protocol: TCP}]}]}`, nil, tightens},
		{"fewer pods", np, netpol, `{podSelector: {matchLabels: {a: b}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 1.0.0.0/8, except: [1.1.0.0/16]}}], ports: [{port: 1, protocol: TCP}]}]}`, nil, weakens},
		{"all pods denied", np, `{podSelector: {matchLabels: {a: b}}, policyTypes: [Egress]}`, `{podSelector: {}, policyTypes: [Egress]}`, nil, tightens},
		{"direction dropped", np, `{podSelector: {}, policyTypes: [Egress, Ingress]}`, `{podSelector: {}, policyTypes: [Ingress]}`, nil, weakens},
		{"direction added", np, `{podSelector: {}, policyTypes: [Ingress]}`, `{podSelector: {}, policyTypes: [Egress, Ingress]}`, nil, tightens},
		{"policy gone", np, netpol, gone, nil, weakens},
		{"policy gone, all is closed behind it", np, netpol, gone, []string{"msp-net"}, tightens},
		{"policy gone, not closed in its direction", np, `{podSelector: {}, policyTypes: [Ingress]}`, gone, []string{"msp-net"}, weakens},
		{"policy that lets through added, all is open without it", np, gone, netpol, nil, tightens},
		{"policy that lets through added, all is closed without it", np, gone, netpol, []string{"msp-net"}, weakens},
		{"policy that denies added", np, gone, `{podSelector: {}, policyTypes: [Egress]}`, nil, tightens},

		{"not logged", te, logs, `{accessLogging: [{providers: [{name: envoy}], filter: {expression: x}, disabled: true}]}`, nil, weakens},
		{"other filter", te, logs, `{accessLogging: [{providers: [{name: envoy}], filter: {expression: "false"}}]}`, nil, weakens},
		{"all logged", te, logs, `{accessLogging: [{providers: [{name: envoy}]}]}`, nil, tightens},
		{"less traced", te, logs, `{accessLogging: [{providers: [{name: envoy}], filter: {expression: x}}], tracing: [{disableSpanReporting: true}]}`, nil, weakens},
		{"logs gone", te, logs, gone, nil, weakens},
	}
	for _, r := range rows {
		t.Run(r.kind+"/"+r.name, func(t *testing.T) {
			var want, have mesh.Object
			if r.want != gone {
				want = object(t, r.kind, "msp-x", r.want)
			}
			if r.have != gone {
				have = object(t, r.kind, "msp-x", r.have)
			}
			var set []mesh.Object
			for _, name := range r.behind {
				set = append(set, desired(t, name))
			}
			if got := Effect(want, have, set, nil); got != r.effect {
				t.Errorf("got %s, want %s", got, r.effect)
			}
		})
	}
}

func TestEffectOfDryRun(t *testing.T) {
	enforced, shadow := desired(t, "msp-allow"), desired(t, "msp-allow")
	annotate(shadow, "istio.io/dry-run", "true")
	other := respec(t, shadow, `{rules: [{}]}`)
	for _, r := range []struct {
		name       string
		want, have mesh.Object
		around     *effective.World
		effect     v1alpha1.Effect
	}{
		{"no longer enforced", enforced, shadow, nil, weakens},
		{"enforced, nothing else is", shadow, enforced, &effective.World{}, tightens},
		{"enforced, the root namespace may deny by default", shadow, enforced, nil, weakens},
		{"everything allowed, nothing was denied", shadow, respec(t, enforced, `{rules: [{}]}`), &effective.World{}, neutral},
		{"everything allowed, the root namespace may deny by default", shadow, respec(t, enforced, `{rules: [{}]}`), nil, weakens},
		{"another shadow", shadow, other, nil, neutral},
		{"shadow gone", shadow, nil, nil, neutral},
		{"shadow added", nil, shadow, nil, neutral},
		{"a value that can't be read enforces", enforced, annotated(t, enforced, "istio.io/dry-run", "yes"), nil, neutral},
	} {
		t.Run(r.name, func(t *testing.T) {
			if got := Effect(r.want, r.have, nil, r.around); got != r.effect {
				t.Errorf("got %s, want %s", got, r.effect)
			}
		})
	}
}

func annotated(t *testing.T, o mesh.Object, key, value string) mesh.Object {
	t.Helper()
	out := written(t, o)
	annotate(out, key, value)
	return out
}

// An object of another revision is as good as gone.
func TestEffectOfRevision(t *testing.T) {
	want := desired(t, "msp-allow")
	have := desired(t, "msp-allow")
	label(have, "istio.io/rev", "other")
	if got := Effect(want, have, []mesh.Object{desired(t, "msp-default-deny")}, nil); got != tightens {
		t.Errorf("got %s: the callers of the rule are shut out", got)
	}
	if got := Effect(want, have, nil, nil); got != weakens {
		t.Errorf("got %s", got)
	}
}

// What stands beside an object decides what its change does.
func TestEffectByWhatIsAround(t *testing.T) {
	ap := func(name, spec string) mesh.Object { return object(t, "AuthorizationPolicy", name, spec) }
	foreign := func(kind, spec string) *effective.World {
		o := object(t, kind, "theirs", spec)
		strip(o)
		o.SetCreationTimestamp(metav1.Unix(1_000_000_000, 0))
		return &effective.World{Objects: []mesh.Object{o}}
	}
	const shop, both = `{rules: [{from: [{source: {namespaces: [shop]}}]}]}`, `{rules: [{from: [{source: {namespaces: [shop, batch]}}]}]}`
	deny := ap("msp-default-deny", `{}`)
	mtls := object(t, "PeerAuthentication", "msp-mtls", `{mtls: {mode: STRICT}}`)
	permissive := written(t, object(t, "PeerAuthentication", "msp-mtls", `{mtls: {mode: PERMISSIVE}}`))
	for _, r := range []struct {
		name       string
		want, have mesh.Object
		behind     []mesh.Object
		around     *effective.World
		effect     v1alpha1.Effect
	}{
		{"a caller added that another rule lets in", ap("msp-a", shop), ap("msp-a", both), []mesh.Object{deny, ap("msp-b", both)}, nil, neutral},
		{"a caller added that nobody lets in", ap("msp-a", shop), ap("msp-a", both), []mesh.Object{deny}, nil, weakens},
		{"a rule gone that another covers", ap("msp-a", shop), nil, []mesh.Object{deny, ap("msp-b", both)}, nil, neutral},
		{"a rule gone whose callers somebody else lets in", ap("msp-a", shop), nil, []mesh.Object{deny}, foreign("AuthorizationPolicy", both), neutral},
		{"the only rule gone", ap("msp-a", shop), nil, nil, &effective.World{}, weakens},
		{"default-deny gone, a rule keeps it", deny, nil, []mesh.Object{ap("msp-a", shop)}, &effective.World{}, neutral},
		{"strict mode weakened that somebody else's older one had put out of force", mtls, permissive, nil, foreign("PeerAuthentication", `{mtls: {mode: DISABLE}}`), neutral},
		{"strict mode gone, whatever somebody else has", mtls, nil, nil, foreign("PeerAuthentication", `{mtls: {mode: PERMISSIVE}}`), weakens},
	} {
		t.Run(r.name, func(t *testing.T) {
			if got := Effect(r.want, r.have, r.behind, r.around); got != r.effect {
				t.Errorf("got %s, want %s", got, r.effect)
			}
		})
	}
}

// Somebody else's objects among the live ones take part in the evidence.
func TestCompareCountsOnForeignObjects(t *testing.T) {
	deny, allow := desired(t, "msp-default-deny"), object(t, "AuthorizationPolicy", "msp-a", `{rules: [{from: [{source: {namespaces: [shop]}}]}]}`)
	theirs := object(t, "AuthorizationPolicy", "theirs", `{rules: [{from: [{source: {namespaces: [shop]}}]}]}`)
	strip(theirs)
	want := []mesh.Object{deny, allow}
	for effect, live := range map[v1alpha1.Effect][]mesh.Object{
		tightens: {written(t, deny)},
		neutral:  {written(t, deny), theirs},
	} {
		got := Compare(want, live, Options{IntentUnchanged: true, Around: &effective.World{}})
		if len(got) != 1 || got[0].Effect != effect {
			t.Errorf("want %s, got %+v", effect, got)
		}
	}
}
