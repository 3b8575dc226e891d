package offline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	c, err := New(objects, Defaults())
	if err != nil {
		t.Fatal(err)
	}
	d, r, err := c.Reconcile(t.Context(), "pay", time.Unix(0, 0))
	if err != nil || d.Profile != nil || len(r.Findings) > 0 {
		t.Errorf("%v %+v %+v", err, d.Profile, r)
	}
}
