package status

import (
	"fmt"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// guard says where less is prevented at admission than the profile asks for.
func (c *computer) guard() []string {
	p := c.Decision.Resolution.Posture
	if !c.Decision.Compiled || p.Guard == "" || p.Guard == v1alpha1.GuardNone {
		return nil
	}
	var out []string
	switch installed(c.Observed.Guards, p.Guard) {
	case facts.No:
		out = append(out, fmt.Sprintf("drift.guard is %s, and the admission policies that it needs are not installed: changes by others are found and answered by drift.policy, not prevented; install config/admission", p.Guard))
	case facts.Unknown:
		out = append(out, fmt.Sprintf("drift.guard is %s, and the operator can't read whether the admission policies that it needs are installed: changes by others may not be prevented; let it list ValidatingAdmissionPolicyBindings", p.Guard))
	}
	if p.Guard == v1alpha1.GuardPosture && p.Mode != v1alpha1.ModeEnforce {
		out = append(out, fmt.Sprintf("drift.guard is Posture, and enforcementMode is %s: only changes to managed objects are refused until it is Enforce", p.Mode))
	}
	return out
}

// installed says whether what a guard needs is there: Posture is Managed and more.
func installed(g facts.Guards, want v1alpha1.Guard) facts.Tristate {
	if want == v1alpha1.GuardPosture && g.Managed == facts.Yes {
		return g.Posture
	}
	return g.Managed
}
