package golden

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

const (
	casesDir = "testdata/cases"
	// namespace of every case's profile.
	namespace = "payments"
	absent    = "golden/absent"
)

// now is when every case is observed.
var now = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// operator is what an operator is told by flags.
type operator struct {
	PolicyEnforced facts.Tristate `json:"policyEnforced"`
	ClusterCIDRs   []string       `json:"clusterCIDRs"`
	ClusterDomain  string         `json:"clusterDomain"`
	// Unread are kinds, as KIND.GROUP, that it has no right to read.
	Unread []string `json:"unread"`
}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, netv1.AddToScheme, v1alpha1.AddToScheme,
		admissionv1.AddToScheme, apiextensionsv1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme,
		securityv1.AddToScheme, networkingv1.AddToScheme, networkingv1alpha3.AddToScheme, telemetryv1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}()

var decoder = serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()

func TestGolden(t *testing.T) {
	base := decodeFile(t, "testdata/base.yaml")
	dirs, err := filepath.Glob(casesDir + "/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases in %s: %v", casesDir, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) { runCase(t, dir, base) })
	}
}

func runCase(t testing.TB, dir string, base []client.Object) {
	t.Helper()
	onlyKnownFiles(t, dir)
	c := clusterOf(t, overlay(base, decodeFile(t, filepath.Join(dir, "in.yaml"))), operatorOf(t, dir))

	first := c.reconcile()
	second := c.reconcile()
	if len(second.Steps) > 0 {
		t.Errorf("a second look finds something to do: %+v", second.Steps)
	}
	golden(t, filepath.Join(dir, "posture.yaml"), encode(t, first.Resolution.Posture))
	golden(t, filepath.Join(dir, "resources.yaml"), encodeAll(t, first.Desired))
	golden(t, filepath.Join(dir, "status.yaml"), encode(t, second.Profile.Status))

	whole, err := c.reader.Cluster(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	found, _ := audit.ExamineCluster(&audit.ClusterScene{Cluster: whole, Now: now})
	optional(t, filepath.Join(dir, "cluster.yaml"), found)
}

// optional is a golden file that is not there where nothing is found.
func optional(t testing.TB, path string, found []v1alpha1.Finding) {
	t.Helper()
	if len(found) > 0 {
		golden(t, path, encode(t, found))
		return
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		os.Remove(path) //nolint:errcheck // mostly there is none
	}
	if _, err := os.Stat(path); err == nil {
		t.Errorf("%s: nothing is found any more; take it away with UPDATE_GOLDEN=1", path)
	}
}

// cluster is a case's, and the operator's way of reading it.
type cluster struct {
	t      testing.TB
	client client.Client
	reader *snapshot.Reader
	// implied is the status where there is no profile to keep it.
	implied *v1alpha1.MeshSecurityProfileStatus
}

// reconcile does what the controller does, with a client that never fails: the
// decision's profile carries the status that it wrote.
func (c *cluster) reconcile() decide.Decision {
	c.t.Helper()
	observed, err := c.reader.Read(context.Background(), namespace)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.implied != nil {
		observed.Profiles[0].Status = *c.implied
	}
	d := decide.Make(observed, now)
	if d.Profile == nil {
		c.t.Fatalf("no profile in namespace %s", namespace)
	}
	d.Profile.Status = status.Compute(status.Input{Profile: d.Profile, Observed: observed, Decision: d, Now: now}).Status
	if d.Implied() {
		c.implied = &d.Profile.Status
	} else if err := c.client.Status().Update(context.Background(), d.Profile); err != nil {
		c.t.Fatal(err)
	}
	for _, o := range d.Desired {
		// What is there already is what a second look must not want to change.
		if err := c.client.Create(context.Background(), o.DeepCopyObject().(client.Object)); err != nil && !apierrors.IsAlreadyExists(err) {
			c.t.Fatal(err)
		}
	}
	return d
}

// onlyKnownFiles fails on anything that no run would read or write.
func onlyKnownFiles(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"in.yaml", "operator.yaml", "posture.yaml", "resources.yaml", "status.yaml", "cluster.yaml"}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			t.Errorf("%s: not a file of a case; they are %s", filepath.Join(dir, e.Name()), strings.Join(known, ", "))
		}
	}
}

