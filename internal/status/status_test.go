package status

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// base is a decision with nothing to do: everything is as it should be.
func base() Input {
	p := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "main", Generation: 3}}
	return Input{
		Profile:  p,
		Observed: facts.Observed{Facts: facts.Facts{Mesh: facts.Mesh{Observed: true}}},
		Decision: decide.Decision{
			Profile: p, Compiled: true, Digest: "d",
			Resolution: posture.Resolution{Posture: posture.Posture{Mode: v1alpha1.ModeEnforce, DriftPolicy: v1alpha1.DriftCorrect}},
		},
		Now: noon,
	}
}

func modified(name string) drift.Change {
	return drift.Change{
		Type: drift.Modified, Key: drift.Key{GroupVersionKind: schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication"}, Name: name}, Drift: true,
		Effect: v1alpha1.EffectWeakens, Actor: "intruder",
		Fields: []v1alpha1.FieldChange{{Path: "/spec/mtls/mode", Desired: "STRICT", Observed: "PERMISSIVE"}},
	}
}

func is(s v1alpha1.MeshSecurityProfileStatus, kind string) string {
	c := apimeta.FindStatusCondition(s.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason
}

func TestConditions(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Input)
		want   map[string]string
	}{
		"all is well": {func(*Input) {}, map[string]string{"Programmed": "True/Programmed", "InSync": "True/InSync", "Ready": "True/Ready", "Stalled": "", "Reconciling": ""}},
		"drift, corrected": {func(i *Input) { i.Decision.Changes = []drift.Change{modified("a")} },
			map[string]string{"InSync": "True/InSync", "Ready": "True/Ready"}},
		"drift, correcting it failed": {func(i *Input) {
			i.Decision.Changes = []drift.Change{modified("a")}
			i.Outcome.Failures = []Failure{{Resource: "PeerAuthentication/a", Message: "timeout"}}
		}, map[string]string{"InSync": "False/DriftNotCorrected", "Programmed": "False/ApplyFailed", "Ready": "Unknown/DriftNotCorrected", "Reconciling": "True/DriftNotCorrected", "Stalled": ""}},
		"drift, reported": {func(i *Input) {
			i.Decision.Changes = []drift.Change{modified("a")}
			i.Decision.Resolution.Posture.DriftPolicy = v1alpha1.DriftReport
		}, map[string]string{"InSync": "False/DriftDetected", "Programmed": "False/DriftDetected", "Ready": "False/DriftDetected", "Stalled": "True/DriftDetected", "Reconciling": ""}},
		"a write failed": {func(i *Input) { i.Outcome.Failures = []Failure{{Resource: "Sidecar/x", Message: "timeout"}} },
			map[string]string{"Programmed": "False/ApplyFailed", "Ready": "Unknown/ApplyFailed", "Reconciling": "True/ApplyFailed", "Stalled": ""}},
		"a write was refused": {func(i *Input) {
			i.Outcome.Failures = []Failure{{Resource: "Sidecar/x", Rejected: true, Message: "denied"}}
		},
			map[string]string{"Programmed": "False/Rejected", "Ready": "False/Rejected", "Stalled": "True/Rejected", "Reconciling": ""}},
		"somebody else's object": {func(i *Input) {
			c := modified("a")
			c.Type, c.Drift = drift.Conflict, false
			i.Decision.Changes = []drift.Change{c}
		}, map[string]string{"Programmed": "False/Conflict", "InSync": "True/InSync", "Ready": "False/Conflict", "Stalled": "True/Conflict"}},
		"kinds are missing": {func(i *Input) { i.Decision.Unserved = []string{"Sidecar.networking.istio.io"} },
			map[string]string{"Programmed": "False/MeshCRDsMissing", "Ready": "False/MeshCRDsMissing"}},
		"paused, with something to do": {func(i *Input) {
			c := modified("a")
			c.Drift, c.OutOfSync = false, true
			i.Decision.Changes, i.Decision.Paused = []drift.Change{c}, true
		}, map[string]string{"Programmed": "Unknown/Paused", "Ready": "Unknown/Paused", "Stalled": "", "Reconciling": ""}},
		"paused, with nothing to do": {func(i *Input) { i.Decision.Paused = true }, map[string]string{"Programmed": "True/Programmed", "Ready": "True/Ready"}},
		"audit":                      {func(i *Input) { i.Decision.Resolution.Posture.Mode = v1alpha1.ModeAudit }, map[string]string{"Programmed": "True/Audit", "Ready": "True/Ready"}},
		"a mesh that can't be programmed": {func(i *Input) { i.Decision.Compiled, i.Decision.Unsupported = false, "no" },
			map[string]string{"Accepted": "False/UnsupportedMesh", "Programmed": "False/NotAccepted", "InSync": "Unknown/NotAccepted", "Ready": "False/UnsupportedMesh", "Stalled": "True/UnsupportedMesh"}},
		"a peer that nobody declares": {func(i *Input) {
			i.Decision.Compiled = false
			i.Decision.Resolution.Missing = []posture.Problem{{Reason: v1alpha1.ReasonPeerNotFound, Path: "spec", Message: "m"}}
		}, map[string]string{"ResolvedRefs": "False/PeerNotFound", "Programmed": "False/RefsUnresolved", "InSync": "Unknown/RefsUnresolved", "Ready": "False/PeerNotFound", "Stalled": "True/PeerNotFound"}},
		"a looser rule": {func(i *Input) {
			i.Decision.Result = mesh.Result{Rules: []v1alpha1.RuleStatus{{Name: "r", Area: v1alpha1.AreaEgress, Verdict: v1alpha1.VerdictLooser, Message: "m"}}}
		}, map[string]string{"Programmed": "True/Programmed", "Ready": "False/RulesLooser", "Stalled": "True/RulesLooser"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := base()
			c.change(&in)
			s := Compute(in).Status
			for kind, want := range c.want {
				if got := is(s, kind); got != want {
					t.Errorf("%s is %q, want %q", kind, got, want)
				}
			}
			for _, cond := range s.Conditions {
				if cond.ObservedGeneration != 3 || cond.Message == "" || cond.Reason == "" {
					t.Errorf("incomplete: %+v", cond)
				}
			}
			if is(s, "Reconciling") != "" && is(s, "Stalled") != "" {
				t.Error("Reconciling and Stalled at once")
			}
		})
	}
}

