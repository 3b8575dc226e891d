package status

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// conditioner gathers the conditions of one object.
type conditioner struct {
	generation int64
	now        metav1.Time
	// before are the conditions that the status has.
	before []metav1.Condition
	conds  []metav1.Condition
}

// set adds a condition; the time of its last transition stays where the status did.
func (c *conditioner) set(kind string, status metav1.ConditionStatus, reason, message string) {
	cond := metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: mesh.Cut(message, v1alpha1.MaxMessageBytes),
		ObservedGeneration: c.generation, LastTransitionTime: c.now,
	}
	if old := find(c.before, kind); old != nil && old.Status == status {
		cond.LastTransitionTime = old.LastTransitionTime
	}
	c.conds = append(c.conds, cond)
}

func (c *conditioner) get(kind string) metav1.Condition {
	if cond := find(c.conds, kind); cond != nil {
		return *cond
	}
	return metav1.Condition{}
}

func find(conds []metav1.Condition, kind string) *metav1.Condition {
	for i := range conds {
		if conds[i].Type == kind {
			return &conds[i]
		}
	}
	return nil
}

// conditions computes all of them, in the order in which a reader asks.
func (c *computer) conditions(rules []v1alpha1.RuleStatus, findings []v1alpha1.Finding) {
	c.accepted()
	switch accepted := c.get(v1alpha1.ConditionAccepted); {
	case accepted.Status != metav1.ConditionTrue && accepted.Reason != v1alpha1.ReasonMandateViolated:
		c.notAccepted(v1alpha1.ReasonNotAccepted, "the profile is not accepted; "+c.lastGood())
	default:
		c.resolvedRefs()
		c.programmed()
		c.inSync()
		c.enforced(rules)
		c.compliant(findings)
	}
	c.ready(rules)
}

// compliant says whether something grave is open. What can't be read is no pass.
func (c *computer) compliant(findings []v1alpha1.Finding) {
	list := func(state v1alpha1.FindingState) (out []string) {
		for _, f := range findings {
			if f.State == state && grave(f) && !slices.Contains(out, f.Check) {
				out = append(out, f.Check)
			}
		}
		return out
	}
	switch open, unknown := list(v1alpha1.FindingOpen), list(v1alpha1.FindingUnknown); {
	case !c.Decision.Compiled:
		c.set(v1alpha1.ConditionCompliant, metav1.ConditionUnknown, v1alpha1.ReasonNotEvaluated, "the namespace is audited once the profile can be used; "+c.lastGood())
	case len(open) > 0:
		c.set(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonFindingsOpen,
			fmt.Sprintf("findings of severity High or above are open: %s; status.findings says what to do", mesh.Some(open)))
	case len(unknown) > 0:
		c.set(v1alpha1.ConditionCompliant, metav1.ConditionUnknown, v1alpha1.ReasonFindingsUnknown,
			fmt.Sprintf("what checks need can't be read: %s; status.findings says what is missing", mesh.Some(unknown)))
	default:
		c.set(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonCompliant, "no finding of severity High or above is open")
	}
}

// grave says whether a finding keeps a namespace from being compliant.
func grave(f v1alpha1.Finding) bool {
	return f.Severity == v1alpha1.SeverityCritical || f.Severity == v1alpha1.SeverityHigh
}

// audited says in sentences what of the audit is grave and open. The preflight's
// findings and those about mandates are said elsewhere, and that nothing is
// enforced by the mode.
func (c *computer) audited(findings []v1alpha1.Finding) []string {
	enforces := c.Decision.Resolution.Posture.Mode == v1alpha1.ModeEnforce
	var out []string
	for _, f := range findings {
		family := audit.Family(f.Check)
		if family == "BASE" || !enforces && slices.Contains([]string{"AUTHZ", "EGR", "MTLS", "NET"}, family) {
			continue
		}
		examined := slices.ContainsFunc(c.Decision.Examined, func(e audit.Finding) bool { return e.Check == f.Check })
		if examined && grave(f) && f.State == v1alpha1.FindingOpen {
			out = append(out, fmt.Sprintf("%s %s: %s; %s", f.Check, f.Subject, f.Message, f.Remediation))
		}
	}
	return out
}

func (c *computer) accepted() {
	switch {
	case len(c.Decision.Resolution.Invalid) > 0:
		c.set(v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid, words(c.Decision.Resolution.Invalid))
	case c.Decision.Unsupported != "":
		c.set(v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonUnsupportedMesh, c.Decision.Unsupported)
	case len(c.Decision.Resolution.Violations) > 0:
		c.set(v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonMandateViolated, words(c.Decision.Resolution.Violations))
	default:
		c.set(v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "the profile is valid and the one in force")
	}
}

