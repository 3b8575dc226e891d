package drift

import (
	"maps"

	"google.golang.org/protobuf/proto"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

const strict = securityapi.PeerAuthentication_MutualTLS_STRICT

// scope is which workloads a policy applies to.
type scope struct {
	labels  map[string]string
	targets []*typeapi.PolicyTargetReference
}

type scoped interface {
	GetSelector() *typeapi.WorkloadSelector
	GetTargetRef() *typeapi.PolicyTargetReference
	GetTargetRefs() []*typeapi.PolicyTargetReference
}

func scopeOf(s scoped) scope {
	out := scope{labels: s.GetSelector().GetMatchLabels(), targets: s.GetTargetRefs()}
	if t := s.GetTargetRef(); t != nil {
		out.targets = append([]*typeapi.PolicyTargetReference{t}, out.targets...)
	}
	return out
}

func (s scope) everything() bool { return len(s.labels) == 0 && len(s.targets) == 0 }

func (s scope) relate(have scope) relation {
	switch {
	case union(s.targets, have.targets, identical[*typeapi.PolicyTargetReference]) == same:
		return labels(s.labels, have.labels)
	case s.everything():
		return narrower
	case have.everything():
		return wider
	}
	return unclear
}

// authorizationPolicy: an ALLOW that matches more opens, a DENY that does closes.
func authorizationPolicy(want, have *securityv1.AuthorizationPolicy, b backing) v1alpha1.Effect {
	switch {
	case want == nil:
		return addedPolicy(have)
	case have == nil:
		return removedPolicy(want, b)
	case want.Spec.GetAction() != have.Spec.GetAction():
		// What was denied no longer is, by the policy or by being the only ALLOW.
		return v1alpha1.EffectWeakens
	case DryRun(want) && DryRun(have):
		return v1alpha1.EffectNeutral
	case DryRun(have):
		return v1alpha1.EffectWeakens
	case DryRun(want) && proto.Equal(&want.Spec, &have.Spec):
		return v1alpha1.EffectTightens
	case DryRun(want):
		return v1alpha1.EffectWeakens
	}
	where := scopeOf(&want.Spec).relate(scopeOf(&have.Spec))
	what := union(want.Spec.GetRules(), have.Spec.GetRules(), rule)
	switch want.Spec.GetAction() {
	case securityapi.AuthorizationPolicy_ALLOW:
		if DefaultDeny(want) && DefaultDeny(have) {
			return where.closing()
		}
		if where != same {
			// On the workloads that it leaves, others may be let in as the last ALLOW goes.
			return v1alpha1.EffectWeakens
		}
		return what.opening()
	case securityapi.AuthorizationPolicy_DENY:
		return where.and(what).closing()
	case securityapi.AuthorizationPolicy_AUDIT:
		return v1alpha1.EffectNeutral
	}
	if where.and(what) == same && proto.Equal(want.Spec.GetProvider(), have.Spec.GetProvider()) {
		return v1alpha1.EffectNeutral
	}
	return v1alpha1.EffectWeakens
}

func removedPolicy(want *securityv1.AuthorizationPolicy, b backing) v1alpha1.Effect {
	switch action := want.Spec.GetAction(); {
	case DryRun(want), action == securityapi.AuthorizationPolicy_AUDIT:
		return v1alpha1.EffectNeutral
	case action == securityapi.AuthorizationPolicy_ALLOW && !DefaultDeny(want) && b.deniesByDefault():
		return v1alpha1.EffectTightens
	}
	// With the last ALLOW of a workload goes the denial of everything else.
	return v1alpha1.EffectWeakens
}

func addedPolicy(have *securityv1.AuthorizationPolicy) v1alpha1.Effect {
	switch action := have.Spec.GetAction(); {
	case DryRun(have), action == securityapi.AuthorizationPolicy_AUDIT:
		return v1alpha1.EffectNeutral
	case action == securityapi.AuthorizationPolicy_ALLOW && !DefaultDeny(have):
		return v1alpha1.EffectWeakens
	}
	return v1alpha1.EffectTightens
}

func rule(want, have *securityapi.Rule) relation {
	return unionOrAny(want.GetFrom(), have.GetFrom(), func(w, h *securityapi.Rule_From) relation {
		return source(w.GetSource(), h.GetSource())
	}).and(unionOrAny(want.GetTo(), have.GetTo(), func(w, h *securityapi.Rule_To) relation {
		return operation(w.GetOperation(), h.GetOperation())
	})).and(conditions(want.GetWhen(), have.GetWhen()))
}

func source(w, h *securityapi.Source) relation {
	return fields(
		w.GetPrincipals(), h.GetPrincipals(), w.GetNotPrincipals(), h.GetNotPrincipals(),
		w.GetRequestPrincipals(), h.GetRequestPrincipals(), w.GetNotRequestPrincipals(), h.GetNotRequestPrincipals(),
		w.GetNamespaces(), h.GetNamespaces(), w.GetNotNamespaces(), h.GetNotNamespaces(),
		w.GetServiceAccounts(), h.GetServiceAccounts(), w.GetNotServiceAccounts(), h.GetNotServiceAccounts(),
		w.GetIpBlocks(), h.GetIpBlocks(), w.GetNotIpBlocks(), h.GetNotIpBlocks(),
		w.GetRemoteIpBlocks(), h.GetRemoteIpBlocks(), w.GetNotRemoteIpBlocks(), h.GetNotRemoteIpBlocks(),
		w.GetTrustDomains(), h.GetTrustDomains(), w.GetNotTrustDomains(), h.GetNotTrustDomains(),
	)
}

func operation(w, h *securityapi.Operation) relation {
	return fields(
		w.GetHosts(), h.GetHosts(), w.GetNotHosts(), h.GetNotHosts(),
		w.GetPorts(), h.GetPorts(), w.GetNotPorts(), h.GetNotPorts(),
		w.GetMethods(), h.GetMethods(), w.GetNotMethods(), h.GetNotMethods(),
		w.GetPaths(), h.GetPaths(), w.GetNotPaths(), h.GetNotPaths(),
	)
}

// fields relates values that must all match. They come in fours: the values of
// a field, desired and live, and those that it must not have, desired and live.
func fields(lists ...[]string) relation {
	r := same
	for i := 0; i+3 < len(lists); i += 4 {
		r = r.and(orAny(lists[i], lists[i+1])).and(sets(lists[i+2], lists[i+3]).inverse())
	}
	return r
}

// conditions must all hold, so each one more matches less.
func conditions(want, have []*securityapi.Condition) relation {
	entry := func(w, h *securityapi.Condition) relation {
		if w.GetKey() != h.GetKey() {
			return unclear
		}
		return fields(w.GetValues(), h.GetValues(), w.GetNotValues(), h.GetNotValues())
	}
	switch kept, added := subset(want, have, entry), !subset(have, want, entry); {
	case kept && !added:
		return same
	case kept:
		return narrower
	case !added:
		return wider
	}
	return pairwise(want, have, entry)
}

type mode = securityapi.PeerAuthentication_MutualTLS_Mode

// modes is what a PeerAuthentication asks for, by port; 0 is every other port.
// A port without a mode has the object's own.
func modes(s *securityapi.PeerAuthentication) map[uint32]mode {
	out := map[uint32]mode{0: s.GetMtls().GetMode()}
	for port, m := range s.GetPortLevelMtls() {
		if m.GetMode() != securityapi.PeerAuthentication_MutualTLS_UNSET {
			out[port] = m.GetMode()
		}
	}
	return out
}

// peerAuthentication: STRICT over PERMISSIVE over DISABLE. A mode that is not
// set is inherited from somewhere else, so it can be any.
func peerAuthentication(want, have *securityv1.PeerAuthentication, b backing) v1alpha1.Effect {
	switch {
	case want == nil:
		return addedModes(&have.Spec)
	case have == nil:
		return removedModes(&want.Spec, b)
	}
	w, h := modes(&want.Spec), modes(&have.Spec)
	effects := []v1alpha1.Effect{v1alpha1.EffectNeutral}
	ports := maps.Clone(w)
	maps.Copy(ports, h)
	for port := range ports {
		effects = append(effects, modeEffect(at(w, port), at(h, port)))
	}
	switch labels(want.Spec.GetSelector().GetMatchLabels(), have.Spec.GetSelector().GetMatchLabels()) {
	case same:
	case wider:
		// More workloads get what this object asks for: good only if that is the most.
		effects = append(effects, addedModes(&have.Spec))
	default:
		effects = append(effects, v1alpha1.EffectWeakens)
	}
	return both(effects...)
}

func at(m map[uint32]mode, port uint32) mode {
	if v, ok := m[port]; ok {
		return v
	}
	return m[0]
}

func modeEffect(want, have mode) v1alpha1.Effect {
	const unset, disable = securityapi.PeerAuthentication_MutualTLS_UNSET, securityapi.PeerAuthentication_MutualTLS_DISABLE
	switch {
	case want == have:
		return v1alpha1.EffectNeutral
	case have == strict, want == disable:
		return v1alpha1.EffectTightens
	case want == unset, have == unset, have < want:
		return v1alpha1.EffectWeakens
	}
	return v1alpha1.EffectTightens
}

func addedModes(s *securityapi.PeerAuthentication) v1alpha1.Effect {
	for _, m := range modes(s) {
		if m != strict {
			return v1alpha1.EffectWeakens
		}
	}
	return v1alpha1.EffectTightens
}

// removedModes: an exception falls back to the namespace's mode, and the
// namespace's own to one that is not known here.
func removedModes(s *securityapi.PeerAuthentication, b backing) v1alpha1.Effect {
	selects := len(s.GetSelector().GetMatchLabels()) > 0
	out := v1alpha1.EffectNeutral
	for _, m := range modes(s) {
		switch {
		case m == securityapi.PeerAuthentication_MutualTLS_UNSET && selects:
		case selects && b.requiresMutualTLS():
			out = both(out, modeEffect(m, strict))
		default:
			out = both(out, modeEffect(m, securityapi.PeerAuthentication_MutualTLS_UNSET))
		}
	}
	return out
}

// requestAuthentication: which tokens are believed. Another issuer or audience
// may be anybody's, and without a rule its bad tokens are no longer refused: all
// but a shorter list of audiences weakens.
func requestAuthentication(want, have *securityv1.RequestAuthentication) v1alpha1.Effect {
	if want == nil || have == nil || scopeOf(&want.Spec).relate(scopeOf(&have.Spec)) != same {
		return v1alpha1.EffectWeakens
	}
	return pairwise(want.Spec.GetJwtRules(), have.Spec.GetJwtRules(), jwtRule).opening()
}

func jwtRule(want, have *securityapi.JWTRule) relation {
	rest := func(r *securityapi.JWTRule) *securityapi.JWTRule {
		out := &securityapi.JWTRule{}
		proto.Merge(out, r)
		out.Audiences, out.Timeout = nil, nil
		return out
	}
	return orAny(want.GetAudiences(), have.GetAudiences()).and(identical(rest(want), rest(have)))
}
