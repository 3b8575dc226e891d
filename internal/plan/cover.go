package plan

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// covers are temporary policies that allow everything to workloads of which the
// first of several ALLOW policies comes, or the last of several goes: with one
// of them in force alone, the mesh would deny what only the others allow.
//
//	in   open ─ cover ─ every ALLOW, default-deny ─ no cover ─ closed
//	out  closed ─ cover ─ no default-deny, none of the ALLOWs ─ no cover ─ open
//
// It allows everything where it opens nothing next to the state before, or the
// one after, which has no ALLOW policy for any of its workloads. Where it would,
// it allows what these policies allow together, if that neither opens nor shuts
// anything; otherwise there is none.
func covers(steps []Step, before, after effective.World) []Step {
	out := coversFor(turning(steps, Step.comes), allowing(before), before, after)
	// One that is there already is removed last.
	stay := allowing(after)
	for _, s := range steps {
		if ap, ok := s.Change.Live.(*securityv1.AuthorizationPolicy); ok && s.goes() && covering(ap) {
			stay = append(stay, ap)
		}
	}
	return append(out, coversFor(turning(steps, Step.goes), stay, after, before)...)
}

// coversFor are the covers while policies turn, in a world in which they are not
// in force; closed is the one in which they are.
func coversFor(policies, stay []*securityv1.AuthorizationPolicy, open, closed effective.World) []Step {
	var out []Step
	for _, selector := range selectorsOf(policies) {
		if !gap(selector, policies, stay) {
			continue
		}
		cover := coverOf(selector, policies[0])
		if !opensNothing(open, cover) {
			cover = unionOf(selector, policies)
			if s := stray(open, plus(open, cover), closed); s.opens || s.shuts {
				continue
			}
		}
		out = append(out, temporary(cover, "stands for the policies of some workloads while these come, or go, one by one")...)
		stay = append(stay, cover)
	}
	return out
}

func coverOf(selector map[string]string, like mesh.Object) *securityv1.AuthorizationPolicy {
	suffix := "allow"
	if len(selector) > 0 {
		suffix += "-" + mesh.Hash(facts.SelectorKey(selector))
	}
	o := &securityv1.AuthorizationPolicy{TypeMeta: typeMeta("AuthorizationPolicy"), ObjectMeta: temporaryMeta(suffix, like)}
	o.Spec.Rules = []*securityapi.Rule{{}}
	if len(selector) > 0 {
		o.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: selector}
	}
	return o
}

// unionOf allows what the policies of the workloads of a selector allow together.
func unionOf(selector map[string]string, policies []*securityv1.AuthorizationPolicy) *securityv1.AuthorizationPolicy {
	o := coverOf(selector, policies[0])
	o.Spec.Rules = nil
	for _, p := range policies {
		if facts.Matches(selectorOf(p), selector) {
			o.Spec.Rules = append(o.Spec.Rules, p.Spec.GetRules()...)
		}
	}
	// Another one than what allows everything to the same workloads.
	raw, _ := json.Marshal(o.Spec.Rules)
	o.Name = mesh.Temporary("allow-" + mesh.Hash(facts.SelectorKey(selector)+string(raw)))
	return o
}

// comes says whether a step brings an ALLOW policy into force, and goes whether
// it takes one out.
func (s Step) comes() bool { return allows(s.Change.Desired) && !allows(s.Change.Live) }
func (s Step) goes() bool {
	return allows(s.Change.Live) && !allows(s.Change.Desired) && s.Verb != Create && !s.kept
}

// turning are the policies that come or go, but for those that allow nothing.
func turning(steps []Step, turns func(Step) bool) []*securityv1.AuthorizationPolicy {
	var out []*securityv1.AuthorizationPolicy
	for _, s := range steps {
		if !turns(s) {
			continue
		}
		for _, o := range []mesh.Object{s.Change.Desired, s.Change.Live} {
			if ap, ok := o.(*securityv1.AuthorizationPolicy); ok && allows(ap) && !drift.DefaultDeny(ap) && !covering(ap) {
				out = append(out, ap)
			}
		}
	}
	return out
}

