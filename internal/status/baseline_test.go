package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

func TestRollout(t *testing.T) {
	canaries := &v1alpha1.Rollout{CanarySelector: v1alpha1.NamespaceSelector{}}
	old := &v1alpha1.RolledOut{Revision: "old", Spec: &runtime.RawExtension{Raw: []byte(`{}`)}}
	ready := Standing{Namespace: "canary", Canary: true, Seen: true, Applies: true, Revision: "new", Ready: true}
	other := Standing{Namespace: "fleet", Seen: true, Applies: true, Revision: "old", Ready: true}
	with := func(s Standing, change func(*Standing)) Standing { change(&s); return s }
	for name, r := range map[string]struct {
		rollout    *v1alpha1.Rollout
		before     *v1alpha1.RolledOut
		namespaces []Standing
		reason     string
		message    string
		rolledOut  bool
	}{
		"none declared":              {nil, nil, []Standing{other}, v1alpha1.ReasonRolledOut, "at once", true},
		"over":                       {canaries, &v1alpha1.RolledOut{Revision: "new", Spec: old.Spec}, []Standing{other}, v1alpha1.ReasonRolledOut, "has it", false},
		"canaries are Ready":         {canaries, old, []Standing{ready, other}, v1alpha1.ReasonRolledOut, "has it", true},
		"a canary has it not yet":    {canaries, old, []Standing{with(ready, func(s *Standing) { s.Revision = "old" }), other}, v1alpha1.ReasonRollingOut, "canary", false},
		"a canary was not looked at": {canaries, old, []Standing{with(ready, func(s *Standing) { s.Seen = false })}, v1alpha1.ReasonRollingOut, "canary", false},
		"a canary is not Ready":      {canaries, old, []Standing{ready, with(ready, func(s *Standing) { s.Namespace, s.Ready, s.Why = "second", false, "Conflict" })}, v1alpha1.ReasonRolloutHalted, "second (Conflict)", false},
		"no canary":                  {canaries, old, []Standing{other}, v1alpha1.ReasonNoCanaries, "selects none", false},
		"first of all":               {canaries, nil, []Standing{ready, other}, v1alpha1.ReasonRolledOut, "has it", true},
		"declared with the change":   {canaries, &v1alpha1.RolledOut{Revision: "old"}, []Standing{ready}, v1alpha1.ReasonRolledOut, "has it", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := &v1alpha1.MeshSecurityBaseline{Spec: v1alpha1.MeshSecurityBaselineSpec{Rollout: r.rollout}, Status: v1alpha1.MeshSecurityBaselineStatus{RolledOut: r.before}}
			out, rolledOut, err := Baseline(BaselineInput{Baseline: b, Revision: "new", Namespaces: r.namespaces, Now: noon})
			if err != nil {
				t.Fatal(err)
			}
			c := find(out.Conditions, v1alpha1.ConditionRolledOut)
			if c.Reason != r.reason || !strings.Contains(c.Message, r.message) || rolledOut != r.rolledOut {
				t.Errorf("%s: %s, rolled out %v", c.Reason, c.Message, rolledOut)
			}
			if done := out.RolledOut != nil && out.RolledOut.Revision == "new"; done != (r.reason == v1alpha1.ReasonRolledOut) {
				t.Errorf("%+v", out.RolledOut)
			}
			stalled, reconciling := find(out.Conditions, v1alpha1.ConditionStalled) != nil, find(out.Conditions, v1alpha1.ConditionReconciling) != nil
			if stalled && reconciling || stalled != (r.reason == v1alpha1.ReasonRolloutHalted || r.reason == v1alpha1.ReasonNoCanaries) {
				t.Errorf("stalled %v, reconciling %v", stalled, reconciling)
			}
			b.Status = out
			again, _, err := Baseline(BaselineInput{Baseline: b, Revision: "new", Namespaces: r.namespaces, Now: noon.Add(time.Hour)})
			if diff := cmp.Diff(out, again); err != nil || diff != "" {
				t.Errorf("a second look changes it: %v %s", err, diff)
			}
		})
	}
}