// notAccepted answers everything that can't be said of a profile that is not in force.
func (c *computer) notAccepted(reason, message string) {
	c.set(v1alpha1.ConditionResolvedRefs, metav1.ConditionUnknown, reason, message)
	c.set(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, reason, message)
	if c.Decision.LastGood != nil {
		c.inSync()
	} else {
		c.set(v1alpha1.ConditionInSync, metav1.ConditionUnknown, reason, message)
	}
	for _, kind := range []string{
		v1alpha1.ConditionMutualTLSEnforced, v1alpha1.ConditionAuthorizationEnforced,
		v1alpha1.ConditionEgressEnforced, v1alpha1.ConditionCompliant,
	} {
		c.set(kind, metav1.ConditionUnknown, reason, message)
	}
}

func (c *computer) resolvedRefs() {
	r := c.Decision.Resolution
	problems := append(append([]posture.Problem{}, r.Missing...), r.Dangling...)
	if len(problems) > 0 {
		c.set(v1alpha1.ConditionResolvedRefs, metav1.ConditionFalse, problems[0].Reason, words(problems))
		return
	}
	c.set(v1alpha1.ConditionResolvedRefs, metav1.ConditionTrue, v1alpha1.ReasonResolved, "everything that the profile names exists")
}

func (c *computer) programmed() {
	no := func(reason, message string) {
		c.set(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, reason, message)
	}
	switch {
	case !c.Decision.Compiled:
		no(v1alpha1.ReasonRefsUnresolved, "the profile names something without which it can't be applied, see ResolvedRefs; "+c.lastGood())
	case c.Decision.Paused && !c.settled:
		c.set(v1alpha1.ConditionProgrammed, metav1.ConditionUnknown, v1alpha1.ReasonPaused, "the annotation "+v1alpha1.AnnotationPaused+" of "+c.Decision.PausedBy+" stops all writes, and the cluster differs from what is declared; remove the annotation")
	case len(c.conflicts) > 0:
		no(v1alpha1.ReasonConflict, fmt.Sprintf("an object with a name that the operator uses exists and is not its own: %s; delete or rename it, or annotate it %s=true to hand it over",
			strings.Join(c.conflicts, ", "), v1alpha1.AnnotationAdopt))
	case len(c.Decision.Unserved) > 0:
		no(v1alpha1.ReasonMeshCRDsMissing, "the API server does not serve "+strings.Join(c.Decision.Unserved, ", ")+"; install the mesh; what needs no mesh is in force")
	case len(c.Outcome.Failures) > 0:
		f := c.Outcome.Failures[0]
		reason := v1alpha1.ReasonApplyFailed
		if f.Rejected {
			reason = v1alpha1.ReasonRejected
		}
		no(reason, fmt.Sprintf("%s: %s", f.Resource, f.Message))
	case c.changed():
		no(v1alpha1.ReasonDriftDetected, "somebody changed what was written, and it is left so; see InSync")
	case len(c.Decision.Resolution.Posture.Held) > 0:
		no(v1alpha1.ReasonPreflightBlocked, c.blocked())
	case c.Decision.Resolution.Posture.Mode == v1alpha1.ModeAudit:
		c.set(v1alpha1.ConditionProgrammed, metav1.ConditionTrue, v1alpha1.ReasonAudit, "enforcementMode is Audit: nothing is to be written, and nothing is")
	default:
		c.set(v1alpha1.ConditionProgrammed, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "everything that the profile asks for is in the cluster")
	}
}

// lastGood says what is in force while the profile can't be used.
func (c *computer) lastGood() string {
	switch {
	case c.Decision.LastGood != nil:
		return "what was last written for it stays in force and is kept so"
	case c.before.AppliedDigest == "":
		return "it was never in force as a whole, and nothing is written for it until this is mended"
	}
	return "what was last written for it is left as it is: it is not what the operator wrote, so that changes by others can't be told and are not undone until this is mended"
}

func (c *computer) driftRemedy(reason string) string {
	switch {
	case c.Decision.Paused:
		return "undo it, or remove the annotation " + v1alpha1.AnnotationPaused + " of " + c.Decision.PausedBy
	case reason == v1alpha1.ReasonDriftNotCorrected:
		return "correcting it failed, see Programmed"
	case reason == v1alpha1.ReasonDriftFight:
		return "it is made again as often as it is corrected, so that it is now corrected after a pause only: stop whoever makes it, such as a GitOps tool that applies an older copy, or change the profile"
	}
	return "undo it, or set drift.policy to Correct"
}

