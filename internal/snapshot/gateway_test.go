package snapshot

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func gatewayPod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "out", Name: "gw-0", Labels: map[string]string{"istio": "egressgateway", "app": "gw"}},
		Spec:       corev1.PodSpec{ServiceAccountName: "gw", Containers: []corev1.Container{{Name: "istio-proxy", Args: []string{"proxy", "router"}}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	change(p)
	return p
}

func gatewayService(name string, selector map[string]string, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "out", Name: name}, Spec: corev1.ServiceSpec{
		Selector: selector, Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(8443)}}}}
	change(s)
	return s
}

func gatewayOf(name string, selector, labels map[string]string) *networkingv1.Gateway {
	return &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: labels}, Spec: networkingapi.Gateway{Selector: selector}}
}

func allowAt(namespace, name string, selector map[string]string) *securityv1.AuthorizationPolicy {
	return &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: securityapi.AuthorizationPolicy{
		Selector: &typeapi.WorkloadSelector{MatchLabels: selector}, Rules: []*securityapi.Rule{{}}}}
}

func TestEgressGateway(t *testing.T) {
	asIs := func(*corev1.Pod) {}
	service := gatewayService("gw", map[string]string{"istio": "egressgateway", "app": "gw"}, func(*corev1.Service) {})
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "out"}}
	whole := []client.Object{namespace, service, gatewayPod(asIs)}
	base := facts.EgressGateway{Baseline: "prod", UID: "u", Namespace: "out", ServiceAccount: "gw", Selector: map[string]string{"istio": "egressgateway"}, Port: 443}
	found := func(change func(*facts.EgressGateway)) *facts.EgressGateway {
		g := base
		g.Exists, g.Service, g.Target, g.Ready = true, "gw", intstr.FromInt32(8443), true
		change(&g)
		return &g
	}
	noService := func(g *facts.EgressGateway) { g.Service, g.Target = "", intstr.IntOrString{} }
	ours := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}
	for name, r := range map[string]struct {
		objects []client.Object
		want    *facts.EgressGateway
	}{
		"there":                          {whole, found(func(*facts.EgressGateway) {})},
		"no namespace":                   {nil, &base},
		"a service for others' pods too": {[]client.Object{namespace, gatewayService("gw", map[string]string{"app": "gw"}, func(*corev1.Service) {}), gatewayPod(asIs)}, found(noService)},
		"a service on another port":      {[]client.Object{namespace, gatewayService("gw", map[string]string{"istio": "egressgateway"}, func(s *corev1.Service) { s.Spec.Ports[0].Port = 80 }), gatewayPod(asIs)}, found(noService)},
		"a headless service":             {[]client.Object{namespace, gatewayService("gw", map[string]string{"istio": "egressgateway"}, func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }), gatewayPod(asIs)}, found(noService)},
		"the first service by name":      {append(whole, gatewayService("a", map[string]string{"istio": "egressgateway"}, func(*corev1.Service) {})), found(func(g *facts.EgressGateway) { g.Service = "a" })},
		"no pod":                         {[]client.Object{namespace, service}, found(func(g *facts.EgressGateway) { g.Ready = false })},
		"a pod that is not ready":        {[]client.Object{namespace, service, gatewayPod(func(p *corev1.Pod) { p.Status.Conditions = nil })}, found(func(g *facts.EgressGateway) { g.Ready = false })},
		"a pod of somebody else":         {[]client.Object{namespace, service, gatewayPod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "other" })}, found(func(g *facts.EgressGateway) { g.Ready = false })},
		"a workload and no gateway":      {[]client.Object{namespace, service, gatewayPod(func(p *corev1.Pod) { p.Spec.Containers[0].Args = []string{"proxy", "sidecar"} })}, found(func(g *facts.EgressGateway) { g.Ready = false })},
		"with other labels":              {[]client.Object{namespace, service, gatewayPod(func(p *corev1.Pod) { p.Labels = nil })}, found(func(g *facts.EgressGateway) { g.Ready = false })},
		"shared by a Gateway of all pods": {append(whole, gatewayOf("all", nil, nil)), found(func(g *facts.EgressGateway) {
			g.Sharers = []facts.Source{{Kind: "Gateway", Namespace: "shop", Name: "all"}}
		})},
		"shared by another label": {append(whole, gatewayOf("app", map[string]string{"app": "gw"}, nil)), found(func(g *facts.EgressGateway) {
			g.Sharers = []facts.Source{{Kind: "Gateway", Namespace: "shop", Name: "app"}}
		})},
		"a Gateway of other pods":     {append(whole, gatewayOf("in", map[string]string{"istio": "ingressgateway"}, nil)), found(func(*facts.EgressGateway) {})},
		"a Gateway of the operator's": {append(whole, gatewayOf("msp-egress", map[string]string{"istio": "egressgateway"}, ours)), found(func(*facts.EgressGateway) {})},
		"one that only has its name": {append(whole, gatewayOf("msp-egress", map[string]string{"istio": "egressgateway"}, nil)), found(func(g *facts.EgressGateway) {
			g.Sharers = []facts.Source{{Kind: "Gateway", Namespace: "shop", Name: "msp-egress"}}
		})},
		"others let callers in": {append(whole, allowAt("out", "b", nil), allowAt("istio-system", "a", map[string]string{"app": "gw"})), found(func(g *facts.EgressGateway) {
			g.Openers = []facts.Source{{Kind: "AuthorizationPolicy", Namespace: "istio-system", Name: "a"}, {Kind: "AuthorizationPolicy", Namespace: "out", Name: "b"}}
		})},
		"others let nobody in": {append(whole, allowAt("out", "other", map[string]string{"app": "x"}), allowAt("shop", "b", nil), allowAt("out", mesh.GatewayPolicyName("pay", "out"), nil),
			&securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "out", Name: "deny-all"}}), found(func(*facts.EgressGateway) {})},
	} {
		t.Run(name, func(t *testing.T) {
			for _, trimmed := range []bool{false, true} {
				got, err := gatewayReader(t, r.objects, trimmed).egressGateway(t.Context(), []facts.Baseline{
					{Name: "none", Spec: &v1alpha1.MeshSecurityBaselineSpec{}},
					{Name: "prod", UID: "u", Spec: &v1alpha1.MeshSecurityBaselineSpec{EgressGateway: &v1alpha1.EgressGateway{
						Namespace: "out", ServiceAccount: "gw", Selector: v1alpha1.Labels{"istio": "egressgateway"}, Port: 443}}},
				}, "istio-system")
				if diff := cmp.Diff(r.want, got); diff != "" || err != nil {
					t.Errorf("trimmed %t: %v (-want +got):\n%s", trimmed, err, diff)
				}
			}
		})
	}
	if got, err := gatewayReader(t, whole, false).egressGateway(t.Context(), nil, "istio-system"); got != nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// The policies at a gateway are read by the namespace that they are for, and by