func TestBaselineCounts(t *testing.T) {
	in := BaselineInput{Baseline: &v1alpha1.MeshSecurityBaseline{}, Now: noon}
	for i := range 30 {
		in.Namespaces = append(in.Namespaces, Standing{Namespace: fmt.Sprintf("ns-%02d", i), Seen: true, Applies: true, Enforced: i > 0, InSync: i > 1, Compliant: i > 2,
			Findings: v1alpha1.FindingCounts{High: int32(i % 3), Low: 1}})
	}
	in.Namespaces[7].Findings.Critical = 1
	in.Namespaces[8].Applies = false
	out, _, err := Baseline(in)
	if err != nil {
		t.Fatal(err)
	}
	if *out.Namespaces != (v1alpha1.NamespaceCounts{Selected: 30, Enforced: 28, InSync: 27, Compliant: 26}) {
		t.Errorf("%+v", *out.Namespaces)
	}
	if len(out.Worst) != 20 || out.Worst[0].Namespace != "ns-07" || out.Worst[1].Findings.High != 2 {
		t.Errorf("%+v", out.Worst)
	}
	// Right after a start nothing is known of some, and what was counted stays.
	in.Baseline.Status = out
	in.Namespaces[3].Seen, in.Namespaces[3].InSync = false, false
	if next, _, _ := Baseline(in); *next.Namespaces != *out.Namespaces {
		t.Errorf("%+v", *next.Namespaces)
	}
}

func TestBaselineThatCanNotBeUsed(t *testing.T) {
	b := &v1alpha1.MeshSecurityBaseline{Spec: v1alpha1.MeshSecurityBaselineSpec{
		AuthorizationRules: []v1alpha1.AuthorizationRule{{Name: "probe", From: []v1alpha1.Caller{{Peer: "nobody"}}}},
	}}
	out, _, err := Baseline(BaselineInput{Baseline: b, Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	if c := find(out.Conditions, v1alpha1.ConditionReady); c.Reason != v1alpha1.ReasonInvalid || !strings.Contains(c.Message, "rule probe names the peer nobody") {
		t.Errorf("%+v", c)
	}
}

func TestException(t *testing.T) {
	at := func(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(d)) }
	for name, r := range map[string]struct {
		change func(*ExceptionInput)
		status metav1.ConditionStatus
		reason string
		accept string
	}{
		"in force":              {func(*ExceptionInput) {}, "True", v1alpha1.ReasonActive, v1alpha1.ReasonAccepted},
		"a week before its end": {func(in *ExceptionInput) { in.Exception.Spec.ExpiresAt = at(7 * 24 * time.Hour) }, "True", v1alpha1.ReasonEndsSoon, v1alpha1.ReasonAccepted},
		"just more than a week": {func(in *ExceptionInput) { in.Exception.Spec.ExpiresAt = at(7*24*time.Hour + time.Second) }, "True", v1alpha1.ReasonActive, v1alpha1.ReasonAccepted},
		"at its end":            {func(in *ExceptionInput) { in.Exception.Spec.ExpiresAt = at(0) }, "False", v1alpha1.ReasonExpired, v1alpha1.ReasonAccepted},
		"nothing is matched":    {func(in *ExceptionInput) { in.Matched = 0 }, "False", v1alpha1.ReasonNothingMatched, v1alpha1.ReasonAccepted},
		"too long everywhere":   {func(in *ExceptionInput) { in.Refused = []string{"pay: too long"} }, "False", v1alpha1.ReasonTooLong, v1alpha1.ReasonTooLong},
		"not looked at yet":     {func(in *ExceptionInput) { in.Unseen = true }, "Unknown", v1alpha1.ReasonPending, v1alpha1.ReasonAccepted},
		"for workloads, and can't be so": {func(in *ExceptionInput) {
			in.Exception.Spec.WorkloadSelector = &v1alpha1.WorkloadSelector{MatchLabels: v1alpha1.Labels{"app": "a"}}
			in.Exception.Spec.Checks = []v1alpha1.CheckID{"AUD-001"}
		}, "True", v1alpha1.ReasonActive, v1alpha1.ReasonInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			in := ExceptionInput{Now: noon, Matched: 2, Exception: &v1alpha1.MeshSecurityException{Spec: v1alpha1.MeshSecurityExceptionSpec{
				Namespaces: []v1alpha1.NamespaceName{"pay"}, Checks: []v1alpha1.CheckID{"MTLS-001"}, ExpiresAt: at(1000 * time.Hour),
			}}}
			r.change(&in)
			out := Exception(in)
			active, accepted := find(out.Conditions, v1alpha1.ConditionActive), find(out.Conditions, v1alpha1.ConditionAccepted)
			if active.Status != r.status || active.Reason != r.reason || accepted.Reason != r.accept {
				t.Errorf("%s/%s: %s; %s: %s", active.Status, active.Reason, active.Message, accepted.Reason, accepted.Message)
			}
			// By these alone GitOps tools know whether to wait, and whether in vain.
			stalled, reconciling := find(out.Conditions, v1alpha1.ConditionStalled), find(out.Conditions, v1alpha1.ConditionReconciling)
			if (stalled != nil) != (accepted.Status != "True") || (reconciling != nil) != (active.Reason == v1alpha1.ReasonPending) {
				t.Errorf("stalled: %v, reconciling: %v", stalled, reconciling)
			}
		})
	}
}