// The same facts seen again give the same bytes, an hour later as well.
func TestNothingChangesByItself(t *testing.T) {
	in := base()
	in.Decision.Changes = []drift.Change{modified("a")}
	in.Decision.Resolution.Posture.DriftPolicy = v1alpha1.DriftReport
	computed := Compute(in)
	first, fresh := computed.Status, computed.Fresh
	if len(fresh) != 1 {
		t.Fatalf("fresh: %+v", fresh)
	}
	in.Profile.Status = first
	in.Now = noon.Add(time.Hour)
	computed = Compute(in)
	second, fresh := computed.Status, computed.Fresh
	if !equality.Semantic.DeepEqual(first, second) || len(fresh) != 0 {
		t.Errorf("changed: %+v\n%+v\nfresh %+v", first, second, fresh)
	}

	// Once it is corrected the record says so, and is not made twice.
	in.Decision.Resolution.Posture.DriftPolicy = v1alpha1.DriftCorrect
	computed = Compute(in)
	third, fresh := computed.Status, computed.Fresh
	if len(third.Drift) != 1 || third.Drift[0].Resolution != v1alpha1.ResolutionCorrected || len(fresh) != 1 {
		t.Errorf("drift %+v, fresh %+v", third.Drift, fresh)
	}
}

func TestTheLastTenChangesAreKeptNewestFirst(t *testing.T) {
	in := base()
	for i := range 12 {
		in.Decision.Changes = []drift.Change{modified(fmt.Sprint("p", i))}
		in.Now = noon.Add(time.Duration(i) * time.Minute)
		in.Profile.Status = Compute(in).Status
	}
	d := in.Profile.Status.Drift
	if len(d) != v1alpha1.MaxStatusDrift || d[0].Resource != "PeerAuthentication/p11" || d[9].Resource != "PeerAuthentication/p2" {
		t.Errorf("got %d, from %s to %s", len(d), d[0].Resource, d[len(d)-1].Resource)
	}
}

