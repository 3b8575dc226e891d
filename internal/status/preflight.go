package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// held says whether the preflight holds an area back.
func (c *computer) held(area v1alpha1.Area) bool {
	return slices.Contains(c.Decision.Resolution.Posture.Held, area)
}

// blocked says what the preflight holds back, and why.
func (c *computer) blocked() string {
	areas := c.Decision.Resolution.Posture.Held
	var by []string
	for _, f := range c.Decision.Findings {
		if slices.ContainsFunc(f.Areas, c.held) {
			by = append(by, f.Check+" "+f.Subject)
		}
	}
	return fmt.Sprintf("preflight is Block, and enforcing %s could lock out what findings name: %s; mend it as status.findings says, or set preflight to Warn; until then nothing is denied there that was not before",
		mesh.Some(areas), mesh.Some(by))
}

// enforcedAreas are those whose denying was put in force, as far as this
// posture still asks for it; only a preflight that blocks has to know. Where the
// posture is not known, nothing is forgotten.
func (c *computer) enforcedAreas() []v1alpha1.Area {
	if !c.Decision.Compiled || c.Decision.Paused {
		return c.before.EnforcedAreas
	}
	p := c.Decision.Resolution.Posture
	if p.Mode != v1alpha1.ModeEnforce || p.Preflight != v1alpha1.PreflightBlock {
		return nil
	}
	var out []v1alpha1.Area
	for _, a := range decide.DenyingAreas(p) {
		if slices.Contains(c.before.EnforcedAreas, a) || (c.settled && !c.held(a)) {
			out = append(out, a)
		}
	}
	return out
}

// waiting is the verdict of a rule whose area is held back.
func waiting(r v1alpha1.RuleStatus) v1alpha1.RuleStatus {
	switch r.Verdict {
	case v1alpha1.VerdictUnsupported, v1alpha1.VerdictConflict, v1alpha1.VerdictPending:
		return r
	}
	message := "the preflight holds it back, see Programmed; nothing is denied"
	if r.Message != "" {
		message += fmt.Sprintf("; enforced its verdict would be %s: %s", r.Verdict, r.Message)
	}
	r.Verdict, r.EnforcedBy, r.Message = v1alpha1.VerdictPending, nil, mesh.Cut(message, v1alpha1.MaxMessageBytes)
	return r
}

// lockouts says in sentences what enforcing locks out.
func (c *computer) lockouts() []string {
	if !c.Decision.Compiled {
		return nil
	}
	var out []string
	for _, f := range c.Decision.Findings {
		if c.exception(f.Finding) != "" {
			continue
		}
		out = append(out, fmt.Sprintf("%s %s: %s%s; %s", f.Check, f.Subject, c.when(f), f.Message, f.Remediation))
	}
	return out
}

// when says what has not come about yet.
func (c *computer) when(f audit.Finding) string {
	mode := c.Decision.Resolution.Posture.Mode
	if len(f.Areas) == 0 || strings.HasPrefix(f.Message, "unknown") || (mode == v1alpha1.ModeEnforce && !slices.ContainsFunc(f.Areas, c.held)) {
		return ""
	}
	return "once enforced, "
}
