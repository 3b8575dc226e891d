package effective

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// kinds of a test's objects, by the abbreviations that its lines begin with.
var kinds = map[string]func() facts.Object{
	"PA": func() facts.Object { return &securityv1.PeerAuthentication{} },
	"AP": func() facts.Object { return &securityv1.AuthorizationPolicy{} },
	"RA": func() facts.Object { return &securityv1.RequestAuthentication{} },
	"SC": func() facts.Object { return &networkingv1.Sidecar{} },
	"SE": func() facts.Object { return &networkingv1.ServiceEntry{} },
	"DR": func() facts.Object { return &networkingv1.DestinationRule{} },
	"NP": func() facts.Object { return &netv1.NetworkPolicy{} },
	"TE": func() facts.Object { return &telemetryv1.Telemetry{} },
	"EF": func() facts.Object { return &networkingv1alpha3.EnvoyFilter{} },
	"VS": func() facts.Object { return &networkingv1.VirtualService{} },
}

// object reads "KIND [NAMESPACE/]NAME[@AGE] [KEY=VALUE …] SPEC": the higher the
// age, the older; KEY is a label, or with a leading "!" an annotation.
func object(t testing.TB, line string) facts.Object {
	t.Helper()
	head, spec, ok := strings.Cut(line, "{")
	words := strings.Fields(head)
	if !ok || len(words) < 2 || kinds[words[0]] == nil {
		t.Fatalf("not an object: %s", line)
	}
	o := kinds[words[0]]()
	raw, err := yaml.YAMLToJSON([]byte("{" + spec))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(`{"spec":` + string(raw) + `}`)))
	if err := d.Decode(o); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	name, age, _ := strings.Cut(words[1], "@")
	namespace := "pay"
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		namespace, name = ns, rest
	}
	o.SetNamespace(namespace)
	o.SetName(name)
	if age != "" {
		var years int
		if _, err := fmt.Sscan(age, &years); err != nil {
			t.Fatal(err)
		}
		o.SetCreationTimestamp(metav1.NewTime(time.Date(2020-years, 1, 1, 0, 0, 0, 0, time.UTC)))
	}
	labels, annotations := map[string]string{}, map[string]string{}
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		if a, is := strings.CutPrefix(k, "!"); is {
			annotations[a] = v
		} else {
			labels[k] = v
		}
	}
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
	return o
}

// world of namespace pay, with one object a line.
func world(t testing.TB, lines string) World {
	t.Helper()
	w := World{Namespace: "pay", Mesh: facts.Mesh{
		Observed: true, ConfigRead: true, RootNamespace: "istio-system", TrustDomain: "cluster.local", ClusterDomain: "cluster.local",
		Revision: "default", RegistryOnly: facts.No, AutoMutualTLS: facts.Yes, Authorizers: []facts.Authorizer{{Name: "x"}, {Name: "z"}},
	}}
	for line := range strings.SplitSeq(lines, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			w.Objects = append(w.Objects, object(t, line))
		}
	}
	return w
}

