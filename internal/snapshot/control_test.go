package snapshot

import (
	"slices"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func rule(group, resource, verb string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"other", group}, Resources: []string{"other", resource}, Verbs: []string{"other", verb}, ResourceNames: names}
}

func TestPowers(t *testing.T) {
	const istio, ours = "networking.istio.io", "meshsecurity.io"
	for _, c := range []struct {
		rule rbacv1.PolicyRule
		want []facts.Power
	}{
		{rule("*", "*", "*"), facts.AllPowers()},
		{rule(istio, "virtualservices", "patch"), []facts.Power{facts.PowerMesh}},
		{rule("security.istio.io", "*", "create"), []facts.Power{facts.PowerMesh}},
		{rule("telemetry.istio.io", "telemetries", "delete"), []facts.Power{facts.PowerMesh}},
		{rule("extensions.istio.io", "wasmplugins", "update", "own"), []facts.Power{facts.PowerMesh}},
		{rbacv1.PolicyRule{APIGroups: []string{istio}, Resources: []string{"virtualservices/status"}, Verbs: []string{"update"}}, nil},
		{rule(istio, "virtualservices", "list"), nil},
		{rule(ours, "meshsecuritybaselines", "patch"), []facts.Power{facts.PowerPosture}},
		{rule(ours, "meshsecurityexceptions", "create"), []facts.Power{facts.PowerPosture}},
		{rule(ours, "meshsecurityprofiles", "*"), []facts.Power{facts.PowerProfiles}},
		{rule(ours, "meshsecurityprofiles/status", "update"), nil},
		{rule("", "secrets", "get"), []facts.Power{facts.PowerSecrets}},
		{rule("", "secrets", "list", "cacerts"), []facts.Power{facts.PowerSecrets}},
		{rule("", "secrets", "get", "own-tls"), nil},
		{rule("", "secrets", "create"), nil},
		{rule("", "serviceaccounts/token", "create"), []facts.Power{facts.PowerTokens}},
		{rule("", "*/token", "create"), []facts.Power{facts.PowerTokens}},
		{rule("", "serviceaccounts/token", "create", "vault"), nil},
		{rule("", "serviceaccounts/token", "create", "istiod"), []facts.Power{facts.PowerTokens}},
		{rule("", "serviceaccounts", "create"), nil},
		{rule(rbacv1.GroupName, "clusterroles", "escalate"), []facts.Power{facts.PowerRights}},
		{rule(rbacv1.GroupName, "roles", "bind"), []facts.Power{facts.PowerRights}},
		{rule(rbacv1.GroupName, "clusterroles", "bind", "view"), nil},
		{rule(rbacv1.GroupName, "rolebindings", "create"), nil},
		{rule("", "groups", "impersonate"), []facts.Power{facts.PowerImpersonate}},
		{rule("", "users", "impersonate", "bot"), nil},
		{rule("apps", "deployments", "*"), nil},
	} {
		if got := powers(c.rule); !slices.Equal(got, c.want) {
			t.Errorf("%v %v %v %v: %v, want %v", c.rule.APIGroups, c.rule.Resources, c.rule.Verbs, c.rule.ResourceNames, got, c.want)
		}
	}
}

func route(namespace string, gateways, exportTo []string, hosts ...string) *networkingv1.VirtualService {
	v := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "v"}}
	v.Spec.Hosts, v.Spec.Gateways, v.Spec.ExportTo = hosts, gateways, exportTo
	return v
}

func entry(exportTo ...string) *networkingv1.ServiceEntry {
	e := &networkingv1.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: "e"}}
	e.Spec.Hosts, e.Spec.ExportTo = []string{"api.test"}, exportTo
	return e
}