// no other; also when that is gone.
func TestPoliciesAtTheGatewayAreTheTenants(t *testing.T) {
	policy := func(namespace, name string) *securityv1.AuthorizationPolicy {
		return &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "out"}},
		policy("out", mesh.GatewayPolicyName("pay", "out")), policy("out", "msp-own"),
		policy("evil", mesh.GatewayPolicyName("pay", "out")), policy("old", mesh.GatewayPolicyName("pay", "old")),
	}
	r := gatewayReader(t, objects, false)
	for namespace, want := range map[string][]string{"pay": {"old", "out"}, "out": {"out"}, "evil": {"evil"}} {
		live, err := r.live(t.Context(), namespace)
		var got []string
		for _, o := range live {
			got = append(got, o.GetNamespace())
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", namespace, err, diff)
		}
	}
	if o, err := r.Read(t.Context(), "pay"); err != nil || !o.Facts.Namespace.Terminating || len(o.Live) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := r.Read(t.Context(), "nothing"); err == nil {
		t.Error("a namespace without anything is found")
	}
}

// A gateway in the root namespace makes no policy of the mesh's of what is beside it.
func TestPoliciesAtARootGatewayAreNoRootPolicies(t *testing.T) {
	r := gatewayReader(t, []client.Object{
		allowAt("istio-system", mesh.GatewayPolicyName("pay", "istio-system"), nil), allowAt("istio-system", "theirs", nil),
	}, false)
	others, err := r.others(t.Context(), "shop", "istio-system", nil)
	if err != nil || len(others) != 1 || others[0].GetName() != "theirs" {
		t.Errorf("%v, %v", others, err)
	}
}

func gatewayReader(t *testing.T, objects []client.Object, trimmed bool) *Reader {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme, securityv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithIndex(&v1alpha1.MeshSecurityException{}, ExceptionIndex, ExceptionNamespaces)
	for _, i := range Indexes() {
		if k, ok := mesh.KindNamed(i.Kind.Kind); ok {
			b = b.WithIndex(k.New().(client.Object), i.Field, i.Keys)
		}
	}
	for _, o := range objects {
		o = o.DeepCopyObject().(client.Object)
		if trimmed {
			out, err := Trim(o)
			if err != nil {
				t.Fatal(err)
			}
			o = out.(client.Object)
		}
		b = b.WithObjects(o)
	}
	return &Reader{Client: b.Build(), Served: func(k schema.GroupVersionKind) bool { return k.Group != "telemetry.istio.io" }}
}
