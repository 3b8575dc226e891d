package golden

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// BenchmarkDecide is the operator's own share of a reconcile, without reading
// and writing: everything from what was observed to the steps and the status,
// for the richest case, once when it is new and once when nothing changed.
func BenchmarkDecide(b *testing.B) {
	dir := filepath.Join(casesDir, "everything-at-once")
	for _, settled := range []bool{false, true} {
		name := "new"
		if settled {
			name = "settled"
		}
		b.Run(name, func(b *testing.B) {
			c := clusterOf(b, overlay(decodeFile(b, "testdata/base.yaml"), decodeFile(b, filepath.Join(dir, "in.yaml"))), operatorOf(b, dir))
			if settled {
				c.reconcile()
			}
			observed, err := c.reader.Read(context.Background(), namespace)
			if err != nil {
				b.Fatal(err)
			}
			objects := 0
			for b.Loop() {
				d := decide.Make(observed, now)
				status.Compute(status.Input{Profile: d.Profile, Observed: observed, Decision: d, Now: now})
				objects = len(d.Desired)
			}
			b.ReportMetric(float64(objects), "objects")
		})
	}
}