// gap says whether two of the policies share workloads that the selector
// selects, and that no policy selects which stays.
func gap(selector map[string]string, policies, stay []*securityv1.AuthorizationPolicy) bool {
	for i, a := range policies {
		for _, b := range policies[:i] {
			if !facts.Overlap(selectorOf(a), selectorOf(b)) {
				continue
			}
			both := maps.Clone(selectorOf(a))
			if both == nil {
				both = map[string]string{}
			}
			maps.Copy(both, selectorOf(b))
			stays := func(p *securityv1.AuthorizationPolicy) bool { return facts.Matches(selectorOf(p), both) }
			if facts.Matches(selector, both) && !slices.ContainsFunc(stay, stays) {
				return true
			}
		}
	}
	return false
}

func opensNothing(w effective.World, cover mesh.Object) bool {
	c := effective.Compare(effective.New(w), effective.New(plus(w, cover)))
	return len(c.Opens)+len(c.Unknown) == 0 && !c.Partial
}

// plus is a world with one more object.
func plus(w effective.World, o mesh.Object) effective.World {
	w.Objects = append(slices.Clone(w.Objects), o)
	return w
}

// carriedOut is a world after all of the steps.
func carriedOut(w effective.World, steps []Step) effective.World {
	turned := map[drift.Key]bool{}
	var objects []facts.Object
	for _, s := range steps {
		turned[s.Change.Key] = true
		if s.Verb == Delete {
			continue
		}
		o := s.Change.Desired
		if s.Verb == Replace {
			// Of several the oldest counts.
			o = o.DeepCopyObject().(mesh.Object)
			o.SetCreationTimestamp(s.Change.Live.GetCreationTimestamp())
		}
		objects = append(objects, o)
	}
	for _, o := range w.Objects {
		if key, ok := drift.KeyOf(o); !ok || o.GetNamespace() != w.Namespace || !turned[key] {
			objects = append(objects, o)
		}
	}
	w.Objects = objects
	return w
}

// allowing are the namespace's own ALLOW policies in force.
func allowing(w effective.World) []*securityv1.AuthorizationPolicy {
	var out []*securityv1.AuthorizationPolicy
	for _, o := range w.Objects {
		if ap, ok := o.(*securityv1.AuthorizationPolicy); ok && o.GetNamespace() == w.Namespace && allows(ap) {
			out = append(out, ap)
		}
	}
	return out
}

// allows says whether an object is an ALLOW policy in force: of the workloads
// that it selects, whatever none of these allows is denied.
func allows(o mesh.Object) bool {
	ap, ok := o.(*securityv1.AuthorizationPolicy)
	return ok && ap != nil && ap.Spec.GetAction() == securityapi.AuthorizationPolicy_ALLOW && !drift.DryRun(ap)
}

// allowsAll says whether an ALLOW policy allows everything.
func allowsAll(ap *securityv1.AuthorizationPolicy) bool {
	return allows(ap) && slices.ContainsFunc(ap.Spec.GetRules(), func(r *securityapi.Rule) bool {
		return len(r.GetFrom())+len(r.GetTo())+len(r.GetWhen()) == 0
	})
}

// covering says whether an ALLOW policy stands for all others of its workloads.
func covering(ap *securityv1.AuthorizationPolicy) bool {
	return allowsAll(ap) || isCover(ap)
}

// closed says whether some of the workloads of a policy, or all of them, have an
// ALLOW policy.
func closed(o mesh.Object, w effective.World) (some, all bool) {
	ap, ok := o.(*securityv1.AuthorizationPolicy)
	if !ok {
		return false, false
	}
	for _, have := range allowing(w) {
		some = some || facts.Overlap(selectorOf(have), selectorOf(ap))
		all = all || facts.Matches(selectorOf(have), selectorOf(ap))
	}
	return some, all
}

// isCover says whether a policy is one of covers.
func isCover(ap *securityv1.AuthorizationPolicy) bool {
	return mesh.IsTemporary(ap.Name) && strings.HasPrefix(ap.Name, mesh.Temporary("allow"))
}

func selectorOf(ap *securityv1.AuthorizationPolicy) map[string]string {
	return ap.Spec.GetSelector().GetMatchLabels()
}

// selectorsOf are the selectors of policies, once each, the widest first.
func selectorsOf(policies []*securityv1.AuthorizationPolicy) []map[string]string {
	out := []map[string]string{nil}
	for _, p := range policies {
		out = append(out, selectorOf(p))
	}
	slices.SortFunc(out, func(a, b map[string]string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(facts.SelectorKey(a), facts.SelectorKey(b)))
	})
	return slices.CompactFunc(out, maps.Equal)
}