func TestMutualTLS(t *testing.T) {
	for _, r := range []struct{ says, objects, labels, want string }{
		{"the mesh's default is permissive", ``, "app=a:80", "PERMISSIVE"},
		{"the root namespace's mode is inherited", `PA istio-system/r {mtls: {mode: STRICT}}`, "app=a:80", "STRICT r"},
		{"a namespace overrides the root namespace", "PA istio-system/r {mtls: {mode: STRICT}}\nPA n {mtls: {mode: DISABLE}}", "app=a:80", "DISABLE n"},
		{"UNSET in a namespace inherits", "PA istio-system/r {mtls: {mode: STRICT}}\nPA n {mtls: {}}", "app=a:80", "STRICT r"},
		{"a workload overrides its namespace", "PA n {mtls: {mode: STRICT}}\nPA w {selector: {matchLabels: {app: a}}, mtls: {mode: PERMISSIVE}}", "app=a:80", "PERMISSIVE w"},
		{"another workload's has no force", "PA n {mtls: {mode: STRICT}}\nPA w {selector: {matchLabels: {app: a}}, mtls: {mode: PERMISSIVE}}", "app=b:80", "STRICT n"},
		{"UNSET of a workload inherits", "PA n {mtls: {mode: STRICT}}\nPA w {selector: {matchLabels: {app: a}}}", "app=a:80", "STRICT n"},
		{"a port overrides its workload", "PA w {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {\"80\": {mode: DISABLE}}}", "app=a:80", "DISABLE w"},
		{"another port's has no force", "PA w {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {\"80\": {mode: DISABLE}}}", "app=a:81", "STRICT w"},
		{"UNSET of a port inherits", "PA w {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {\"80\": {}}}", "app=a:80", "STRICT w"},
		{"ports without a selector have no force", "PA n {mtls: {mode: STRICT}, portLevelMtls: {\"80\": {mode: DISABLE}}}", "app=a:80", "STRICT n"},
		{"a port inherits the namespace's mode", "PA n {mtls: {mode: STRICT}}\nPA w {selector: {matchLabels: {app: a}}, portLevelMtls: {\"80\": {}}}", "app=a:80", "STRICT n"},
		{"the oldest of a namespace wins", "PA a@1 {mtls: {mode: STRICT}}\nPA b@2 {mtls: {mode: DISABLE}}", "app=a:80", "DISABLE b"},
		{"the oldest for a workload wins", "PA a@1 {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}\nPA b@2 {selector: {matchLabels: {x: z}}, mtls: {mode: DISABLE}}", "app=a,x=z:80", "DISABLE b"},
		{"the oldest for a workload wins as a whole", "PA a@1 {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {\"80\": {mode: DISABLE}}}\nPA b@2 {selector: {matchLabels: {x: z}}}", "app=a,x=z:80", "PERMISSIVE"},
		{"of the same age the first by name wins", "PA b@1 {mtls: {mode: STRICT}}\nPA a@1 {mtls: {mode: DISABLE}}", "app=a:80", "DISABLE a"},
		{"one that is yet to be created is the youngest", "PA a {mtls: {mode: STRICT}}\nPA b@1 {mtls: {mode: DISABLE}}", "app=a:80", "DISABLE b"},
		{"a selector in the root namespace has no force", `PA istio-system/r {selector: {matchLabels: {app: a}}, mtls: {mode: DISABLE}}`, "app=a:80", "PERMISSIVE"},
		{"the oldest of the root namespace wins", "PA istio-system/a@1 {mtls: {mode: STRICT}}\nPA istio-system/b@2 {mtls: {mode: DISABLE}}", "app=a:80", "DISABLE b"},
		{"another namespace's has no force", `PA other/r {mtls: {mode: STRICT}}`, "app=a:80", "PERMISSIVE"},
		{"another revision's has no force", `PA n istio.io/rev=canary {mtls: {mode: STRICT}}`, "app=a:80", "PERMISSIVE"},
		{"its own revision's has", `PA n istio.io/rev=default {mtls: {mode: STRICT}}`, "app=a:80", "STRICT n"},
	} {
		t.Run(r.says, func(t *testing.T) {
			pairs, number, _ := strings.Cut(r.labels, ":")
			mode, by := New(world(t, r.objects)).MutualTLS(labelsOf(pairs), portOf(t, number))
			if got := strings.TrimSpace(mode + " " + by.Name); got != r.want {
				t.Errorf("got %s, want %s", got, r.want)
			}
		})
	}
}

func labelsOf(pairs string) Labels {
	out := Labels{}
	for pair := range strings.SplitSeq(pairs, ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			out[k] = v
		}
	}
	return out
}

func portOf(t testing.TB, s string) int32 {
	t.Helper()
	var n int32
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMutualTLSIsUnknownWithoutTheRoot(t *testing.T) {
	w := World{Namespace: "pay", Partial: true}
	if mode, _ := New(w).MutualTLS(nil, 80); mode != "UNSET" {
		t.Error(mode)
	}
	w.Mesh.RootMutualTLS = "STRICT"
	if mode, _ := New(w).MutualTLS(nil, 80); mode != "STRICT" {
		t.Error(mode)
	}
}
