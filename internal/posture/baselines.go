package posture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// system are namespaces that no baseline selects, besides the mesh's root
// namespace and the operator's own: to enforce something there can stop the
// cluster.
var system = []string{metav1.NamespaceSystem, metav1.NamespacePublic, "kube-node-lease"}

// Selects says whether a baseline's spec selects a namespace, that is none of
// the excluded: the mesh's root namespace and the operator's own. Nor is it that
// of the baseline's egress gateway, which has to reach the outside itself.
func Selects(spec *v1alpha1.MeshSecurityBaselineSpec, name string, set map[string]string, excluded ...string) bool {
	if g := spec.EgressGateway; g != nil && string(g.Namespace) == name {
		return false
	}
	if slices.Contains(system, name) || slices.Contains(excluded, name) || slices.Contains(spec.ExcludeNamespaces, v1alpha1.NamespaceName(name)) {
		return false
	}
	return Matches(spec.NamespaceSelector, set)
}

// Matches says whether a namespace's labels match a selector. One that can't be
// read matches nothing; the schema lets none through.
func Matches(s v1alpha1.NamespaceSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s.LabelSelector())
	return err == nil && selector.Matches(labels.Set(set))
}

// InForce is the spec of a baseline that is in force in a namespace, and its
// fingerprint; nil where it has not got there yet. now is the fingerprint of
// the spec, and before what status.rolledOut.spec holds.
//
//	no rollout, or it is over      the spec
//	a canary                       the spec
//	any other                      what was rolled out before; nothing, if nothing was
//
// Where the spec before is not known, as a rollout was declared together with
// the change, the change can't be held back.
func InForce(b *v1alpha1.MeshSecurityBaseline, now string, before *v1alpha1.MeshSecurityBaselineSpec, set map[string]string) (*v1alpha1.MeshSecurityBaselineSpec, string) {
	done := b.Status.RolledOut
	switch {
	case b.Spec.Rollout == nil || Matches(b.Spec.Rollout.CanarySelector, set):
		return &b.Spec, now
	case done == nil:
		return nil, ""
	case done.Revision == now || before == nil:
		return &b.Spec, now
	}
	return before, done.Revision
}

// Apply orders the baselines that select a namespace: the higher priority
// first, then the first by name. In a namespace without a profile those alone
// take part that ask for the most there, and unprofiled says what that is; it
// is Ignore where none does.
func Apply(selecting []facts.Baseline, profiled bool) (out []facts.Baseline, unprofiled v1alpha1.UnprofiledMode) {
	unprofiled = v1alpha1.UnprofiledIgnore
	for _, b := range selecting {
		unprofiled = stricter(unprofiledModes, unprofiled, unprofiledMode(b))
	}
	for _, b := range selecting {
		if profiled || (unprofiled != v1alpha1.UnprofiledIgnore && unprofiledMode(b) == unprofiled) {
			out = append(out, b)
		}
	}
	slices.SortStableFunc(out, func(a, b facts.Baseline) int {
		return cmp.Or(cmp.Compare(priority(b), priority(a)), cmp.Compare(a.Name, b.Name))
	})
	return out, unprofiled
}

// GatewayBaseline is the baseline whose egress gateway counts in a namespace:
// the first of those that apply that declares one; false for none.
func GatewayBaseline(applying []facts.Baseline) (facts.Baseline, bool) {
	i := slices.IndexFunc(applying, func(b facts.Baseline) bool { return b.Spec.EgressGateway != nil })
	if i < 0 {
		return facts.Baseline{}, false
	}
	return applying[i], true
}

func unprofiledMode(b facts.Baseline) v1alpha1.UnprofiledMode {
	return cmp.Or(b.Spec.NamespacesWithoutProfile, v1alpha1.UnprofiledAudit)
}

func priority(b facts.Baseline) int32 {
	if b.Spec.Priority == nil {
		return 0
	}
	return *b.Spec.Priority
}

// The values of what can be mandated, the least strict first.
var (
	unprofiledModes = []v1alpha1.UnprofiledMode{v1alpha1.UnprofiledIgnore, v1alpha1.UnprofiledAudit, v1alpha1.UnprofiledDryRun, v1alpha1.UnprofiledEnforce}
	modes           = []v1alpha1.EnforcementMode{v1alpha1.ModeAudit, v1alpha1.ModeDryRun, v1alpha1.ModeEnforce}
	tlsModes        = []v1alpha1.MutualTLSMode{v1alpha1.MutualTLSPermissive, v1alpha1.MutualTLSStrict}
	defaultActions  = []v1alpha1.DefaultAction{v1alpha1.DefaultAllow, v1alpha1.DefaultDeny}
	assurances      = []v1alpha1.EgressAssurance{v1alpha1.AssuranceProxy, v1alpha1.AssuranceNetwork, v1alpha1.AssuranceGateway}
	accessLogs      = []v1alpha1.AccessLog{v1alpha1.AccessLogNone, v1alpha1.AccessLogDenied, v1alpha1.AccessLogAll}
	driftPolicies   = []v1alpha1.DriftPolicy{v1alpha1.DriftReport, v1alpha1.DriftCorrect}
)

