package mesh

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/test/mesh/stage"
)

const transitionsDir = "testdata/transitions"

// transition is a change of what is declared, there and back again.
type transition struct {
	name, before, after string
	// About says what is changed.
	About string `json:"about"`
	// Calls come to the same before, after, and all the time between.
	Calls []entry `json:"calls"`
}

// TestTransitions makes calls without a pause while a profile is changed: what
// is allowed before and after must not be stopped in between, nor the other way.
func TestTransitions(t *testing.T) {
	s := theStage(t)
	services := servicesOf(t, s)
	for _, c := range readTransitions(t) {
		t.Run(c.name, func(t *testing.T) { goThrough(t, s, services, c) })
	}
}

func readTransitions(t *testing.T) (out []transition) {
	t.Helper()
	dirs, err := filepath.Glob(transitionsDir + "/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no transitions in %s: %v", transitionsDir, err)
	}
	for _, dir := range dirs {
		c := transition{name: filepath.Base(dir)}
		var calls string
		for file, text := range map[string]*string{"before.yaml": &c.before, "after.yaml": &c.after, "calls.yaml": &calls} {
			raw, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			*text = string(raw)
		}
		if err := yaml.UnmarshalStrict([]byte(calls), &c); err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		out = append(out, c)
	}
	return out
}

func goThrough(t *testing.T, s *stage.Stage, services []corev1.Service, c transition) {
	t.Helper()
	t.Cleanup(func() { withdraw(t, s, scenario{objects: c.before}) })
	to := func(objects, other string) {
		t.Helper()
		if err := s.Apply(objects); err != nil {
			t.Fatal(err)
		}
		kept := objectsOf(t, objects)
		for _, o := range objectsOf(t, other) {
			if !slices.ContainsFunc(kept, func(k *unstructured.Unstructured) bool {
				return k.GetKind() == o.GetKind() && k.GetName() == o.GetName()
			}) {
				remove(t.Context(), t, s, o)
			}
		}
		if err := s.Eventually(t.Context(), "the profile to be dealt with", func(ctx context.Context) error { return dealtWith(ctx, s, objects) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	to(c.before, "")
	stop := startCalls(t, s, services, c)
	for range 2 {
		to(c.after, c.before)
		to(c.before, c.after)
	}
	stop()
}

// startCalls makes every call again and again, each caller one after the other,
// until stop is called, which fails the test where one came to something else.
func startCalls(t *testing.T, s *stage.Stage, services []corev1.Service, c transition) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var all sync.WaitGroup
	for _, call := range (&scenario{Calls: c.Calls}).calls() {
		r, err := routeOf(s, services, call)
		if err != nil {
			t.Fatalf("%s: %v", call, err)
		}
		all.Go(func() {
			began, made := time.Now(), 0
			wrong := map[string]int{}
			var first time.Duration
			for ctx.Err() == nil {
				a, err := r.from.Do(ctx, r.request())
				if err != nil {
					break
				}
				made++
				if passed := a.Server == r.to.Name; passed != (r.Expect == passes) {
					if len(wrong) == 0 {
						first = time.Since(began)
					}
					wrong[fmt.Sprintf("%d %s %s", a.Status, a.Text, a.Error)]++
				}
			}
			if len(wrong) > 0 {
				t.Errorf("%s: should always come to %s, and of %d calls these did not, the first after %s: %v", r.call, r.Expect, made, first.Round(time.Millisecond), wrong)
			} else {
				t.Logf("%s: %s, %d times", r.call, r.Expect, made)
			}
			if made < 20 {
				t.Errorf("%s: %d calls are too few to tell", r.call, made)
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}