func operatorOf(t testing.TB, dir string) operator {
	t.Helper()
	o := operator{PolicyEnforced: facts.Yes, ClusterDomain: "cluster.local", ClusterCIDRs: []string{"10.0.0.0/8", "fd00::/8"}}
	raw, err := os.ReadFile(filepath.Join(dir, "operator.yaml"))
	if errors.Is(err, os.ErrNotExist) {
		return o
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(raw, &o); err != nil {
		t.Fatalf("operator.yaml: %v", err)
	}
	return o
}

func decodeFile(t testing.TB, path string) []client.Object {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []client.Object
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		decoded, _, err := decoder.Decode(doc, nil, nil)
		if runtime.IsNotRegisteredError(err) {
			// Of a kind whose types are not imported.
			u := &unstructured.Unstructured{}
			decoded, err = u, yaml.UnmarshalStrict(doc, &u.Object)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		obj, ok := decoded.(client.Object)
		if !ok {
			t.Fatalf("%s: %T is not an object", path, decoded)
		}
		// The API server would give it one.
		if obj.GetUID() == "" {
			obj.SetUID(types.UID("uid-" + obj.GetName()))
		}
		out = append(out, obj)
	}
}

// overlay puts a case's objects on top of the base's.
func overlay(base, over []client.Object) []client.Object {
	replaced := map[string]bool{}
	var out []client.Object
	for _, o := range over {
		replaced[key(o)] = true
		if o.GetAnnotations()[absent] != "true" {
			out = append(out, o)
		}
	}
	for _, o := range base {
		if !replaced[key(o)] {
			out = append(out, o)
		}
	}
	return out
}

func key(o client.Object) string {
	return fmt.Sprintf("%T %s %s/%s", o, o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName())
}

// clusterOf fills a cluster with objects.
func clusterOf(t testing.TB, objects []client.Object, o operator) *cluster {
	t.Helper()
	b := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.MeshSecurityProfile{})
	for _, i := range snapshot.CoreIndexes() {
		b = b.WithIndex(i.Object, i.Field, i.Keys)
	}
	versions := map[schema.GroupKind]string{}
	for _, k := range snapshot.DependantKinds() {
		versions[k.GroupKind] = k.Versions[0]
		b = b.WithIndex(k.New(k.Versions[0]), snapshot.ConcernsIndex, k.Concerns)
		for field, keys := range snapshot.ClusterIndexes(k.GroupKind) {
			b = b.WithIndex(k.New(k.Versions[0]), field, keys)
		}
	}
	for _, i := range snapshot.Indexes() {
		if k, ok := mesh.KindNamed(i.Kind.Kind); ok {
			b = b.WithIndex(k.New().(client.Object), i.Field, i.Keys)
		}
	}
	c := b.WithReturnManagedFields().Build()
	return &cluster{t: t, client: c, reader: &snapshot.Reader{
		Scheme: scheme, Dependant: func(k schema.GroupKind) (string, facts.Tristate) {
			if slices.Contains(o.Unread, k.String()) {
				return "", facts.Unknown
			}
			return versions[k], facts.Yes
		},
		Client: c, Optional: c, Roots: c, Served: func(schema.GroupVersionKind) bool { return true }, ControlPlaneRead: func() bool { return true },
		MeshNamespace: "istio-system", ClusterDomain: o.ClusterDomain,
		Network: facts.Network{
			PolicyEnforced: o.PolicyEnforced, ClusterCIDRs: o.ClusterCIDRs,
			DNS: facts.DNS{Namespace: "kube-system", PodLabels: map[string]string{"k8s-app": "kube-dns"}},
		},
	}}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	out, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// encodeAll writes objects as one would apply them.
func encodeAll(t testing.TB, objects []mesh.Object) []byte {
	t.Helper()
	var docs [][]byte
	for _, o := range objects {
		raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		delete(raw, "status")
		docs = append(docs, encode(t, raw))
	}
	return bytes.Join(docs, []byte("---\n"))
}

func golden(t testing.TB, path string, got []byte) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with UPDATE_GOLDEN=1", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what was reviewed (-reviewed +now); update it with UPDATE_GOLDEN=1:\n%s", path, diff)
	}
}
