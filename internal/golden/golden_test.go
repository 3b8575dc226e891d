package golden

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	memory "github.com/meshsecurity/mesh-security-operator/internal/offline"
	"github.com/meshsecurity/mesh-security-operator/test/offline"
)

const (
	casesDir = "testdata/cases"
	// namespace of every case's profile.
	namespace = "payments"
)

// now is when every case is observed.
var now = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

func TestGolden(t *testing.T) {
	base := read(t, "testdata/base.yaml")
	dirs, err := filepath.Glob(casesDir + "/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases in %s: %v", casesDir, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) { runCase(t, dir, base) })
	}
}

func runCase(t *testing.T, dir string, base []client.Object) {
	t.Helper()
	onlyKnownFiles(t, dir)
	c := clusterOf(t, offline.Overlay(base, read(t, filepath.Join(dir, "in.yaml"))), dir)

	first := reconcile(t, c)
	second := reconcile(t, c)
	if len(second.Steps) > 0 {
		t.Errorf("a second look finds something to do: %+v", second.Steps)
	}
	golden(t, filepath.Join(dir, "posture.yaml"), encode(t, first.Resolution.Posture))
	golden(t, filepath.Join(dir, "resources.yaml"), encodeAll(t, first.Desired))
	golden(t, filepath.Join(dir, "status.yaml"), encode(t, second.Profile.Status))

	whole, err := c.Reader.Cluster(t.Context())
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

// reconcile returns a decision whose profile carries the status that was written.
func reconcile(t testing.TB, c *offline.Cluster) decide.Decision {
	t.Helper()
	d, _, err := c.Reconcile(t.Context(), namespace, now)
	if err != nil {
		t.Fatal(err)
	}
	if d.Profile == nil {
		t.Fatalf("no profile in namespace %s", namespace)
	}
	return d
}

func clusterOf(t testing.TB, objects []client.Object, dir string) *offline.Cluster {
	t.Helper()
	c, err := offline.New(objects, operatorOf(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t testing.TB, file string) []client.Object {
	t.Helper()
	out, err := offline.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return out
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

func operatorOf(t testing.TB, dir string) offline.Operator {
	t.Helper()
	o := offline.Defaults()
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
	out, err := memory.YAML(objects)
	if err != nil {
		t.Fatal(err)
	}
	return out
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
