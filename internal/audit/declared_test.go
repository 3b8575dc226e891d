package audit

import (
	"testing"
	"time"

	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

func TestDeclared(t *testing.T) {
	named := func(name string, ends time.Duration) func(s *Scene) []posture.Exception {
		return func(s *Scene) []posture.Exception { return []posture.Exception{{Name: name, Expires: s.Now.Add(ends)}} }
	}
	cases := []examined{
		{"BASE-001", "a mandate", func(s *Scene) {
			s.Declared.Profile = "main"
			s.Declared.Violations = []posture.Problem{{Path: "spec.mutualTLS.mode", Message: "Permissive is less than Strict"}}
		}, []string{"MeshSecurityProfile/main: spec.mutualTLS.mode: Permissive is less"}},
		{"BASE-002", "tomorrow", func(s *Scene) { s.Declared.Exceptions = named("lab", 24*time.Hour)(s) }, []string{"MeshSecurityException/lab: it ends at"}},
		{"BASE-002", "next month", func(s *Scene) { s.Declared.Exceptions = named("lab", 30*24*time.Hour)(s) }, nil},
		{"BASE-003", "yesterday", func(s *Scene) { s.Declared.Over = named("lab", -24*time.Hour)(s) }, []string{"MeshSecurityException/lab: its time was over at"}},
		{"BASE-004", "a second profile", func(s *Scene) { s.Declared.Profile, s.Declared.Superseded = "main", []string{"other"} },
			[]string{"MeshSecurityProfile/other: since MeshSecurityProfile/main is older"}},
	}
	exam(t, "BASE", cases)
	exam(t, "PROF", []examined{
		{"PROF-002", "an override", func(s *Scene) {
			at := s.Now.Add(-time.Hour)
			s.Posture.Expired = []posture.Override{{Name: "old-client", Expires: &at}}
		}, []string{"Namespace/payments: port override old-client expired at"}},
	})
}
