package gitops

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const paused = "meshsecurity.io/paused"

// means is what Argo CD's health is in kstatus' words. It has none for a pause,
// at which a sync wave waits.
var means = map[health.HealthStatusCode]status.Status{
	health.HealthStatusHealthy:     status.CurrentStatus,
	health.HealthStatusProgressing: status.InProgressStatus,
	health.HealthStatusSuspended:   status.InProgressStatus,
	health.HealthStatusDegraded:    status.FailedStatus,
}

// byFlux is what Flux makes of an object: by the expressions that are shipped
// for its kind, and by kstatus where there are none.
func byFlux(t testing.TB, o *unstructured.Unstructured) status.Status {
	t.Helper()
	for _, c := range fluxChecks(t) {
		if c.APIVersion != o.GetAPIVersion() || c.Kind != o.GetKind() {
			continue
		}
		if evaluators[c.Kind] == nil {
			e, err := cel.NewStatusEvaluator(&c.HealthCheckExpressions)
			must(t, err)
			evaluators[c.Kind] = e
		}
		r, err := evaluators[c.Kind].Evaluate(t.Context(), o)
		must(t, err)
		return r.Status
	}
	return byKstatus(t, o)
}

// evaluators of Flux, by kind.
var evaluators = map[string]*cel.StatusEvaluator{}

func byKstatus(t testing.TB, o *unstructured.Unstructured) status.Status {
	t.Helper()
	r, err := status.Compute(o)
	must(t, err)
	return r.Status
}

// agree compares the three. There are two things that kstatus alone can't tell,
// and none by which it is the first to call something done that is not: a pause,
// and drift of which correcting it fails, which is Degraded and not just on its way.
func agree(t testing.TB, o *unstructured.Unstructured) {
	t.Helper()
	h := argo(t, o)
	if got := byFlux(t, o); got != means[h.Status] {
		t.Errorf("Argo CD: %s (%s), Flux: %s", h.Status, h.Message, got)
	}
	want := []status.Status{means[h.Status]}
	switch {
	case h.Status == health.HealthStatusSuspended:
		want = []status.Status{status.CurrentStatus, status.InProgressStatus, status.FailedStatus}
	case condition(o, "InSync") == "False" && condition(o, "Reconciling") == "True":
		want = []status.Status{status.InProgressStatus}
	}
	if got := byKstatus(t, o); !slices.Contains(want, got) {
		t.Errorf("Argo CD: %s (%s), kstatus: %s", h.Status, h.Message, got)
	}
}

// condition is the status of a condition; empty where there is none.
func condition(o *unstructured.Unstructured, kind string) string {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == kind {
			s, _ := c["status"].(string)
			return s
		}
	}
	return ""
}

func TestExamplesGetTheSameVerdict(t *testing.T) {
	files, err := filepath.Glob(scripts + "/*/testdata/*.yaml")
	must(t, err)
	if len(files) < 20 {
		t.Fatalf("only %d files", len(files))
	}
	for _, f := range files {
		t.Run(filepath.Base(filepath.Dir(filepath.Dir(f)))+"/"+filepath.Base(f), func(t *testing.T) {
			agree(t, decode(t, read(t, f)))
		})
	}
}

// The statuses that the operator computes in all golden cases.
func TestGoldenCasesGetTheSameVerdict(t *testing.T) {
	files, err := filepath.Glob(root + "/internal/golden/testdata/cases/*/status.yaml")
	must(t, err)
	count := map[health.HealthStatusCode]int{}
	for _, f := range files {
		t.Run(filepath.Base(filepath.Dir(f)), func(t *testing.T) {
			var s map[string]any
			must(t, yaml.Unmarshal(read(t, f), &s))
			s["observedGeneration"] = 1
			raw, err := yaml.Marshal(map[string]any{
				"apiVersion": group + "/v1alpha1", "kind": "MeshSecurityProfile",
				"metadata": map[string]any{"name": "payments", "namespace": "payments", "generation": 1}, "status": s,
			})
			must(t, err)
			o := decode(t, raw)
			agree(t, o)
			h := argo(t, o)
			count[h.Status]++
			if healthy := h.Status == health.HealthStatusHealthy; healthy != (condition(o, "Ready") == "True") || healthy && condition(o, "InSync") != "True" {
				t.Errorf("%s (%s) with Ready %s and InSync %s", h.Status, h.Message, condition(o, "Ready"), condition(o, "InSync"))
			}
			// A generation later nothing of it counts.
			o.SetGeneration(2)
			agree(t, o)
			if h := argo(t, o); h.Status != health.HealthStatusProgressing {
				t.Errorf("of the generation before: %s (%s)", h.Status, h.Message)
			}
		})
	}
	if count[health.HealthStatusHealthy] < 20 || count[health.HealthStatusDegraded] < 20 {
		t.Errorf("the cases are too much alike: %v", count)
	}
}

