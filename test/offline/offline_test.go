package offline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "in.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const aPod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: pay}\n"

// An error says in which file, which document of it, and why.
func TestReadSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ says, text, want string }{
		{"no YAML", "# a comment\n---\n{", "in.yaml: document 2: "},
		{"a field that is not there", aPod + "---\n" + aPod + "spec: {podname: x}\n", `document 2: strict decoding error: unknown field "spec.podname"`},
		{"no name", "apiVersion: v1\nkind: Pod\n", "document 1: metadata.name is missing"},
		{"no kind", "metadata: {name: a}\n", "document 1: "},
		{"twice", aPod + "---\n# the same\n" + aPod, "document 2: Pod pay/a is in "},
		{"gone", "apiVersion: v1\nkind: Namespace\nmetadata: {name: pay, deletionTimestamp: \"2027-01-01T00:00:00Z\"}\n", "document 1: Namespace pay has a deletionTimestamp and no finalizers"},
		{"a list", "apiVersion: v1\nkind: PodList\nitems: []\n", "document 1: *v1.PodList is not an object"},
	} {
		t.Run(c.says, func(t *testing.T) {
			if _, err := Read(write(t, c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
	if _, err := Read("nowhere.yaml"); err == nil || !strings.Contains(err.Error(), "nowhere.yaml") {
		t.Errorf("got %v", err)
	}
	first, second := write(t, aPod), write(t, aPod)
	if _, err := Read(first, second); err == nil || !strings.HasPrefix(err.Error(), second) || !strings.Contains(err.Error(), first) {
		t.Errorf("twice in two files: %v", err)
	}
}

func TestOverlay(t *testing.T) {
	base, err := Read(write(t, aPod+"---\n"+strings.Replace(aPod, "name: a", "name: b", 1)+"---\n"+strings.Replace(aPod, "name: a", "name: c", 1)))
	if err != nil {
		t.Fatal(err)
	}
	over, err := Read(write(t, strings.Replace(aPod, "name: a", "name: a, labels: {new: \"yes\"}", 1)+"---\n"+strings.Replace(aPod, "name: a", `name: b, annotations: {golden/absent: "true"}`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range Overlay(base, over) {
		got = append(got, o.GetName()+o.GetLabels()["new"])
	}
	if strings.Join(got, " ") != "ayes c" {
		t.Errorf("got %v", got)
	}
}

// A namespace that nothing is declared for is left alone.
func TestNothingIsDeclared(t *testing.T) {
	objects, err := Read(write(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: pay}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := New(objects, Defaults())
	d, r, err := c.Reconcile(t.Context(), "pay", time.Unix(0, 0))
	if err != nil || d.Profile != nil || len(r.Findings) > 0 {
		t.Errorf("%v %+v %+v", err, d.Profile, r)
	}
	var pods corev1.PodList
	if err := c.Client.List(t.Context(), &pods); err != nil || len(pods.Items) > 0 {
		t.Errorf("%v %+v", err, pods.Items)
	}
}
