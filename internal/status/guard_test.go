package status

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func TestAGuardThatIsNotThereIsSaid(t *testing.T) {
	for _, c := range []struct {
		name   string
		guard  v1alpha1.Guard
		guards facts.Guards
		mode   v1alpha1.EnforcementMode
		want   string // part of the sentence; empty for none
	}{
		{name: "none asked for", guard: v1alpha1.GuardNone, guards: facts.Guards{Managed: facts.No, Posture: facts.No}},
		{name: "installed", guard: v1alpha1.GuardManaged, guards: facts.Guards{Managed: facts.Yes, Posture: facts.No}},
		{name: "not installed", guard: v1alpha1.GuardManaged, guards: facts.Guards{Managed: facts.No, Posture: facts.No}, want: "are not installed"},
		{name: "unknown", guard: v1alpha1.GuardManaged, want: "can't read whether"},
		{name: "both installed", guard: v1alpha1.GuardPosture, guards: facts.Guards{Managed: facts.Yes, Posture: facts.Yes}},
		{name: "half of it", guard: v1alpha1.GuardPosture, guards: facts.Guards{Managed: facts.Yes, Posture: facts.No}, want: "are not installed"},
		{name: "the other half", guard: v1alpha1.GuardPosture, guards: facts.Guards{Managed: facts.No, Posture: facts.Yes}, want: "are not installed"},
		{name: "nothing is enforced yet", guard: v1alpha1.GuardPosture, guards: facts.Guards{Managed: facts.Yes, Posture: facts.Yes}, mode: v1alpha1.ModeDryRun, want: "enforcementMode is DryRun: only changes to managed objects are refused"},
		{name: "managed objects are guarded in every mode", guard: v1alpha1.GuardManaged, guards: facts.Guards{Managed: facts.Yes, Posture: facts.Yes}, mode: v1alpha1.ModeDryRun},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := base()
			in.Decision.Resolution.Posture.Guard = c.guard
			if c.mode != "" {
				in.Decision.Resolution.Posture.Mode = c.mode
			}
			in.Observed.Guards = c.guards
			s := Compute(in).Status
			said := slices.DeleteFunc(s.Attention, func(a string) bool { return !strings.HasPrefix(a, "drift.guard is "+string(c.guard)) })
			if (c.want == "") != (len(said) == 0) || !strings.Contains(strings.Join(said, ""), c.want) {
				t.Errorf("attention: %q, want %q", said, c.want)
			}
			if want := strings.TrimPrefix(string(c.guard), "None"); string(s.Effective.Guard) != want {
				t.Errorf("effective: %q, want %q", s.Effective.Guard, want)
			}
		})
	}
}