// Every combination of what a verdict can depend on, also such as the operator
// never writes: the order decides, and Flux's expressions decide alike.
func TestEveryCombinationOfConditions(t *testing.T) {
	states := []string{"", "True", "False", "Unknown"}
	annotations := []map[string]any{nil, {"example.com/owner": "a"}, {paused: "false"}, {paused: "true"}}
	count := 0
	for _, kind := range []string{"MeshSecurityProfile", "MeshSecurityBaseline"} {
		for _, observed := range []int64{-1, 1, 2} {
			for _, ready := range append(states, "Paused") {
				for _, stalled := range states[:3] {
					for _, reconciling := range states[:3] {
						for _, inSync := range states {
							for _, a := range annotations {
								if kind == "MeshSecurityBaseline" && inSync != "" || stalled == "True" && reconciling == "True" {
									continue // "never both"
								}
								count++
								o := combined(kind, observed, ready, stalled, reconciling, inSync, a)
								want := expected(observed, ready, stalled, reconciling, inSync, a)
								if got := argo(t, o); got.Status != want {
									t.Fatalf("%v: %s, want %s", o.Object, got.Status, want)
								}
								if got := byFlux(t, o); got != means[want] {
									t.Fatalf("%v: Flux says %s, Argo CD %s", o.Object, got, want)
								}
								if ready != "" && (ready == "False") == (stalled == "True") && (inSync != "False" || stalled == "True" || ready != "True" && reconciling == "True") {
									// What the operator writes: Ready is there, is False where a
									// person has to act and nowhere else, and is never True of drift.
									agree(t, o)
								}
							}
						}
					}
				}
			}
		}
	}
	if count < 1000 {
		t.Errorf("only %d combinations", count)
	}
}

// expected is the order in words of its own.
func expected(observed int64, ready, stalled, reconciling, inSync string, annotations map[string]any) health.HealthStatusCode {
	switch {
	case observed != 2:
		return health.HealthStatusProgressing
	case annotations[paused] == "true" || ready == "Paused":
		return health.HealthStatusSuspended
	case stalled == "True" || inSync == "False":
		return health.HealthStatusDegraded
	case reconciling == "True" || ready != "True":
		return health.HealthStatusProgressing
	}
	return health.HealthStatusHealthy
}

func combined(kind string, observed int64, ready, stalled, reconciling, inSync string, annotations map[string]any) *unstructured.Unstructured {
	var conditions []any
	add := func(kind, status, reason string) {
		if status != "" {
			conditions = append(conditions, map[string]any{"type": kind, "status": status, "reason": reason, "message": "because of " + kind})
		}
	}
	add("InSync", inSync, "AnyReason")
	if ready == "Paused" {
		add("Ready", "Unknown", "Paused")
	} else {
		add("Ready", ready, "AnyReason")
	}
	add("Stalled", stalled, "AnyReason")
	add("Reconciling", reconciling, "AnyReason")
	metadata := map[string]any{"name": "a", "generation": int64(2)}
	if annotations != nil {
		metadata["annotations"] = annotations
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1alpha1", "kind": kind, "metadata": metadata,
		"status": map[string]any{"observedGeneration": observed, "conditions": conditions},
	}}
}

// Without the customisation Argo CD calls anything done. Were that to change, all of config/argocd could go.
func TestArgoKnowsNothingByItself(t *testing.T) {
	for _, kind := range kinds {
		o := combined(kind, 2, "False", "True", "", "False", nil)
		h, err := health.GetResourceHealth(o, overrides(t, &unstructured.Unstructured{}))
		must(t, err)
		if h != nil {
			t.Errorf("%s: %s", kind, fmt.Sprint(*h))
		}
	}
}