func TestBaselineIsCompliant(t *testing.T) {
	clean := Standing{Namespace: "clean", Seen: true, Applies: true, Compliant: true}
	with := func(change func(*Standing)) Standing { s := clean; s.Namespace = "other"; change(&s); return s }
	finding := func(severity v1alpha1.Severity, state v1alpha1.FindingState) []v1alpha1.Finding {
		return []v1alpha1.Finding{{Check: "CTL-006", Severity: severity, State: state, Subject: "Deployment/istio-system/istiod"}}
	}
	for name, r := range map[string]struct {
		namespaces []Standing
		cluster    []v1alpha1.Finding
		unseen     bool
		want       string
		message    string
	}{
		"nothing is open":                   {[]Standing{clean}, nil, false, "True/Compliant", "nor about the cluster"},
		"no namespace":                      {nil, nil, false, "True/Compliant", "no namespace is selected"},
		"a namespace has a grave finding":   {[]Standing{clean, with(func(s *Standing) { s.Compliant = false })}, nil, false, "False/FindingsOpen", "namespace other"},
		"of a namespace it can't be told":   {[]Standing{clean, with(func(s *Standing) { s.Compliant, s.Untold = false, true })}, nil, false, "Unknown/FindingsUnknown", "namespace other"},
		"it does not apply yet":             {[]Standing{with(func(s *Standing) { s.Applies = false })}, nil, false, "Unknown/FindingsUnknown", "namespace other"},
		"the cluster has a grave finding":   {[]Standing{clean}, finding(v1alpha1.SeverityHigh, v1alpha1.FindingOpen), false, "False/FindingsOpen", "CTL-006 Deployment/istio-system/istiod"},
		"one that is not grave":             {[]Standing{clean}, finding(v1alpha1.SeverityMedium, v1alpha1.FindingOpen), false, "True/Compliant", ""},
		"one that is excepted":              {[]Standing{clean}, finding(v1alpha1.SeverityHigh, v1alpha1.FindingExcepted), false, "True/Compliant", ""},
		"of the cluster it can't be told":   {[]Standing{clean}, finding(v1alpha1.SeverityHigh, v1alpha1.FindingUnknown), false, "Unknown/FindingsUnknown", "CTL-006"},
		"a namespace was not looked at yet": {[]Standing{with(func(s *Standing) { s.Seen = false })}, nil, false, "Unknown/NotEvaluated", "not all"},
		"the cluster was not looked at yet": {[]Standing{clean}, nil, true, "Unknown/NotEvaluated", "not all"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &v1alpha1.MeshSecurityBaseline{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			in := BaselineInput{Baseline: b, Namespaces: r.namespaces, Cluster: r.cluster, ClusterSeen: !r.unseen, Now: noon}
			out, _, err := Baseline(in)
			if err != nil {
				t.Fatal(err)
			}
			c := find(out.Conditions, v1alpha1.ConditionCompliant)
			if got := string(c.Status) + "/" + c.Reason; got != r.want || !strings.Contains(c.Message, r.message) {
				t.Errorf("%s: %s", got, c.Message)
			}
			// After a restart the answer stays until everything was looked at again.
			b.Status = out
			in.ClusterSeen = false
			again, _, err := Baseline(in)
			if diff := cmp.Diff(c, find(again.Conditions, v1alpha1.ConditionCompliant)); err != nil || diff != "" {
				t.Errorf("a restart changes it: %v %s", err, diff)
			}
		})
	}
}
