package golden

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
	"github.com/meshsecurity/mesh-security-operator/test/offline"
)

// BenchmarkDecide is the operator's own share of a reconcile, without reading
// and writing: everything from what was observed to the steps and the status,
// for the richest case, once when it is new and once when nothing changed; then
// with objects of others that change nothing, and with some that do.
func BenchmarkDecide(b *testing.B) {
	dir := filepath.Join(casesDir, "everything-at-once")
	for _, run := range []struct {
		name    string
		settled bool
		// others are cases whose objects of others are there too.
		others []string
	}{
		{"new", false, nil},
		{"settled", true, nil},
		{"settled beside others", true, []string{"foreign-allow-that-opens-nothing-new"}},
		{"shadowed by one", true, []string{"shadowed-by-a-wider-allow"}},
		{"shadowed by six", true, []string{"shadowed-by-a-wider-allow", "shadowed-by-two-that-do-the-same", "shadowed-from-the-root-namespace", "shadowed-by-an-older-sidecar"}},
	} {
		b.Run(run.name, func(b *testing.B) {
			objects := offline.Overlay(read(b, "testdata/base.yaml"), read(b, filepath.Join(dir, "in.yaml")))
			for _, o := range run.others {
				for _, o := range read(b, filepath.Join(casesDir, o, "in.yaml")) {
					if _, is := o.(*v1alpha1.MeshSecurityProfile); !is {
						objects = append(objects, o)
					}
				}
			}
			c := clusterOf(b, objects, dir)
			if run.settled {
				reconcile(b, c)
			}
			observed, err := c.Reader.Read(context.Background(), namespace)
			if err != nil {
				b.Fatal(err)
			}
			written := 0
			for b.Loop() {
				d := decide.Make(observed, now)
				status.Compute(status.Input{Profile: d.Profile, Observed: observed, Decision: d, Now: now})
				written = len(d.Desired)
			}
			b.ReportMetric(float64(written), "objects")
		})
	}
}
