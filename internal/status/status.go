package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Failure is a step that was not done.
type Failure struct {
	// Resource is KIND/NAME.
	Resource string
	// Rejected is true when the API server refused it and will refuse it again.
	Rejected bool
	Message  string
}

// Outcome is what became of a decision's steps.
type Outcome struct {
	// Failures of steps, in their order; steps that were held back because of
	// an earlier failure are among them.
	Failures []Failure
}

func (o Outcome) failed(resource string) bool {
	return slices.ContainsFunc(o.Failures, func(f Failure) bool { return f.Resource == resource })
}

// Input is what a status is computed from.
type Input struct {
	Profile  *v1alpha1.MeshSecurityProfile
	Observed facts.Observed
	Decision decide.Decision
	Outcome  Outcome
	Now      time.Time
}

// Result is what Compute returns.
type Result struct {
	Status v1alpha1.MeshSecurityProfileStatus
	// Fresh are the changes by others that are new in it.
	Fresh []v1alpha1.DriftRecord
	// Findings are all of them, the worst first; the status has the worst alone.
	Findings []v1alpha1.Finding
}

// Compute returns the status of the profile in force, and what belongs to it.
func Compute(in Input) Result {
	c := newComputer(in)
	c.changes()
	c.shadows()
	c.trim()
	c.settled = c.Decision.Compiled && !c.changed() && len(c.Outcome.Failures) == 0 &&
		len(c.conflicts) == 0 && len(c.Decision.Unserved) == 0 && !c.pending
	c.judge()
	findings := c.findings()
	out := v1alpha1.MeshSecurityProfileStatus{
		ObservedGeneration: in.Profile.Generation,
		AppliedDigest:      c.digest(),
		EnforcedAreas:      c.enforcedAreas(),
		Mesh:               c.mesh(),
		Effective:          c.effective(),
		Summary:            c.summary(),
		Rules:              c.rules(),
		Drift:              c.records,
		Findings:           findings[:min(len(findings), v1alpha1.MaxStatusFindings)],
	}
	out.Summary.Findings = Count(findings)
	c.conditions(out.Rules, findings)
	out.Conditions = c.conds
	out.Attention = c.attention(out)
	shorten(&out)
	return Result{out, c.fresh, findings}
}

func newComputer(in Input) *computer {
	return &computer{Input: in, before: in.Profile.Status, conditioner: conditioner{
		generation: in.Profile.Generation, now: metav1.NewTime(in.Now.Truncate(time.Second)), before: in.Profile.Status.Conditions,
	}}
}

// Superseded returns the status of a profile that is not the one in force.
func Superseded(p *v1alpha1.MeshSecurityProfile, winner string, now time.Time) v1alpha1.MeshSecurityProfileStatus {
	c := newComputer(Input{Profile: p, Now: now})
	msg := fmt.Sprintf("profile %s is older and is the one in force in this namespace; merge this one into it, or delete one of the two", winner)
	c.set(v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonSuperseded, msg)
	c.notAccepted(v1alpha1.ReasonNotAccepted, "this profile is not the one in force")
	c.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSuperseded, msg)
	c.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSuperseded, msg)
	return v1alpha1.MeshSecurityProfileStatus{
		ObservedGeneration: p.Generation, Drift: p.Status.Drift, Conditions: c.conds, Attention: []string{msg},
	}
}

// opened is a change by others that is in the cluster still.
type opened struct {
	// what changed, in words.
	what string
	// reason of InSync.
	reason string
	// remedy is what to do about somebody else's object; empty for a change of ours.
	remedy string
}

type computer struct {
	Input
	conditioner
	before v1alpha1.MeshSecurityProfileStatus

	// open are changes by others that are in the cluster still.
	open []opened
	// conflicts are KIND/NAME of foreign objects under our names.
	conflicts []string
	// pending is true when there is something left to write.
	pending bool
	settled bool
	records []v1alpha1.DriftRecord
	fresh   []v1alpha1.DriftRecord
	// current are the records of what is so still, by what sameChange compares.
	current []v1alpha1.DriftRecord
	inForce decide.InForce
	// loosened are areas that something left in the cluster weakens, and the model does not show it.
	loosened []v1alpha1.Area
}