func TestTheTimeOfATransitionStays(t *testing.T) {
	in := base()
	in.Profile.Status = Compute(in).Status
	in.Now = noon.Add(time.Hour)
	in.Outcome.Failures = []Failure{{Resource: "Sidecar/x", Message: "timeout"}}
	s := Compute(in).Status
	if at := apimeta.FindStatusCondition(s.Conditions, "Accepted").LastTransitionTime; !at.Time.Equal(noon) {
		t.Errorf("Accepted did not change, and moved to %s", at)
	}
	if at := apimeta.FindStatusCondition(s.Conditions, "Programmed").LastTransitionTime; !at.Time.Equal(noon.Add(time.Hour)) {
		t.Errorf("Programmed changed, and stayed at %s", at)
	}
}

func TestTheFingerprintIsThatOfWhatWasWrittenAsAWhole(t *testing.T) {
	in := base()
	in.Profile.Status.AppliedDigest = "old"
	in.Outcome.Failures = []Failure{{Resource: "Sidecar/x", Message: "timeout"}}
	if s := Compute(in).Status; s.AppliedDigest != "old" {
		t.Errorf("after a failure: %s", s.AppliedDigest)
	}
	in.Outcome.Failures = nil
	if s := Compute(in).Status; s.AppliedDigest != "d" {
		t.Errorf("after success: %s", s.AppliedDigest)
	}
}

// However much there is to say, a status stays within its limits.
func TestStatusStaysSmall(t *testing.T) {
	in := base()
	for i := range v1alpha1.MaxStatusRules {
		in.Decision.Result.Rules = append(in.Decision.Result.Rules, v1alpha1.RuleStatus{
			Name: v1alpha1.RuleName(fmt.Sprint("r", i)), Area: v1alpha1.AreaEgress, Verdict: v1alpha1.VerdictLooser, Message: strings.Repeat("ä", 2000),
		})
		in.Decision.Changes = append(in.Decision.Changes, modified(fmt.Sprint("p", i, strings.Repeat("x", 200))))
	}
	in.Decision.Resolution.Posture.DriftPolicy = v1alpha1.DriftReport
	s := Compute(in).Status
	b, err := json.Marshal(s)
	if err != nil || len(b) > maxStatusBytes {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if len(s.Attention) != v1alpha1.MaxStatusAttention || !strings.HasPrefix(s.Attention[len(s.Attention)-1], "and ") {
		t.Errorf("attention: %d, %q", len(s.Attention), s.Attention[len(s.Attention)-1])
	}
	for _, c := range s.Conditions {
		if len(c.Message) > v1alpha1.MaxMessageBytes {
			t.Errorf("%s: %d bytes", c.Type, len(c.Message))
		}
	}
}

func TestARuleIsNotEnforcedByWhatIsNotThere(t *testing.T) {
	in := base()
	in.Decision.Result.Rules = []v1alpha1.RuleStatus{{Name: "r", Area: v1alpha1.AreaAuthorization, Verdict: v1alpha1.VerdictEnforced}}
	in.Outcome.Failures = []Failure{{Resource: "AuthorizationPolicy/msp-r", Rejected: true, Message: "denied"}}
	if s := Compute(in).Status; s.Rules[0].Verdict != v1alpha1.VerdictPending || s.Rules[0].Message == "" {
		t.Errorf("got %+v", s.Rules[0])
	}
}

func TestDescribe(t *testing.T) {
	got := Describe(v1alpha1.DriftRecord{Resource: "NetworkPolicy/x", Type: v1alpha1.DriftMissing, Actor: "unknown", Effect: v1alpha1.EffectWeakens})
	if want := "NetworkPolicy/x was deleted by somebody unknown (see the API server's audit log), which weakens the posture"; got != want {
		t.Errorf("got %q", got)
	}
}