// Of what namespaces have, the index and the events of the cluster's audit hold
// what can matter to others alone, and the cache keeps enough to tell.
func TestConcernsOfWhoCommandsTheMesh(t *testing.T) {
	const theirs = "cart.shop.svc.cluster.local"
	subject := []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "eve"}}
	labelled := func(labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "istio-system", Name: "x", Labels: labels}
	}
	for name, c := range map[string]struct {
		o    client.Object
		want bool
	}{
		"a route for another one's service":      {route("evil", nil, nil, theirs), true},
		"a route for another one's, by mesh too": {route("evil", []string{"gw", "mesh"}, []string{"shop"}, theirs), true},
		"a route for all of another one's":       {route("evil", nil, nil, "*.shop.svc.cluster.local"), true},
		"a route for a host outside":             {route("evil", nil, nil, "api.test"), true},
		"a route for its own":                    {route("shop", nil, nil, theirs, "cart", "*.shop.svc.cluster.local", "cart.shop", "cart.shop.svc"), false},
		"a route for its own calls":              {route("evil", nil, []string{".", "evil"}, theirs), false},
		"a route at a gateway":                   {route("evil", []string{"gw"}, nil, theirs), false},
		"a route that poses as the operator's": {func() client.Object {
			v := route("evil", nil, nil, theirs)
			v.Name, v.Labels = "msp-egress", map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}
			return v
		}(), true},
		"an entry for everybody": {entry(), true},
		"an entry for itself":    {entry("."), false},
		"a role with a power":    {&rbacv1.Role{Rules: []rbacv1.PolicyRule{rule("apps", "deployments", "get"), rule("security.istio.io", "*", "patch")}}, true},
		"a role without":         {&rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{rule("apps", "deployments", "*")}}, false},
		"a binding":              {&rbacv1.RoleBinding{Subjects: subject}, true},
		"a binding of nobody":    {&rbacv1.ClusterRoleBinding{}, false},
		"an injector":            {&admissionv1.MutatingWebhookConfiguration{ObjectMeta: labelled(map[string]string{"app": "sidecar-injector"})}, true},
		"a validator":            {&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "istiod-default-validator"}}, true},
		"another webhook":        {&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: labelled(map[string]string{"app": "istiod"})}, false},
		"istiod's service":       {&corev1.Service{ObjectMeta: labelled(map[string]string{"app": "istiod"})}, true},
		"another service":        {&corev1.Service{ObjectMeta: labelled(nil)}, false},
		"a policy":               {&netv1.NetworkPolicy{ObjectMeta: labelled(nil)}, true},
	} {
		if got := concernsControl(c.o); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
		kept, err := Trim(c.o)
		if err != nil {
			t.Fatal(err)
		}
		if o, ok := kept.(client.Object); !ok || concernsControl(o) != c.want {
			t.Errorf("%s: the cache keeps too little", name)
		}
	}
}

// The cache keeps of roles what holds a power, of bindings the role, and of
// istiod's webhooks alone whom they pass over.
func TestTrimKeepsWhoCommandsTheMesh(t *testing.T) {
	trimmed := func(o client.Object) any {
		out, err := Trim(o)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	role, _ := trimmed(&rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{rule("apps", "deployments", "get"), rule("", "secrets", "get")}}).(*rbacv1.ClusterRole)
	if len(role.Rules) != 1 || role.Rules[0].Resources[1] != "secrets" {
		t.Errorf("%+v", role.Rules)
	}
	binding, _ := trimmed(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "routes"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "eve"}}}).(*rbacv1.RoleBinding)
	if got := roleKeys(binding); !slices.Equal(got, []string{"Role/shop/routes"}) || binding.Subjects[0].Name != "eve" {
		t.Errorf("%v %+v", got, binding.Subjects)
	}
	hook := []admissionv1.MutatingWebhook{{Name: "a", FailurePolicy: new(admissionv1.Ignore), ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		ClientConfig: admissionv1.WebhookClientConfig{CABundle: []byte("x")}}}
	for name, want := range map[string]bool{"istio-sidecar-injector-canary": true, "another": false} {
		kept, _ := trimmed(&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: hook}).(*admissionv1.MutatingWebhookConfiguration)
		if h := kept.Webhooks[0]; (h.FailurePolicy != nil) != want || (h.ObjectSelector != nil) != want || h.ClientConfig.CABundle != nil {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func TestAddresses(t *testing.T) {
	args := []string{"discovery", "--monitoringAddr=:15014", "--domain", "cluster.local", "--grpcAddr", "", "--httpAddr=localhost:8080"}
	got := addresses(keptArgs(args))
	if len(got) != 3 || got["--monitoringAddr"] != ":15014" || got["--grpcAddr"] != "" || got["--httpAddr"] != "localhost:8080" {
		t.Errorf("%v", got)
	}
	if len(addresses([]string{"discovery", "--domain=x"})) != 0 {
		t.Error("made up")
	}
}