// changes sorts out what the differences mean after acting.
func (c *computer) changes() {
	c.records = slices.Clone(c.before.Drift)
	for _, ch := range c.Decision.Changes {
		resource := ch.Resource()
		failed := c.Outcome.failed(resource)
		switch {
		case ch.Type == drift.Conflict:
			c.conflicts = append(c.conflicts, resource)
			continue
		case !ch.Drift:
			c.pending = c.pending || failed || ch.Waiting || c.Decision.Paused
			continue
		}
		resolution, reason := v1alpha1.ResolutionCorrected, ""
		switch {
		case c.Decision.Left(ch):
			resolution, reason = v1alpha1.ResolutionReported, v1alpha1.ReasonDriftDetected
			if c.Decision.Fought(ch) && !c.Decision.Paused && c.Decision.Resolution.Posture.DriftPolicy == v1alpha1.DriftCorrect {
				reason = v1alpha1.ReasonDriftFight
			}
		case failed || ch.Waiting:
			resolution, reason = v1alpha1.ResolutionFailed, v1alpha1.ReasonDriftNotCorrected
		}
		r := ch.Record(c.now.Time, resolution)
		if reason != "" {
			c.open = append(c.open, opened{what: Describe(r), reason: reason})
		}
		c.record(r)
	}
}

// Describe puts a change into words.
func Describe(r v1alpha1.DriftRecord) string {
	if r.Type == v1alpha1.DriftShadowed {
		return describeShadow(r)
	}
	verb := map[v1alpha1.DriftType]string{
		v1alpha1.DriftMissing:    "was deleted",
		v1alpha1.DriftModified:   "was changed",
		v1alpha1.DriftUnexpected: "was added",
	}[r.Type]
	by := r.Actor
	if by == "" || by == "unknown" {
		by = "somebody unknown (see the API server's audit log)"
	}
	s := fmt.Sprintf("%s %s by %s, which %s", r.Resource, verb, by,
		map[v1alpha1.Effect]string{v1alpha1.EffectWeakens: "weakens the posture", v1alpha1.EffectTightens: "tightens the posture", v1alpha1.EffectNeutral: "leaves the posture as it is"}[r.Effect])
	if len(r.Fields) > 0 {
		f := r.Fields[0]
		s += fmt.Sprintf(": %s is %s instead of %s", f.Path, cmp.Or(f.Observed, "absent"), cmp.Or(f.Desired, "absent"))
		if len(r.Fields) > 1 {
			s += ", and other fields"
		}
	}
	return s
}

// digest is the fingerprint of what was last written as a whole.
func (c *computer) digest() string {
	if c.Decision.Compiled && !c.pending && len(c.Outcome.Failures) == 0 && len(c.conflicts) == 0 && len(c.Decision.Unserved) == 0 {
		return c.Decision.Digest
	}
	return c.before.AppliedDigest
}

func (c *computer) mesh() *v1alpha1.MeshStatus {
	m := c.Observed.Facts.Mesh
	return &v1alpha1.MeshStatus{Provider: m.Provider, DataPlane: m.DataPlane, Revision: m.Revision, Version: m.Version}
}

const undeclared = "NotDeclared"

