package audit

import (
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// ClusterScene is what a check of the cluster as a whole looks at.
type ClusterScene struct {
	facts.Cluster
	// Now is when the cluster is looked at.
	Now time.Time

	next *time.Time
	// at is what is known of the perimeter's Gateways, worked out once.
	at map[*networkingv1.Gateway]*atGateway
}

// later says that a finding changes by itself at a time.
func (s *ClusterScene) later(at time.Time) {
	if at.After(s.Now) && (s.next == nil || at.Before(*s.next)) {
		s.next = &at
	}
}

// ExamineCluster returns the findings about the cluster as a whole, the worst
// first, those that an exception covers marked as such, and when they change by
// themselves; nil: never. Subjects are KIND/NAME, or KIND/NAMESPACE/NAME.
func ExamineCluster(s *ClusterScene) ([]v1alpha1.Finding, *time.Time) {
	var out []v1alpha1.Finding
	for _, c := range catalogue {
		if c.cluster == nil {
			continue
		}
		for _, f := range c.cluster(s) {
			done := c.complete(f).Finding
			s.except(&done)
			out = append(out, done)
		}
	}
	Sort(out, func(f v1alpha1.Finding) v1alpha1.Finding { return f })
	return out, s.next
}

// Home is the namespace that a finding about the cluster counts to: its
// subject's, and the mesh's own for what is in none.
func Home(f v1alpha1.Finding, meshNamespace string) string {
	if parts := strings.Split(f.Subject, "/"); len(parts) == 3 {
		return parts[1]
	}
	return meshNamespace
}

// except marks a finding that an exception of its namespace covers. One for
// some workloads alone covers nothing here.
func (s *ClusterScene) except(f *v1alpha1.Finding) {
	if f.State != v1alpha1.FindingOpen {
		return
	}
	for _, e := range s.Exceptions {
		if e.Spec.WorkloadSelector != nil || !slices.Contains(e.Spec.Checks, v1alpha1.CheckID(f.Check)) ||
			!slices.Contains(e.Spec.Namespaces, v1alpha1.NamespaceName(Home(*f, s.Mesh.Namespace))) {
			continue
		}
		s.later(e.Spec.ExpiresAt.Time)
		if s.Now.Before(e.Spec.ExpiresAt.Time) {
			f.State, f.Exception = v1alpha1.FindingExcepted, e.Name
			return
		}
	}
}

// ungranted is an unknown finding where the operator would need a right that it
// is not given unless somebody wants so: it is Low, since it shows nothing.
func ungranted(subject, format string, args ...any) Finding {
	f := unknown(subject, format, args...)
	f.Severity = v1alpha1.SeverityLow
	return f
}
