package effective

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Evidence is a condition's answer for one area.
type Evidence struct {
	Status  metav1.ConditionStatus
	Reason  string
	Message string
}

// Input is what the evidence is drawn from.
type Input struct {
	Posture  posture.Posture
	Observed facts.Observed
	// Rules and Assurance are the compiler's verdicts.
	Rules     []v1alpha1.RuleStatus
	Assurance v1alpha1.EgressAssurance
	// Settled is true when everything desired is in the cluster exactly so.
	Settled bool
	// InForce is what sets what the mesh does, with what is in the cluster and
	// whoever made it, apart from what is desired alone.
	InForce Comparison
	// After is the model of what is in the cluster; nil where nothing was compared.
	After *Model
	// Foreign says which objects are not the operator's; nil: none.
	Foreign func(Ref) bool
	// Loosened are areas in which something weakens the posture that the
	// comparison does not show.
	Loosened []v1alpha1.Area
}

// Areas lists the areas that are judged, in the order of their conditions.
func Areas() []v1alpha1.Area {
	return []v1alpha1.Area{v1alpha1.AreaMutualTLS, v1alpha1.AreaAuthorization, v1alpha1.AreaEgress}
}

// check looks at one thing; nil when it has nothing to say.
type check func(Input, v1alpha1.Area) *Evidence

// checks in the order in which they decide. The first that speaks is the
// answer; when none does, the area is enforced.
var checks = []check{
	// Nobody declared anything.
	notDeclared,
	// The mode denies nothing.
	notEnforcing,
	// Everything that the mesh could do is at least what is declared.
	nothingToHold,
	// What would enforce it is not there.
	notSettled,
	// Nothing shows that a mesh acts on it.
	meshNotObserved,
	// A rule is weaker than declared.
	rulesWeaker,
	// Egress reaches less assurance than declared.
	assuranceNotMet,
	// Nothing runs that could be protected.
	noWorkloads,
	// Workloads are outside of the mesh.
	bypassed,
	// Somebody else's objects open something.
	shadowed,
	// Callers without an identity get past rules that deny by it.
	evaded,
	// Somebody else's objects may change the outcome.
	unclear,
}

// Evaluate draws the evidence for one area.
func Evaluate(in Input, area v1alpha1.Area) Evidence {
	for _, c := range checks {
		if e := c(in, area); e != nil {
			return *e
		}
	}
	return Evidence{metav1.ConditionTrue, v1alpha1.ReasonEnforced, enforcedMessage(in, area)}
}

func unknown(reason, format string, args ...any) *Evidence {
	return &Evidence{metav1.ConditionUnknown, reason, fmt.Sprintf(format, args...)}
}

