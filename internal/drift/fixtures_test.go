package drift

import (
	"encoding/json"
	"os"
	"testing"

	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

const namespace = "payments"

// specs is one believable object of each managed kind, and more of those that matter most.
var specs = map[string]struct{ kind, spec string }{
	"msp-mtls":         {"PeerAuthentication", `{mtls: {mode: STRICT}}`},
	"msp-mtls-scrape":  {"PeerAuthentication", `{selector: {matchLabels: {app: ledger}}, mtls: {mode: STRICT}, portLevelMtls: {"9100": {mode: PERMISSIVE}}}`},
	"msp-default-deny": {"AuthorizationPolicy", `{}`},
	"msp-allow": {"AuthorizationPolicy", `{selector: {matchLabels: {app: api}}, rules: [{
		from: [{source: {serviceAccounts: [shop/checkout]}}, {source: {namespaces: [batch]}}],
		to: [{operation: {ports: ["8080"], methods: [POST], paths: [/charges, "/charges/*"]}}],
		when: [{key: "request.auth.claims[groups]", values: [payments]}]}]}`},
	"msp-deny":       {"AuthorizationPolicy", `{action: DENY, rules: [{from: [{source: {notNamespaces: [shop]}}], to: [{operation: {ports: ["8443"]}}]}]}`},
	"msp-jwt-corp":   {"RequestAuthentication", `{selector: {matchLabels: {app: api}}, jwtRules: [{issuer: "https://sso.example.com", jwksUri: "https://sso.example.com/keys", audiences: [payments, charges]}]}`},
	"msp-egress":     {"Sidecar", `{outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: [./*, istio-system/*, shop/cart.shop.svc.cluster.local]}]}`},
	"msp-egress-api": {"ServiceEntry", `{hosts: [api.stripe.com], exportTo: ["."], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 443, name: tls-443, protocol: TLS}]}`},
	"msp-tunnels":    {"Gateway", `{selector: {istio: egressgateway}, servers: [{hosts: [./443.api.stripe.com.payments.egress.meshsecurity.invalid], port: {number: 443, name: tls, protocol: TLS}, tls: {mode: ISTIO_MUTUAL}}]}`},
	"msp-clients":    {"DestinationRule", `{host: gw.out.svc.cluster.local, exportTo: ["."], subsets: [{name: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, sni: 443.api.stripe.com.payments.egress.meshsecurity.invalid, subjectAltNames: ["spiffe://cluster.local/ns/out/sa/gw"]}}}]}`},
	"msp-towards":    {"VirtualService", `{hosts: [api.stripe.com], gateways: [mesh], exportTo: ["."], tls: [{match: [{port: 443, sniHosts: [api.stripe.com]}], route: [{destination: {host: gw.out.svc.cluster.local, subset: a, port: {number: 443}}}]}]}`},
	"msp-away":       {"VirtualService", `{hosts: [443.api.stripe.com.payments.egress.meshsecurity.invalid], gateways: [payments/msp-egress], exportTo: [out], tcp: [{match: [{port: 443, gateways: [payments/msp-egress]}], route: [{destination: {host: 443.api.stripe.com.payments.egress.meshsecurity.invalid, port: {number: 443}}}]}]}`},
	"msp-access-log": {"Telemetry", `{accessLogging: [{providers: [{name: envoy}], filter: {expression: response.code == 403}}]}`},
	"msp-net": {"NetworkPolicy", `{podSelector: {}, policyTypes: [Egress], egress: [
		{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]},
		{to: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.7/32]}}], ports: [{port: 5432, protocol: TCP}]}]}`},
	"msp-net-bare": {"NetworkPolicy", `{podSelector: {}, ingress: [{ports: [{port: 80}]}]}`},
	"msp-net-deny": {"NetworkPolicy", `{podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress]}`},
}

// desired is an object as a provider compiles it.
func desired(t testing.TB, name string) mesh.Object {
	t.Helper()
	s, ok := specs[name]
	if !ok {
		t.Fatalf("no spec for %s", name)
	}
	return object(t, s.kind, name, s.spec)
}

func object(t testing.TB, kind, name, spec string) mesh.Object {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	o := empty(t, kind)
	if err := json.Unmarshal([]byte(`{"spec":`+string(raw)+`}`), o); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p := posture.Posture{Namespace: namespace, Owner: posture.Owner{Kind: v1alpha1.KindProfile, Name: "payments", UID: "profile-uid"}}
	m := mesh.Meta(p, name, "rule")
	o.SetName(m.Name)
	o.SetNamespace(m.Namespace)
	o.SetLabels(m.Labels)
	o.SetAnnotations(m.Annotations)
	o.SetOwnerReferences(m.OwnerReferences)
	return o
}

func empty(t testing.TB, kind string) mesh.Object {
	t.Helper()
	for _, k := range mesh.ManagedKinds() {
		if k.GVK.Kind == kind {
			return k.New()
		}
	}
	t.Fatalf("%s is not managed", kind)
	return nil
}

// written is an object as the cache shows it after the operator wrote it.
func written(t testing.TB, o mesh.Object) mesh.Object {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := mesh.KindOf(o)
	out := k.New()
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	if np, ok := out.(*netv1.NetworkPolicy); ok {
		np.Spec = *defaulted(np) // as the API server does
	}
	out.SetUID(types.UID("uid-" + o.GetName()))
	out.SetResourceVersion("100")
	out.SetCreationTimestamp(metav1.Unix(1_790_000_000, 0))
	now := metav1.Unix(1_790_000_000, 0)
	out.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: v1alpha1.ManagedByValue, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: k.GVK.GroupVersion().String(), Time: &now,
	}})
	return out
}

// respec replaces the spec.
func respec(t testing.TB, o mesh.Object, spec string) mesh.Object {
	t.Helper()
	k, _ := mesh.KindOf(o)
	changed := object(t, k.GVK.Kind, o.GetName(), spec)
	changed.SetLabels(o.GetLabels())
	changed.SetAnnotations(o.GetAnnotations())
	changed.SetOwnerReferences(o.GetOwnerReferences())
	changed.SetUID(o.GetUID())
	changed.SetResourceVersion(o.GetResourceVersion())
	changed.SetManagedFields(o.GetManagedFields())
	changed.SetFinalizers(o.GetFinalizers())
	changed.SetDeletionTimestamp(o.GetDeletionTimestamp())
	return changed
}

// by adds a manager that owns fields, given as FieldsV1, since the second sec.
func by(o mesh.Object, manager string, sec int64, fields string) {
	now := metav1.Unix(1_790_000_000+sec, 0)
	o.SetManagedFields(append(o.GetManagedFields(), metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &now, FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(fields),
	}))
}

func all(t testing.TB) (want, have []mesh.Object) {
	t.Helper()
	for name := range specs {
		o := desired(t, name)
		want = append(want, o)
		have = append(have, written(t, o))
	}
	return want, have
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