// effective is the posture in force. Where the profile can't be used, the last
// one that could stays in force, and stays shown.
func (c *computer) effective() *v1alpha1.EffectivePosture {
	if !c.Decision.Compiled {
		return c.before.Effective
	}
	p := c.Decision.Resolution.Posture
	out := &v1alpha1.EffectivePosture{
		EnforcementMode: p.Mode, MutualTLS: undeclared, Authorization: undeclared, Egress: undeclared, AccessLog: undeclared,
		DriftPolicy: p.DriftPolicy, Origins: p.Origins,
	}
	if p.Guard != v1alpha1.GuardNone {
		out.Guard = p.Guard
	}
	// A value that denies nothing yet must not read as one that does.
	note := func(v1alpha1.Area) string { return "" }
	switch p.Mode {
	case v1alpha1.ModeAudit:
		note = func(v1alpha1.Area) string { return " (audit)" }
	case v1alpha1.ModeDryRun:
		note = func(v1alpha1.Area) string { return " (dry run)" }
	case v1alpha1.ModeEnforce:
		note = c.unconfirmed
	}
	noted := func(a v1alpha1.Area) string {
		if c.held(a) {
			return " (held back)"
		}
		return note(a)
	}
	if p.MutualTLS != nil {
		out.MutualTLS = string(p.MutualTLS.Mode) + noted(v1alpha1.AreaMutualTLS)
	}
	if p.Authorization != nil {
		out.Authorization = string(p.Authorization.Default) + noted(v1alpha1.AreaAuthorization)
	}
	if p.Egress != nil {
		out.Egress = string(p.Egress.Default) + noted(v1alpha1.AreaEgress)
		out.EgressAssurance = c.Decision.Result.Assurance
		if out.EgressAssurance == v1alpha1.AssuranceGateway && noted(v1alpha1.AreaEgress) != "" {
			// All of it has to be there, or the gateway is not what holds it.
			out.EgressAssurance = ""
		}
	}
	if p.AccessLog != "" {
		out.AccessLog = string(p.AccessLog)
	}
	return out
}

func (c *computer) summary() *v1alpha1.Summary {
	s := &v1alpha1.Summary{}
	for _, w := range effective.Workloads(c.Observed.Facts) {
		s.Workloads.Total++
		if w.Enrolled {
			s.Workloads.Enrolled++
			if len(w.Bypass) == 0 {
				s.Workloads.Compliant++
			}
		}
	}
	if !c.Decision.Compiled {
		if c.before.Summary != nil {
			s.Resources = c.before.Summary.Resources
		}
		return s
	}
	s.Resources.Desired = int32(len(c.Decision.Result.Objects)) //nolint:gosec // bounded by the limits of the API
	off := map[string]bool{}
	for _, ch := range c.Decision.Changes {
		if ch.Desired != nil && (c.Decision.Left(ch) || ch.Waiting || c.Outcome.failed(ch.Resource())) {
			off[ch.Resource()] = true
		}
	}
	s.Resources.InSync = int32(len(c.Decision.Desired) - len(off)) //nolint:gosec // likewise
	return s
}

// rules is one line for everything that the profile declares.
func (c *computer) rules() []v1alpha1.RuleStatus {
	if !c.Decision.Compiled {
		return c.before.Rules
	}
	var out []v1alpha1.RuleStatus
	for _, o := range c.Decision.Resolution.Posture.Expired {
		out = append(out, v1alpha1.RuleStatus{
			Name: v1alpha1.RuleName(o.Name), Area: v1alpha1.AreaMutualTLS, Verdict: v1alpha1.VerdictStricter,
			Message: fmt.Sprintf("expired at %s: the namespace's own mode applies to the port again; remove the override, or give it a later expiresAt", o.Expires.UTC().Format(time.RFC3339)),
		})
	}
	for _, r := range c.Decision.Resolution.Posture.Refused {
		if !r.Rest {
			out = append(out, v1alpha1.RuleStatus{Name: v1alpha1.RuleName(r.Rule), Area: r.Area, Verdict: v1alpha1.VerdictStricter, Message: r.Message})
		}
	}
	missing := c.Decision.Unserved
	for _, r := range c.Decision.Result.Rules {
		r = c.narrowed(r)
		if c.held(r.Area) {
			out = append(out, waiting(r))
			continue
		}
		// What is not in the cluster is not in force, whatever the compiler made of it.
		if r.Verdict == v1alpha1.VerdictEnforced || r.Verdict == v1alpha1.VerdictDryRun {
			switch {
			case len(missing) > 0:
				r.Verdict, r.EnforcedBy = v1alpha1.VerdictPending, nil
				r.Message = "the API server does not serve " + strings.Join(missing, ", ") + "; install the mesh"
			case !c.settled && c.touched(r.Area):
				r.Verdict = v1alpha1.VerdictPending
				r.Message = "what enforces it is not in the cluster as it should be; see the conditions Programmed and InSync"
			}
		}
		out = append(out, r)
	}
	if len(out) > v1alpha1.MaxStatusRules {
		out = out[:v1alpha1.MaxStatusRules]
	}
	return out
}

