package report

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

func TestMetrics(t *testing.T) {
	Drift("PeerAuthentication", v1alpha1.DriftRecord{Effect: v1alpha1.EffectWeakens, Resolution: v1alpha1.ResolutionCorrected})
	Write("Sidecar", "create", "done")
	Profile("pay", []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}, true)

	want := `
# HELP meshsec_drift_total Changes that somebody else made to managed objects, by kind, effect on the posture, and what became of them.
# TYPE meshsec_drift_total counter
meshsec_drift_total{effect="Weakens",kind="PeerAuthentication",resolution="Corrected"} 1
# HELP meshsec_profile_paused 1 while the annotation meshsecurity.io/paused stops all writes for a namespace's profile.
# TYPE meshsec_profile_paused gauge
meshsec_profile_paused{namespace="pay"} 1
`
	if err := testutil.GatherAndCompare(metrics.Registry, strings.NewReader(want), "meshsec_drift_total", "meshsec_profile_paused"); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(profileCondition.WithLabelValues("pay", "Ready", "True")); got != 1 {
		t.Errorf("Ready is %v", got)
	}
	// What is not known is Unknown, and nothing else.
	if got := testutil.ToFloat64(profileCondition.WithLabelValues("pay", "Compliant", "Unknown")); got != 1 {
		t.Errorf("Compliant is %v", got)
	}
	Forget("pay")
	if n := testutil.CollectAndCount(profileCondition); n != 0 {
		t.Errorf("%d series of a namespace that is gone", n)
	}
}

func TestFindings(t *testing.T) {
	open := func(check string) v1alpha1.Finding {
		return v1alpha1.Finding{Check: check, Severity: v1alpha1.SeverityHigh, State: v1alpha1.FindingOpen}
	}
	Findings("shop", []v1alpha1.Finding{open("ENR-001")})
	Findings("pay", []v1alpha1.Finding{open("ENR-001"), open("ENR-001"), open("ENR-002")})
	if n := testutil.ToFloat64(findingsOpen.WithLabelValues("pay", "ENR-001", "High", "Open")); n != 2 {
		t.Errorf("%v", n)
	}
	Findings("pay", []v1alpha1.Finding{open("ENR-001")})
	if n := testutil.CollectAndCount(findingsOpen); n != 2 {
		t.Errorf("%d series, want one of each namespace", n)
	}
	Forget("pay")
	Forget("shop")
	if n := testutil.CollectAndCount(findingsOpen); n != 0 || len(findings.of) != 0 {
		t.Errorf("%d series of namespaces that are gone", n)
	}
}
