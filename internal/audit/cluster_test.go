package audit

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// clusterScene is a cluster in which no check finds anything: each case changes it.
func clusterScene() *ClusterScene {
	s := &ClusterScene{Now: time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)}
	s.Mesh = facts.Mesh{
		Provider: v1alpha1.ProviderIstio, DataPlane: v1alpha1.DataPlaneSidecar, Observed: true, ConfigRead: true, Revision: "default", Version: "1.31.1",
		Namespace: "istio-system", RootNamespace: "istio-system", TrustDomain: "cluster.local", ClusterDomain: "cluster.local",
	}
	s.Perimeter = cleanPerimeter()
	s.ControlPlaneRead = true
	s.ControlPlanes = []facts.ControlPlane{{
		Source:   facts.Source{Kind: "Deployment", Namespace: "istio-system", Name: "istiod"},
		Revision: "default", Version: "1.31.1", Settings: map[string]string{}, ServiceAccount: "istiod", Labels: map[string]string{"app": "istiod"},
	}}
	s.Certificates = soundCertificates()
	s.Control = facts.Control{OperatorNamespace: "mesh-security-system", PolicyEnforced: facts.Yes, Policies: []facts.Object{istiodPolicy()}, Webhooks: meshWebhooks()}
	return s
}

// examinedCluster is one case of a check. The scene as it is, is the passing
// case of every check.
type examinedCluster struct {
	check, name string
	change      func(*ClusterScene)
	// want are SUBJECT: a part of the message. Empty: nothing is found.
	want []string
}

// TestCluster runs the cases of all families, and wants one of every check in
// which it finds something.
func TestCluster(t *testing.T) {
	failing := map[string]bool{}
	for _, c := range slices.Concat(controlPlaneCases, certificateCases, perimeterCases, hostCases, rightsCases, webhookCases) {
		t.Run(c.check+" "+c.name, func(t *testing.T) {
			s := clusterScene()
			c.change(s)
			findings, _ := ExamineCluster(s)
			var got []v1alpha1.Finding
			for _, f := range findings {
				if f.Check == c.check {
					got = append(got, f)
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("found %d, want %d: %+v", len(got), len(c.want), got)
			}
			for i, want := range c.want {
				subject, part, _ := strings.Cut(want, ": ")
				if got[i].Subject != subject || !strings.Contains(got[i].Message, part) {
					t.Errorf("found %s: %s\nwant  %s", got[i].Subject, got[i].Message, want)
				}
				if unknown := strings.HasPrefix(got[i].Message, "unknown: "); unknown != (got[i].State == v1alpha1.FindingUnknown) {
					t.Errorf("state %s of %q", got[i].State, got[i].Message)
				}
			}
		})
		failing[c.check] = failing[c.check] || len(c.want) > 0
	}
	for _, c := range Checks() {
		if c.cluster != nil && !failing[c.ID] {
			t.Errorf("no case in which %s finds something", c.ID)
		}
	}
}

func TestTheClusterSceneHasNoFindings(t *testing.T) {
	findings, next := ExamineCluster(clusterScene())
	for _, f := range findings {
		t.Errorf("%s %s: %s", f.Check, f.Subject, f.Message)
	}
	if soon := clusterScene().Now.AddDate(1, 0, 0); next != nil && next.Before(soon) {
		t.Errorf("it changes by itself at %s", next)
	}
}

// An exception of the namespace that a finding counts to covers it, for as long as it lasts.
func TestExceptionsCoverFindingsOfTheCluster(t *testing.T) {
	exception := func(namespace string, ends time.Time) *v1alpha1.MeshSecurityException {
		return &v1alpha1.MeshSecurityException{ObjectMeta: metav1.ObjectMeta{Name: "migration"}, Spec: v1alpha1.MeshSecurityExceptionSpec{
			Namespaces: []v1alpha1.NamespaceName{v1alpha1.NamespaceName(namespace)}, Checks: []v1alpha1.CheckID{"CTL-006"}, ExpiresAt: metav1.NewTime(ends),
		}}
	}
	now := clusterScene().Now
	for name, c := range map[string]struct {
		exception *v1alpha1.MeshSecurityException
		state     v1alpha1.FindingState
		changes   bool
	}{
		"covers":     {exception("istio-system", now.Add(time.Hour)), v1alpha1.FindingExcepted, true},
		"of another": {exception("shop", now.Add(time.Hour)), v1alpha1.FindingOpen, false},
		"over":       {exception("istio-system", now), v1alpha1.FindingOpen, false},
		"of some workloads": {func() *v1alpha1.MeshSecurityException {
			e := exception("istio-system", now.Add(time.Hour))
			e.Spec.WorkloadSelector = &v1alpha1.WorkloadSelector{}
			return e
		}(), v1alpha1.FindingOpen, false},
	} {
		s := clusterScene()
		s.ControlPlanes[0].Settings["XDS_AUTH"] = "false"
		s.Exceptions = []*v1alpha1.MeshSecurityException{c.exception}
		findings, next := ExamineCluster(s)
		if len(findings) != 1 || findings[0].State != c.state || (next != nil && next.Equal(c.exception.Spec.ExpiresAt.Time)) != c.changes {
			t.Errorf("%s: %+v, next %v", name, findings, next)
		}
	}
}