// refused says whether a rule is as it is by a mandate alone, of which Accepted tells.
func (c *computer) refused(r v1alpha1.RuleStatus) bool {
	return slices.ContainsFunc(c.Decision.Resolution.Posture.Refused, func(f posture.Refusal) bool {
		return f.Rule == string(r.Name) && f.Area == r.Area && f.Message == r.Message
	})
}

// narrowed is the verdict of a rule of which a mandate refuses a part.
func (c *computer) narrowed(r v1alpha1.RuleStatus) v1alpha1.RuleStatus {
	for _, refused := range c.Decision.Resolution.Posture.Refused {
		if refused.Rule != string(r.Name) || refused.Area != r.Area || r.From != "" {
			continue
		}
		switch {
		case r.Verdict == v1alpha1.VerdictEnforced:
			r.Verdict, r.Message = v1alpha1.VerdictStricter, refused.Message
		case r.Message == "":
			r.Message = refused.Message
		default:
			r.Message += "; " + refused.Message
		}
	}
	return r
}

func (c *computer) findings() []v1alpha1.Finding {
	if !c.Decision.Compiled && c.Decision.Unsupported == "" {
		return c.before.Findings
	}
	out := c.allowed()
	for _, f := range slices.Concat(c.Decision.Findings, c.Decision.Examined) {
		out = append(out, f.Finding)
	}
	c.except(out)
	out = c.gathered(out)
	audit.Sort(out, func(f v1alpha1.Finding) v1alpha1.Finding { return f })
	return out
}

// gathered has one finding about the namespace in the place of those that say
// the same of every workload. It comes after exceptions, which may be for some.
func (c *computer) gathered(findings []v1alpha1.Finding) []v1alpha1.Finding {
	workloads := effective.Workloads(c.Observed.Facts)
	if len(workloads) < 2 {
		return findings
	}
	is := map[string]bool{}
	for _, w := range workloads {
		is[w.Owner.String()] = true
	}
	same := func(f v1alpha1.Finding) v1alpha1.Finding { f.Subject = ""; return f }
	count := map[v1alpha1.Finding]int{}
	for _, f := range findings {
		if is[f.Subject] {
			count[same(f)]++
		}
	}
	var out []v1alpha1.Finding
	for _, f := range findings {
		switch key := same(f); {
		case !is[f.Subject] || (count[key] > 0 && count[key] < len(workloads)):
			out = append(out, f)
		case count[key] == len(workloads):
			count[key] = 0 // once
			f.Subject, f.Message = "Namespace/"+c.Profile.Namespace, mesh.Cut("every workload: "+f.Message, v1alpha1.MaxMessageBytes)
			out = append(out, f)
		}
	}
	return out
}

// Count counts findings by severity.
func Count(findings []v1alpha1.Finding) *v1alpha1.FindingCounts {
	var out v1alpha1.FindingCounts
	for _, f := range findings {
		switch {
		case f.State == v1alpha1.FindingExcepted:
			out.Excepted++
		case f.State == v1alpha1.FindingUnknown:
			out.Unknown++
		case f.Severity == v1alpha1.SeverityCritical:
			out.Critical++
		case f.Severity == v1alpha1.SeverityHigh:
			out.High++
		case f.Severity == v1alpha1.SeverityMedium:
			out.Medium++
		default:
			out.Low++
		}
	}
	return &out
}

