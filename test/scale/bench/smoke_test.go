package main

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/meshsecurity/mesh-security-operator/test/scale/measure"
)

func thresholds(t *testing.T) measure.Thresholds {
	t.Helper()
	text, err := os.ReadFile("../thresholds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := measure.ParseThresholds(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEveryThresholdIsOfAFigure(t *testing.T) {
	names := map[string]bool{}
	for _, b := range benchmarks {
		for _, f := range b.figures {
			names[f] = true
		}
	}
	for name := range thresholds(t) {
		if !names[name] {
			t.Errorf("there is a threshold of %q and no such figure", name)
		}
	}
}

// A small run, in which no time is judged: counts are what they have to be, and
// both the operator and the floor undo every change. The other benchmarks start
// more programs than a test has time for.
func TestSmoke(t *testing.T) {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	r, err := measureAll(t.Context(), settings{profiles: 2, runs: 1, period: 500 * time.Millisecond}, regexp.MustCompile("requests|heal|steady"))
	if err != nil {
		t.Fatal(err)
	}
	limits := thresholds(t)
	var names []string
	for _, f := range r.figures {
		names = append(names, f.Name)
		if len(f.Floor) == 0 && f.Value != limits[f.Name].Target {
			t.Errorf("%s: %g, want %g: %s", f.Name, f.Value, limits[f.Name].Target, f.Note)
		}
		if len(f.Floor) > 0 && !(f.Value > 0) { // NaN too
			t.Errorf("%s: %g, of %v and %v", f.Name, f.Value, f.Operator, f.Floor)
		}
	}
	if want := slices.Concat(benchmarks[0].figures, benchmarks[1].figures, benchmarks[2].figures); !slices.Equal(names, want) {
		t.Errorf("figures %q, want %q", names, want)
	}
	if len(r.plots["heal"]) == 0 {
		t.Error("no plot of heals")
	}
}

func TestChoiceOfOtherBenchmarksStartsNothing(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "/nowhere")
	r, err := measureAll(t.Context(), settings{}, regexp.MustCompile("Golden"))
	if err != nil || len(r.figures) > 0 {
		t.Errorf("%v %v", r, err)
	}
}
