package corpus

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	memory "github.com/meshsecurity/mesh-security-operator/internal/offline"
	"github.com/meshsecurity/mesh-security-operator/test/offline"
)

const (
	common   = "testdata/common"
	clusters = "testdata/clusters"
	page     = "../../docs/reference/istioctl.md"
)

// now is when every cluster is looked at.
var now = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// folders are those of all clusters.
func folders(t *testing.T) []string {
	t.Helper()
	out, err := filepath.Glob(clusters + "/*")
	if err != nil || len(out) == 0 {
		t.Fatalf("no clusters in %s: %v", clusters, err)
	}
	return out
}

// inputs are the files of a cluster, sorted by name.
func inputs(t *testing.T, dir string) []string {
	t.Helper()
	files := map[string]string{}
	for _, from := range []string{common, dir} {
		list, err := filepath.Glob(from + "/*.yaml")
		if err != nil || len(list) == 0 {
			t.Fatalf("no files in %s: %v", from, err)
		}
		for _, f := range list {
			files[filepath.Base(f)] = f
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, files[name])
	}
	return out
}

func TestGoldenClusters(t *testing.T) {
	for _, dir := range folders(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			findings, written := examine(t, dir)
			golden(t, filepath.Join(dir, "out", "findings.yaml"), encode(t, findings))
			golden(t, filepath.Join(dir, "out", "resources.yaml"), written)
		})
	}
}

