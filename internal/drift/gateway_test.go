package drift

import (
	"testing"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// The policy at an egress gateway is compared with the namespace that it is for:
// what becomes of the rest is judged there, wherever the policy is in the list.
func TestEffectBesideAPolicyAtTheGateway(t *testing.T) {
	policy := object(t, "AuthorizationPolicy", mesh.GatewayPolicyName(namespace, "out"), `{selector: {matchLabels: {a: b}}, rules: [{from: [{source: {namespaces: [payments]}}]}]}`)
	policy.SetNamespace("out")
	mtls := desired(t, "msp-mtls")
	open := respec(t, written(t, mtls), `{mtls: {mode: DISABLE}}`)
	for name, order := range map[string][]mesh.Object{"first": {policy, mtls}, "last": {mtls, policy}} {
		got := Compare(order, []mesh.Object{open, written(t, policy)}, Options{IntentUnchanged: true})
		if len(got) != 1 || got[0].Key.Name != "msp-mtls" || got[0].Effect != v1alpha1.EffectWeakens {
			t.Errorf("%s: %+v", name, got)
		}
		tighter := respec(t, written(t, policy), `{selector: {matchLabels: {a: b}}}`)
		tighter.SetNamespace("out")
		got = Compare(order, []mesh.Object{written(t, mtls), tighter}, Options{IntentUnchanged: true})
		if len(got) != 1 || got[0].Live.GetNamespace() != "out" || got[0].Effect != v1alpha1.EffectWeakens {
			t.Errorf("%s: what is at the gateway can't be judged from here: %+v", name, got)
		}
	}
	// What it does is no call to the namespace's own workloads.
	got := Compare([]mesh.Object{mtls}, []mesh.Object{respec(t, written(t, mtls), `{mtls: {mode: STRICT}, portLevelMtls: {"1": {mode: STRICT}}}`), written(t, policy)}, Options{IntentUnchanged: true})
	for _, c := range got {
		if c.Key.Name == "msp-mtls" && c.Effect != v1alpha1.EffectNeutral {
			t.Errorf("%+v", c)
		}
	}
}
