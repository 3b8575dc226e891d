package mesh

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	dirs, err := filepath.Glob(transitionsDir + "/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no transitions in %s: %v", transitionsDir, err)
	}
	s := theStage(t)
	services := servicesOf(t, s)
	for _, dir := range dirs {
		c := transition{name: filepath.Base(dir)}
		for file, text := range map[string]*string{"before.yaml": &c.before, "after.yaml": &c.after} {
			raw, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			*text = string(raw)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "calls.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(raw, &c); err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		t.Run(c.name, func(t *testing.T) { goThrough(t, s, services, c) })
	}
}

func goThrough(t *testing.T, s *stage.Stage, services []corev1.Service, c transition) {
	t.Helper()
	t.Cleanup(func() { withdraw(t, s, scenario{objects: c.before}) })
	to := func(objects string) {
		t.Helper()
		if err := s.Apply(objects); err != nil {
			t.Fatal(err)
		}
		if err := s.Eventually(t.Context(), "the profile to be dealt with", func(ctx context.Context) error { return dealtWith(ctx, s, objects) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	to(c.before)
	stop := startCalls(t, s, services, c)
	for range 2 {
		to(c.after)
		to(c.before)
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