func stricter[T comparable](order []T, a, b T) T {
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

// The checks that an exception names to let a profile's looser value through.
const (
	CheckMode            = "BASE-001"
	CheckMutualTLS       = "MTLS-001"
	CheckPortOverride    = "MTLS-002"
	CheckAuthorization   = "AUTHZ-001"
	CheckEgress          = "EGR-001"
	CheckEgressAssurance = "EGR-002"
	CheckEgressHosts     = "EGR-004"
	CheckAccessLog       = "AUD-001"
	CheckDriftPolicy     = "CTL-009"
)

// Mandated says whether a mandate can be let off by an exception from a check,
// and whether it can for single workloads.
func Mandated(check string) (mandate, perWorkload bool) {
	switch check {
	case CheckMutualTLS, CheckPortOverride, CheckAuthorization, CheckEgressHosts:
		return true, true
	case CheckMode, CheckEgress, CheckEgressAssurance, CheckAccessLog, CheckDriftPolicy:
		return true, false
	}
	return false, false
}

// From is how an origin names a baseline.
func From(baseline string) string { return v1alpha1.KindBaseline + "/" + baseline }

// byDefault is the value that the baseline of the highest priority gives as the
// default of a field, and false where none does.
func byDefault[T any](r *resolver, field string, get func(*v1alpha1.BaselineDefaults) *T) (value T, ok bool) {
	for _, b := range r.in.Baselines {
		if b.Spec.Defaults == nil {
			continue
		}
		if v := get(b.Spec.Defaults); v != nil {
			r.origin(field, From(b.Name))
			return *v, true
		}
	}
	return value, false
}

// given is a pointer to a value, nil for the zero one.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// mandate is one field that baselines can mandate.
type mandate[T comparable] struct {
	field, check string
	order        []T
	get          func(*v1alpha1.BaselineMandates) T
}

// strictest is the strictest value that a baseline mandates, and which baseline
// does; the zero value where none does.
func (m mandate[T]) strictest(r *resolver) (value T, by string) {
	var zero T
	for _, b := range r.in.Baselines {
		if b.Spec.Mandates == nil {
			continue
		}
		if v := m.get(b.Spec.Mandates); v != zero && (by == "" || slices.Index(m.order, v) > slices.Index(m.order, value)) {
			value, by = v, b.Name
		}
	}
	return value, by
}

// raise is the stricter of what is declared and what is mandated. Where the
// profile itself declares less, that is a violation, unless an exception for
// the whole namespace lets it through.
func raise[T comparable](r *resolver, m mandate[T], have T, declared bool) T {
	want, by := m.strictest(r)
	if by == "" || slices.Index(m.order, have) >= slices.Index(m.order, want) {
		return have
	}
	if declared {
		if e := r.excepted(m.check, nil); e != nil {
			r.allow(*e, m.check, m.field, fmt.Sprintf("%v instead of %v", have, want))
			return have
		}
		r.violate("spec."+m.field, fmt.Sprintf("%v is less than %s mandates: %v is in force instead; declare that, or ask for an exception from %s", have, From(by), want, m.check))
	}
	r.origin(m.field, From(by))
	return want
}

// violate says where the profile declares less than a baseline mandates.
func (r *resolver) violate(path, message string) {
	r.violations = append(r.violations, Problem{v1alpha1.ReasonMandateViolated, path, message})
}

// origin says where a value comes from; what is said last holds.
func (r *resolver) origin(field, from string) {
	if r.origins == nil {
		r.origins = map[string]string{}
	}
	r.origins[field] = from
}

func (r *resolver) sortedOrigins() []v1alpha1.Origin {
	var out []v1alpha1.Origin
	for field, from := range r.origins {
		out = append(out, v1alpha1.Origin{Field: field, From: from})
	}
	slices.SortFunc(out, func(a, b v1alpha1.Origin) int { return cmp.Compare(a.Field, b.Field) })
	return out
}

// perimeter is the hosts that baselines let a profile allow, by all of those
// that say so; empty where none does.
func (r *resolver) perimeter() []facts.Baseline {
	return slices.DeleteFunc(slices.Clone(r.in.Baselines), func(b facts.Baseline) bool {
		return b.Spec.Mandates == nil || b.Spec.Mandates.EgressHosts == nil
	})
}

// within says whether every name that a host stands for is one of the perimeter's.
func within(host v1alpha1.ExternalHost, perimeter []v1alpha1.ExternalHost) bool {
	return slices.ContainsFunc(perimeter, func(p v1alpha1.ExternalHost) bool {
		h, q := strings.ToLower(string(host)), strings.ToLower(string(p))
		suffix, wildcard := strings.CutPrefix(q, "*")
		return h == q || (wildcard && strings.HasSuffix(h, suffix) && len(h) > len(suffix))
	})
}

// lasts is how long overrides and exceptions may last; zero where nothing is
// mandated, or it can't be read, which the schema prevents.
func lasts(m *v1alpha1.BaselineMandates) time.Duration {
	d, err := time.ParseDuration(string(m.MaxOverrideDuration))
	if err != nil {
		return 0
	}
	return d
}