// worst is the reason that InSync gives for what is open.
func (c *computer) worst() string {
	for _, reason := range []string{v1alpha1.ReasonDriftNotCorrected, v1alpha1.ReasonDriftFight} {
		for _, o := range c.open {
			if o.reason == reason {
				return reason
			}
		}
	}
	return v1alpha1.ReasonDriftDetected
}

func (c *computer) inSync() {
	switch {
	case !c.Decision.Compiled && c.Decision.LastGood == nil:
		c.set(v1alpha1.ConditionInSync, metav1.ConditionUnknown, v1alpha1.ReasonRefsUnresolved, "the profile can't be applied, so nothing is compared; see ResolvedRefs")
	case len(c.open) > 0:
		reason := c.worst()
		c.set(v1alpha1.ConditionInSync, metav1.ConditionFalse, reason, c.openInWords(reason))
	default:
		c.set(v1alpha1.ConditionInSync, metav1.ConditionTrue, v1alpha1.ReasonInSync, "nobody changed what was written")
	}
}

func (c *computer) enforced(rules []v1alpha1.RuleStatus) {
	types := map[v1alpha1.Area]string{
		v1alpha1.AreaMutualTLS:     v1alpha1.ConditionMutualTLSEnforced,
		v1alpha1.AreaAuthorization: v1alpha1.ConditionAuthorizationEnforced,
		v1alpha1.AreaEgress:        v1alpha1.ConditionEgressEnforced,
	}
	for _, area := range effective.Areas() {
		if !c.Decision.Compiled {
			c.set(types[area], metav1.ConditionUnknown, v1alpha1.ReasonRefsUnresolved, "the profile can't be applied; see ResolvedRefs")
			continue
		}
		e := effective.Evaluate(effective.Input{
			Posture: c.Decision.Resolution.Posture, Observed: c.Observed,
			Rules: rules, Assurance: c.Decision.Result.Assurance, Settled: c.settled && !c.held(area),
			InForce: c.inForce.Compared, After: c.inForce.There, Foreign: c.inForce.Foreign, Loosened: c.loosened,
		}, area)
		c.set(types[area], e.Status, e.Reason, e.Message)
	}
}

// ready follows the conditions that it depends on, and says by the kstatus
// convention whether to wait (Reconciling) or to act (Stalled).
func (c *computer) ready(rules []v1alpha1.RuleStatus) {
	for _, kind := range []string{
		v1alpha1.ConditionAccepted, v1alpha1.ConditionResolvedRefs, v1alpha1.ConditionInSync, v1alpha1.ConditionProgrammed,
	} {
		cond := c.get(kind)
		switch {
		case cond.Status == metav1.ConditionTrue:
			continue
		case cond.Reason == v1alpha1.ReasonApplyFailed || cond.Reason == v1alpha1.ReasonDriftNotCorrected:
			c.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, cond.Reason, cond.Message)
			c.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, cond.Reason, "it is tried again")
		case c.Decision.Paused && len(c.conflicts) == 0:
			c.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPaused, cond.Message)
		default:
			c.set(v1alpha1.ConditionReady, metav1.ConditionFalse, cond.Reason, cond.Message)
			c.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, cond.Reason, cond.Message)
		}
		return
	}
	var loose []string
	for _, r := range rules {
		if r.Verdict == v1alpha1.VerdictLooser || r.Verdict == v1alpha1.VerdictUnsupported {
			loose = append(loose, fmt.Sprintf("%s rule %s is %s: %s", r.Area, r.Name, r.Verdict, r.Message))
		}
	}
	if len(loose) > 0 {
		message := strings.Join(loose, "; ")
		c.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRulesLooser, message)
		c.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRulesLooser, message)
		return
	}
	c.set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, c.readyMessage(rules))
}

// readyMessage does not say more than is so: in Audit nothing is in the cluster,
// and a rule in conflict with another is not.
func (c *computer) readyMessage(rules []v1alpha1.RuleStatus) string {
	if c.Decision.Resolution.Posture.Mode == v1alpha1.ModeAudit {
		return "enforcementMode is Audit: nothing is to be written, and nothing is"
	}
	var left []v1alpha1.RuleName
	for _, r := range rules {
		if r.Verdict == v1alpha1.VerdictConflict {
			left = append(left, r.Name)
		}
	}
	if len(left) > 0 {
		return "the profile is in the cluster, but for rules that another one stands in the way of: " + mesh.Some(left)
	}
	return "the profile is in the cluster as declared"
}

// words puts problems into one message, with their paths.
func words(problems []posture.Problem) string {
	const most = 5
	var b strings.Builder
	for i, p := range problems {
		if i == most {
			fmt.Fprintf(&b, "; and %d more", len(problems)-most)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Path + ": " + p.Message)
	}
	return b.String()
}