// attention lists in sentences what is not as declared, worst first.
func (c *computer) attention(s v1alpha1.MeshSecurityProfileStatus) []string {
	var out []string
	for _, o := range c.open {
		out = append(out, o.what+"; "+cmp.Or(o.remedy, c.driftRemedy(o.reason)))
	}
	for _, cond := range s.Conditions {
		if worthSaying(cond) {
			out = append(out, fmt.Sprintf("%s is %s: %s", cond.Type, strings.ToLower(string(cond.Status)), cond.Message))
		}
	}
	out = append(out, c.lockouts()...)
	out = append(out, c.audited(s.Findings)...)
	out = append(out, rulesInWords(slices.DeleteFunc(slices.Clone(s.Rules), c.refused))...)
	out = append(out, c.guard()...)
	if c.Decision.Paused {
		out = append(out, "the annotation "+v1alpha1.AnnotationPaused+" of "+c.Decision.PausedBy+" stops all writes: what others change is neither refused nor undone")
	}
	for i, a := range out {
		out[i] = mesh.Cut(a, v1alpha1.MaxMessageBytes)
	}
	if len(out) > v1alpha1.MaxStatusAttention {
		rest := len(out) - v1alpha1.MaxStatusAttention + 1
		out = append(out[:v1alpha1.MaxStatusAttention-1], fmt.Sprintf("and %d more; see conditions and rules", rest))
	}
	return out
}

// rulesInWords says which rules are not in force, those of which there is the
// same to say in one sentence.
func rulesInWords(rules []v1alpha1.RuleStatus) []string {
	type same struct {
		from    string
		area    v1alpha1.Area
		verdict v1alpha1.Verdict
		message string
	}
	var order []same
	names := map[same][]v1alpha1.RuleName{}
	for _, r := range rules {
		switch {
		case r.Verdict == v1alpha1.VerdictEnforced, r.Verdict == v1alpha1.VerdictDryRun:
			continue
		case r.From != "" && r.Verdict == v1alpha1.VerdictPending:
			// Of a baseline, for callers or workloads that are not here: nothing to do about it.
			continue
		}
		k := same{r.From, r.Area, r.Verdict, r.Message}
		if names[k] == nil {
			order = append(order, k)
		}
		names[k] = append(names[k], r.Name)
	}
	var out []string
	for _, k := range order {
		if k.from != "" {
			k.from = " of " + k.from
		}
		if n := names[k]; len(n) == 1 {
			out = append(out, fmt.Sprintf("%s rule %s%s is %s: %s", k.area, n[0], k.from, k.verdict, k.message))
		} else {
			out = append(out, fmt.Sprintf("%s rules %s%s are %s: %s", k.area, mesh.Some(n), k.from, k.verdict, k.message))
		}
	}
	return out
}

// worthSaying leaves out conditions that only repeat another one, or that a
// reader knows from the spec.
func worthSaying(c metav1.Condition) bool {
	if c.Status == metav1.ConditionTrue {
		return false
	}
	switch c.Type {
	case v1alpha1.ConditionReady, v1alpha1.ConditionCompliant, v1alpha1.ConditionInSync:
		return false
	}
	switch c.Reason {
	case v1alpha1.ReasonNotDeclared, v1alpha1.ReasonDryRun, v1alpha1.ReasonAudit, v1alpha1.ReasonNotAccepted, v1alpha1.ReasonNotProgrammed, v1alpha1.ReasonRulesNotEnforced, v1alpha1.ReasonShadowed:
		return false
	}
	return true
}

// maxStatusBytes keeps a status far below what etcd takes.
const maxStatusBytes = 64 << 10

// shorten cuts the rules' messages until the status fits.
func shorten(s *v1alpha1.MeshSecurityProfileStatus) {
	for i := range s.Rules {
		s.Rules[i].Message = mesh.Cut(s.Rules[i].Message, v1alpha1.MaxMessageBytes)
	}
	for _, limit := range []int{384, 192, 96} {
		b, err := json.Marshal(s)
		if err != nil || len(b) <= maxStatusBytes {
			return
		}
		for i := range s.Rules {
			s.Rules[i].Message = mesh.Cut(s.Rules[i].Message, limit)
		}
	}
}