func no(reason, format string, args ...any) *Evidence {
	return &Evidence{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

func notDeclared(in Input, area v1alpha1.Area) *Evidence {
	p := in.Posture
	declared := map[v1alpha1.Area]bool{
		v1alpha1.AreaMutualTLS:     p.MutualTLS != nil,
		v1alpha1.AreaAuthorization: p.Authorization != nil,
		v1alpha1.AreaEgress:        p.Egress != nil,
	}
	if declared[area] {
		return nil
	}
	return unknown(v1alpha1.ReasonNotDeclared, "neither the profile nor a baseline declares it, so nothing is enforced")
}

func notEnforcing(in Input, _ v1alpha1.Area) *Evidence {
	switch in.Posture.Mode {
	case v1alpha1.ModeAudit:
		return no(v1alpha1.ReasonAudit, "enforcementMode is Audit: nothing is written, nothing is enforced")
	case v1alpha1.ModeDryRun:
		return no(v1alpha1.ReasonDryRun, "enforcementMode is DryRun: everything is evaluated and nothing is denied")
	}
	return nil
}

func nothingToHold(in Input, area v1alpha1.Area) *Evidence {
	p := in.Posture
	least := false
	switch area {
	case v1alpha1.AreaMutualTLS:
		least = p.MutualTLS.Mode == v1alpha1.MutualTLSPermissive
	case v1alpha1.AreaAuthorization:
		least = p.Authorization.Default == v1alpha1.DefaultAllow &&
			!slices.ContainsFunc(p.Authorization.Rules, func(r posture.Rule) bool { return r.Action == v1alpha1.RuleDeny })
	case v1alpha1.AreaEgress:
		least = p.Egress.Default == v1alpha1.DefaultAllow
	}
	if !least {
		return nil
	}
	return &Evidence{metav1.ConditionTrue, v1alpha1.ReasonEnforced, "nothing is declared that would have to be denied"}
}

// notSettled speaks only where what differs in the cluster opens something, or may.
func notSettled(in Input, area v1alpha1.Area) *Evidence {
	if in.Settled {
		return nil
	}
	opens := slices.ContainsFunc(in.InForce.Opened(area), func(d Difference) bool { return !in.shadowed(d) })
	unclear := slices.ContainsFunc(in.InForce.Unclear(area), func(r Ref) bool { return !in.foreign(r) })
	if in.After != nil && !opens && !unclear && !in.InForce.Partial && !slices.Contains(in.Loosened, area) {
		return nil
	}
	return no(v1alpha1.ReasonNotProgrammed, "what would enforce it is not in the cluster as it should be; see Programmed and InSync")
}

func (in Input) foreign(r Ref) bool { return in.Foreign != nil && in.Foreign(r) }

// shadowed says whether somebody else's object makes a difference.
func (in Input) shadowed(d Difference) bool { return slices.ContainsFunc(d.By, in.foreign) }

func meshNotObserved(in Input, _ v1alpha1.Area) *Evidence {
	if in.Observed.Facts.Mesh.Observed {
		return nil
	}
	return unknown(v1alpha1.ReasonMeshNotObserved,
		"no running istiod and no mesh configuration was found in namespace %s, so nothing shows that the configuration is acted upon; install Istio there, or start the operator with --istio-namespace",
		in.Observed.Facts.Mesh.RootNamespace)
}

func rulesWeaker(in Input, area v1alpha1.Area) *Evidence {
	var names []string
	for _, r := range in.Rules {
		if r.Area == area && (r.Verdict == v1alpha1.VerdictLooser || r.Verdict == v1alpha1.VerdictUnsupported) {
			names = append(names, string(r.Name))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return no(v1alpha1.ReasonRulesNotEnforced, "not as strict as declared: rules %s; see status.rules", mesh.Some(names))
}

func assuranceNotMet(in Input, area v1alpha1.Area) *Evidence {
	if area != v1alpha1.AreaEgress || rank(in.Assurance) >= rank(in.Posture.Egress.Assurance) {
		return nil
	}
	if in.Observed.Facts.Network.PolicyEnforced != facts.Yes {
		return no(v1alpha1.ReasonAssuranceNotMet,
			"assurance %s is declared, and the operator was not told that this cluster's network enforces NetworkPolicy, so the proxy alone is counted on; start it with --network-policy-enforced=true where that is so",
			in.Posture.Egress.Assurance)
	}
	if in.Posture.Egress.Assurance == v1alpha1.AssuranceGateway && in.Assurance == v1alpha1.AssuranceNetwork {
		return no(v1alpha1.ReasonAssuranceNotMet,
			"assurance Gateway is declared and the egress gateway can't be used, so that nothing outside is let out but the way to the gateway, if there is one; see ResolvedRefs")
	}
	return no(v1alpha1.ReasonAssuranceNotMet,
		"assurance %s is declared and %s is reached: a rule goes directly to a host name, which NetworkPolicy does not know, so that a process that bypasses its proxy reaches every address outside the cluster on the rule's ports; use cidrs, or an egress gateway",
		in.Posture.Egress.Assurance, cmp.Or(string(in.Assurance), "none"))
}

func rank(a v1alpha1.EgressAssurance) int {
	return slices.Index([]v1alpha1.EgressAssurance{"", v1alpha1.AssuranceProxy, v1alpha1.AssuranceNetwork, v1alpha1.AssuranceGateway}, a)
}

func noWorkloads(in Input, _ v1alpha1.Area) *Evidence {
	if len(in.Observed.Facts.Pods) > 0 {
		return nil
	}
	return unknown(v1alpha1.ReasonNoWorkloads, "no pod runs in the namespace; what is written takes effect when one does")
}

func bypassed(in Input, _ v1alpha1.Area) *Evidence {
	var out, past []string
	for _, w := range Workloads(in.Observed.Facts) {
		switch {
		case !w.Enrolled:
			out = append(out, w.Owner.String())
		case len(w.Bypass) > 0:
			past = append(past, fmt.Sprintf("%s (%s)", w.Owner, strings.Join(w.Bypass, ", ")))
		}
	}
	switch {
	case len(out) > 0:
		return no(v1alpha1.ReasonBypassDetected, "not in the mesh: %s; label the namespace for injection and restart them", mesh.Some(out))
	case len(past) > 0:
		return no(v1alpha1.ReasonBypassDetected, "traffic evades the mesh at %s; remove these settings from the pods", mesh.Some(past))
	}
	return nil
}

// shadowed: objects of others open something.
func shadowed(in Input, area v1alpha1.Area) *Evidence {
	var opens []Difference
	var by []Ref
	for _, d := range in.InForce.Opened(area) {
		if in.shadowed(d) {
			opens = append(opens, d)
			by = append(by, slices.DeleteFunc(slices.Clone(d.By), func(r Ref) bool { return !in.foreign(r) })...)
		}
	}
	if len(opens) == 0 {
		return nil
	}
	return no(v1alpha1.ReasonShadowed, "objects of others open what is declared shut: by %s, %s; see InSync",
		named(by, in.Posture.Namespace), Words(in.After, opens, true))
}

// evaded: a rule that denies by identity counts on mutual TLS, and what is in
// force takes plaintext, whose callers have none. Where what is declared does so
// already, the rule's verdict says it.
func evaded(in Input, area v1alpha1.Area) *Evidence {
	if area != v1alpha1.AreaAuthorization || in.After == nil {
		return nil
	}
	var rules []string
	var by []Ref
	for _, r := range in.Posture.Authorization.Rules {
		if r.Action != v1alpha1.RuleDeny || !r.From.ByIdentity() {
			continue
		}
		if open, refs := in.After.plaintext(in.Observed.Facts.Pods, r); open {
			rules = append(rules, r.Name)
			by = append(by, refs...)
		}
	}
	if len(rules) == 0 {
		return nil
	}
	reason, what := v1alpha1.ReasonNotProgrammed, "since mutual TLS is not in force as it is declared"
	if slices.ContainsFunc(by, in.foreign) {
		reason, what = v1alpha1.ReasonShadowed, "let in by "+named(by, in.Posture.Namespace)
	}
	return no(reason, "callers in plaintext, who have no identity, get past rules that deny by identity, %s: rules %s; see InSync", what, mesh.Some(rules))
}

// unclear: objects of others of which nobody here can tell what they do.
func unclear(in Input, area v1alpha1.Area) *Evidence {
	var names []string
	if refs := in.InForce.Unclear(area); len(refs) > 0 {
		names = append(names, named(refs, in.Posture.Namespace))
	}
	for _, i := range in.Observed.Influences {
		if slices.Contains(i.Areas, area) {
			names = append(names, named([]Ref{{i.Kind, i.Namespace, i.Name}}, in.Posture.Namespace))
		}
	}
	switch {
	case len(names) > 0:
		return unknown(v1alpha1.ReasonForeignPolicies,
			"objects of others can change what is in force, and this version does not work out how: %s; remove them, or express them in the profile", mesh.Some(names))
	case in.InForce.Partial:
		return unknown(v1alpha1.ReasonForeignPolicies, "there are more objects of others, or larger ones, than this version works out the effect of; merge or remove some of them")
	}
	return nil
}

func enforcedMessage(in Input, area v1alpha1.Area) string {
	switch area {
	case v1alpha1.AreaMutualTLS:
		if len(in.Posture.MutualTLS.Exempt) > 0 {
			return "mutual TLS alone is accepted, but for the declared port overrides and where an exception lets plaintext in"
		}
		if n := len(in.Posture.MutualTLS.Overrides); n > 0 {
			return "mutual TLS alone is accepted, but for the declared port overrides"
		}
		return "mutual TLS alone is accepted by every workload"
	case v1alpha1.AreaAuthorization:
		if in.Posture.Authorization.Default == v1alpha1.DefaultAllow {
			return "what a rule denies is denied"
		}
		if len(in.Posture.Authorization.Exempt) > 0 {
			return "what no rule allows is denied, but for workloads that an exception leaves open"
		}
		return "what no rule allows is denied"
	}
	return fmt.Sprintf("what no rule allows is not reached, held by assurance %s", in.Assurance)
}

// Workload is the pods of one controller.
type Workload struct {
	Owner facts.Owner
	// Enrolled is true when the mesh carries all of its pods.
	Enrolled bool
	// Bypass lists settings by which some of its pods evade the mesh, sorted.
	Bypass []string
}

// Workloads groups the pods by their controller, sorted by it.
func Workloads(f facts.Facts) []Workload {
	var out []Workload
	for _, o := range f.ByOwner() {
		w := Workload{Owner: o.Owner, Enrolled: true}
		for _, p := range o.Pods {
			w.Enrolled = w.Enrolled && p.Enrolled(f.Mesh.DataPlane)
			w.Bypass = append(w.Bypass, p.Bypass...)
		}
		slices.Sort(w.Bypass)
		w.Bypass = slices.Compact(w.Bypass)
		out = append(out, w)
	}
	return out
}