// examine has the operator reconcile every namespace, and look again once
// everything is written. What it writes is returned as one would apply it.
func examine(t *testing.T, dir string) (findings []Finding, written []byte) {
	t.Helper()
	objects, err := offline.Read(inputs(t, dir)...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := offline.New(objects, offline.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	var list corev1.NamespaceList
	if err := c.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	var desired []mesh.Object
	for _, ns := range list.Items {
		d, _, err := c.Reconcile(t.Context(), ns.Name, now)
		if err != nil {
			t.Fatal(err)
		}
		desired = append(desired, d.Desired...)
	}
	for _, ns := range list.Items {
		findings = append(findings, found(t, c, ns.Name)...)
	}
	whole, err := c.Reader.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ofCluster, _ := audit.ExamineCluster(&audit.ClusterScene{Cluster: whole, Now: now})
	return append(findings, findingsOf("", ofCluster)...), encodeAll(t, desired)
}

func found(t *testing.T, c *offline.Cluster, namespace string) []Finding {
	t.Helper()
	d, r, err := c.Reconcile(context.Background(), namespace, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Steps) > 0 {
		t.Errorf("a second look at %s finds something to do: %+v", namespace, d.Steps)
	}
	return findingsOf(namespace, r.Findings)
}

func findingsOf(namespace string, findings []v1alpha1.Finding) []Finding {
	var out []Finding
	for _, f := range findings {
		out = append(out, Finding{
			Check: f.Check, Severity: string(f.Severity), State: string(f.State), Namespace: namespace, Subject: f.Subject, Message: f.Message,
		})
	}
	return out
}

// read returns a cluster with what was written about it.
func read(t *testing.T, dir string) Cluster {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "in.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	wrong, is := strings.CutPrefix(first, "# ")
	if !is {
		t.Fatalf("%s/in.yaml: the first line has to say what is wrong, as a comment", dir)
	}
	c := Cluster{Name: filepath.Base(dir), Wrong: strings.TrimSuffix(wrong, ".")}
	load(t, filepath.Join(dir, "out", "findings.yaml"), &c.Findings)
	load(t, filepath.Join(dir, "out", "istioctl.yaml"), &c.Messages)
	return c
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if os.IsNotExist(err) && os.Getenv("UPDATE_GOLDEN") != "" {
		return // It comes later.
	}
	if err != nil {
		t.Fatalf("%v; write it with make golden-istio", err)
	}
	if err := yaml.UnmarshalStrict(raw, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func all(t *testing.T) []Cluster {
	t.Helper()
	var out []Cluster
	for _, dir := range folders(t) {
		out = append(out, read(t, dir))
	}
	return out
}

func reasons(t *testing.T) Reasons {
	t.Helper()
	var out Reasons
	load(t, "testdata/reasons.yaml", &out)
	return out
}

func registry() map[string]audit.Check {
	out := map[string]audit.Check{}
	for _, c := range audit.Checks() {
		out[c.ID] = c
	}
	return out
}

// The page is checked after the clusters: with UPDATE_GOLDEN it is made of what
// was just written.
func TestPage(t *testing.T) {
	golden(t, page, []byte(Page(all(t), audit.Checks(), reasons(t))))
}

// Every check has a cluster in which it fails: whoever adds a check adds one.
// What a check can't tell counts, since some can never tell more.
func TestEveryCheckFailsSomewhere(t *testing.T) {
	fails := map[string]bool{}
	for _, c := range all(t) {
		for _, f := range c.Findings {
			if f.State != string(v1alpha1.FindingExcepted) {
				fails[f.Check] = true
			}
		}
	}
	for _, c := range audit.Checks() {
		if !fails[c.ID] {
			t.Errorf("no folder of %s has %s (%s) fail: add one", clusters, c.ID, c.Title)
		}
	}
}

// Istio's analyzers look at objects as the API server returns them: a port
// without a protocol is none to them.
func TestObjectsHaveTheirDefaults(t *testing.T) {
	for _, dir := range folders(t) {
		objects, err := offline.Read(inputs(t, dir)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			svc, is := o.(*corev1.Service)
			if !is {
				continue
			}
			for _, p := range svc.Spec.Ports {
				if p.Protocol == "" || p.TargetPort.String() == "0" {
					t.Errorf("%s: port %s of Service %s/%s needs protocol and targetPort, which the API server would fill in", dir, p.Name, svc.Namespace, svc.Name)
				}
			}
		}
	}
}

func TestThereAreEnoughClusters(t *testing.T) {
	if n := len(folders(t)); n < 60 {
		t.Errorf("%d clusters; there have to be 60 at least", n)
	}
}

func TestNothingIsFoundWhereNothingIsWrong(t *testing.T) {
	good := 0
	for _, c := range all(t) {
		if !c.Good() {
			continue
		}
		good++
		if c.Seen() {
			t.Errorf("%s: the audit finds %+v, and istioctl says %+v", c.Name, c.Findings, c.Messages)
		}
	}
	if good < 3 {
		t.Errorf("%d clusters have nothing wrong; there have to be some", good)
	}
}

// Something is wrong everywhere else. Where neither sees it, that is a gap that
// is known and says why it is there; once somebody sees it, it is none any more.
func TestWhatNeitherSeesIsKnown(t *testing.T) {
	given := reasons(t).Unseen
	unseen := map[string]bool{}
	for _, c := range all(t) {
		if !c.Good() && !c.Seen() {
			unseen[c.Name] = true
			if given[c.Name] == "" {
				t.Errorf("%s: neither sees that %s", c.Name, c.Wrong)
			}
		}
	}
	for name := range given {
		if !unseen[name] {
			t.Errorf("somebody sees what is wrong in %s: take its reason away", name)
		}
	}
}

// No difference is left unexplained, and no reason is left over.
func TestEveryDifferenceHasItsReason(t *testing.T) {
	given, checks := reasons(t), registry()
	used := map[string]bool{}
	for _, c := range all(t) {
		for _, r := range Compare(c, checks, given) {
			used[r.reason] = true
			used[string(r.Who)+r.Check] = true
			if r.Who != Both && r.Why == "" {
				t.Errorf("%s: %s: %s%s has no reason in testdata/reasons.yaml", c.Name, r.Who, r.Check, r.Code)
			}
		}
	}
	for key := range given.Istioctl {
		if !used[key] {
			t.Errorf("istioctl is alone with %s nowhere: take its reason away", key)
		}
	}
	for id := range given.Silent {
		if !used[string(OnlyOurs)+id] || len(codes(checks[id])) == 0 {
			t.Errorf("we are alone with %s, though istioctl has a code for it, nowhere: take its reason away", id)
		}
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	out, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// encodeAll writes objects as one would apply them.
func encodeAll(t *testing.T, objects []mesh.Object) []byte {
	t.Helper()
	out, err := memory.YAML(objects)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// golden compares a file with what it is to be; nothing is to be no file.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			return
		}
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil && (len(got) > 0 || !os.IsNotExist(err)) {
		t.Fatalf("%v; write it with make golden", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what was reviewed (-reviewed +now); update it with make golden:\n%s", path, diff)
	}
}
