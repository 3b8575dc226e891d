package audit

import (
	"testing"
	"time"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

func TestDeclared(t *testing.T) {
	named := func(name string, ends time.Duration) func(s *Scene) []posture.Exception {
		return func(s *Scene) []posture.Exception { return []posture.Exception{{Name: name, Expires: s.Now.Add(ends)}} }
	}
	exam(t, "BASE", []examined{
		{"BASE-001", "a mandate", func(s *Scene) {
			s.Declared.Profile = "main"
			s.Declared.Violations = []posture.Problem{{Path: "spec.mutualTLS.mode", Message: "Permissive is less than Strict"}}
		}, []string{"MeshSecurityProfile/main: spec.mutualTLS.mode: Permissive is less"}},
		{"BASE-002", "tomorrow", func(s *Scene) { s.Declared.Exceptions = named("lab", 24*time.Hour)(s) }, []string{"MeshSecurityException/lab: it ends at"}},
		{"BASE-002", "next month", func(s *Scene) { s.Declared.Exceptions = named("lab", 30*24*time.Hour)(s) }, nil},
		{"BASE-003", "yesterday", func(s *Scene) { s.Declared.Over = named("lab", -24*time.Hour)(s) }, []string{"MeshSecurityException/lab: its time was over at"}},
		{"BASE-004", "a second profile", func(s *Scene) { s.Declared.Profile, s.Declared.Superseded = "main", []string{"other"} },
			[]string{"MeshSecurityProfile/other: since MeshSecurityProfile/main is older"}},
	})
}

func TestProfileIsOfWhoAppliedIt(t *testing.T) {
	exam(t, "PROF", []examined{
		{"PROF-001", "an edit", func(s *Scene) {
			s.Declared.Profile, s.Declared.Taken = "main", []drift.Taken{{By: "kubectl-edit", Applier: "argocd-controller", Fields: []string{"spec.authorization.rules"}}}
		}, []string{"MeshSecurityProfile/main: kubectl-edit owns spec.authorization.rules, and not argocd-controller, who applied the profile"}},
		{"PROF-002", "an override", func(s *Scene) {
			at := s.Now.Add(-time.Hour)
			s.Posture.Expired = []posture.Override{{Name: "old-client", Expires: &at}}
		}, []string{"Namespace/payments: port override old-client expired at"}},
		{"PROF-001", "no edit", func(s *Scene) { s.Declared.Profile = "main" }, nil},
	})
}
