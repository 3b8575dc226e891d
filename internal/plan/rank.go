package plan

import (
	"maps"
	"slices"

	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// rank is a place in the order. The list below is the order.
type rank int

const (
	// Tighten: nothing here denies what the new state allows.

	// Copies of what is there: they change nothing.
	keep rank = iota
	// Exceptions that open nothing: their ports would be shut in between if the
	// namespace became STRICT, or another exception went, before.
	exceptionFirst
	exceptionChange
	// PERMISSIVE to STRICT, in place.
	mutualTLSUp
	// Exceptions whose ports are shut.
	exceptionUp
	// After STRICT: without it, a DENY by identity is evaded in plaintext.
	// Before any ALLOW, which must not let in what this denies.
	denyUp
	// Tokens are validated before a rule that allows asks for them. After every
	// DENY: rules that are there already may open with them, and a DENY asks for
	// a token only to refuse it, so that it hits nobody before.
	tokens

	// Make: every way that the new state has, before one of the old goes.

	// What lets through the egress gateway, before anything leads there.
	gatewayPolicy
	hostUp
	destinationRule
	gateway
	virtualService
	// The network before the proxies: some of these open in the same write. After
	// every route, which may lead where the network alone lets pass. Of some
	// workloads before all others: they would be without their own destinations
	// in between; and those whose workloads others are for by now.
	networkSomeUp
	networkAllUp
	networkSomeAway
	// Before the first ALLOW, with which all else would be denied.
	coverUp
	allowUp
	// Callers that move from one rule to another are in the other by now.
	allowChange

	// Break: what shuts.

	// After every ALLOW.
	defaultDenyUp
	// After default-deny: with its last ALLOW a workload would be open.
	allowAway
	// After every ALLOW: now they deny.
	uncoverUp
	// After every host is known, of some workloads before all others.
	egressSomeUp
	egressAllUp
	// Those whose workloads others are for by now.
	egressSomeAway
	// Hosts that would be open to more workloads, or by more ways, before or afterwards.
	hostLate
	// Of those who went anywhere by what somebody changed: no host is more to them.
	egressSomeLate
	hostAwayEarly
	log

	// Loosen: the reverse, and only after everything that shuts.

	networkAllDown
	networkSomeDown
	egressAllDown
	egressSomeDown
	// Before the last ALLOW, with which all else would be denied.
	coverDown
	// Before the ALLOWs, whose callers it would lock out.
	defaultDenyDown
	allowDown
	// After every ALLOW.
	uncoverDown
	virtualServiceAway
	gatewayAway
	destinationRuleAway
	hostAway
	gatewayPolicyAway
	// After the ALLOWs, which would let in what it denies.
	denyDown
	// After the rules that ask for tokens.
	tokensAway
	mutualTLSDown
	exceptionDown
	// After the namespace became PERMISSIVE, or another exception came: their
	// ports would be shut in between.
	exceptionLast
	logAway
)

// situation is what the place of one step depends on in the others.
type situation struct {
	modes modes
	// sidecars and networks are those of all workloads of the namespace, in egress.
	sidecars, networks everywhere
	// allowing are the ALLOW policies that are in force afterwards.
	allowing []*securityv1.AuthorizationPolicy
}

// open says whether workloads of an ALLOW policy are without one afterwards, as
// far as can be told by selectors.
func (at situation) open(ap *securityv1.AuthorizationPolicy) bool {
	return !slices.ContainsFunc(at.allowing, func(p *securityv1.AuthorizationPolicy) bool {
		return facts.Overlap(selectorOf(p), selectorOf(ap))
	})
}

// everywhere is what holds for all workloads besides what holds for some.
type everywhere struct {
	// before and after say whether there is such a thing; up and down, whether
	// it shuts or opens in between.
	before, after, up, down bool
	// going are the selectors of those for some workloads that no longer are.
	going []map[string]string
	// ups says of those that are replaced whether they shut something.
	ups map[drift.Key]bool
}

// tightens says whether a step shuts something.
func (e everywhere) tightens(s Step) bool {
	if up, known := e.ups[s.Change.Key]; known && s.Verb == Replace {
		return up
	}
	return tightens(s)
}

// rank of what holds for some workloads. To take it away shuts what it alone
// lets through, where something holds for all; to bring it opens that.
func (e everywhere) rank(s Step, someUp, someAway, someDown rank) rank {
	taken := func(g map[string]string) bool { return facts.Overlap(g, restriction(s.Change.Desired)) }
	switch {
	case s.temporary && s.Verb == Create:
		return keep
	case (s.Verb == Create || s.kept) && e.before && !e.up && !slices.ContainsFunc(e.going, taken):
		return someDown
	case s.Verb == Delete && e.after && !e.down:
		return someAway
	}
	return pick(e.tightens(s) || s.kept, someUp, someDown)
}

// restriction is the selector of what holds in egress; empty for all.
func restriction(o mesh.Object) map[string]string {
	switch o := o.(type) {
	case *networkingv1.Sidecar:
		return o.Spec.GetWorkloadSelector().GetLabels()
	case *netv1.NetworkPolicy:
		return o.Spec.PodSelector.MatchLabels
	}
	return nil
}

func everywhereOf(steps []Step, before, after effective.World, is func(facts.Object) bool) everywhere {
	all := func(o facts.Object) bool { return is(o) && len(restriction(o)) == 0 }
	in := func(w effective.World) bool {
		return slices.ContainsFunc(w.Objects, func(o facts.Object) bool { return o.GetNamespace() == w.Namespace && all(o) })
	}
	out := everywhere{before: in(before), after: in(after), ups: map[drift.Key]bool{}}
	for _, s := range steps {
		o := subject(s)
		if !is(o) {
			continue
		}
		if opens, shuts := alone(s, before, after); opens || shuts {
			out.ups[s.Change.Key] = shuts
		}
		if all(o) {
			up := out.tightens(s)
			out.up, out.down = out.up || up, out.down || !up
		} else if live := s.Change.Live; live != nil && (s.Verb == Delete || !maps.Equal(restriction(live), restriction(o))) {
			out.going = append(out.going, restriction(live))
		}
	}
	return out
}

func situationOf(steps []Step, before, after effective.World) situation {
	return situation{
		modes: modesOf(before, after), allowing: allowing(after),
		sidecars: everywhereOf(steps, before, after, func(o facts.Object) bool { _, is := o.(*networkingv1.Sidecar); return is }),
		networks: everywhereOf(steps, before, after, func(o facts.Object) bool {
			np, is := o.(*netv1.NetworkPolicy)
			return is && slices.Contains(np.Spec.PolicyTypes, netv1.PolicyTypeEgress)
		}),
	}
}

// subject is the object that a step is ranked by.
func subject(s Step) mesh.Object {
	if s.Change.Desired != nil {
		return s.Change.Desired
	}
	return s.Change.Live
}

func rankOf(s Step, at situation) rank {
	stays := s.Verb != Delete
	switch o := subject(s).(type) {
	case *securityv1.RequestAuthentication:
		return pick(stays, pick(mesh.IsTemporary(o.Name), keep, tokens), tokensAway)
	case *securityv1.PeerAuthentication:
		return at.modes.rank(o, s)
	case *securityv1.AuthorizationPolicy:
		return authorizationRank(o, s, at)
	case *networkingv1.ServiceEntry:
		switch {
		case mesh.IsTemporary(o.Name) && s.Verb == Create:
			return keep
		case s.forgets():
			return pick(s.swapped, hostAwayEarly, hostAway)
		}
		return pick(s.swapped, hostLate, hostUp)
	case *networkingv1.DestinationRule:
		return pick(stays, destinationRule, destinationRuleAway)
	case *networkingv1.Gateway:
		return pick(stays, gateway, gatewayAway)
	case *networkingv1.VirtualService:
		return pick(stays, virtualService, virtualServiceAway)
	case *networkingv1.Sidecar:
		switch {
		case len(restriction(o)) == 0:
			return pick(at.sidecars.tightens(s), egressAllUp, egressAllDown)
		case s.restrictsAgain():
			return egressSomeLate
		}
		return at.sidecars.rank(s, egressSomeUp, egressSomeAway, egressSomeDown)
	case *netv1.NetworkPolicy:
		if len(restriction(o)) > 0 {
			return at.networks.rank(s, networkSomeUp, networkSomeAway, networkSomeDown)
		}
		return pick(at.networks.tightens(s), networkAllUp, networkAllDown)
	case *telemetryv1.Telemetry:
		return pick(stays, log, logAway)
	}
	return logAway
}

func pick(yes bool, then, otherwise rank) rank {
	if yes {
		return then
	}
	return otherwise
}

func authorizationRank(o *securityv1.AuthorizationPolicy, s Step, at situation) rank {
	up := tightens(s)
	live, _ := s.Change.Live.(*securityv1.AuthorizationPolicy)
	if leaves(s) {
		// What it is out of force says nothing.
		o = live
	}
	switch {
	case mesh.IsTemporary(o.Name) && s.Verb == Create:
		return pick(!isCover(o), keep, pick(at.open(o), coverDown, coverUp))
	case allowsAll(o) && s.comes():
		// As good as a cover for the others.
		return coverUp
	case s.goes() && covering(live):
		return pick(at.open(o), uncoverDown, uncoverUp)
	case drift.DefaultDeny(o) && (up || s.kept):
		return defaultDenyUp
	case drift.DefaultDeny(o):
		return defaultDenyDown
	case o.Spec.GetAction() != securityapi.AuthorizationPolicy_ALLOW && (up || s.kept):
		return denyUp
	case o.Spec.GetAction() != securityapi.AuthorizationPolicy_ALLOW:
		return denyDown
	case s.Verb == Delete || leaves(s):
		return pick(at.open(o), allowDown, allowAway)
	case s.Verb == Replace && up && inForce(s.Change.Live) && !s.kept:
		return allowChange
	}
	return allowUp
}

// leaves says whether a policy stays there and is no longer in force.
func leaves(s Step) bool {
	return s.Verb == Replace && inForce(s.Change.Live) && !inForce(s.Change.Desired)
}

func inForce(o mesh.Object) bool {
	ap, ok := o.(*securityv1.AuthorizationPolicy)
	return ok && !drift.DryRun(ap)
}

// tightens says whether a step lets less through. What the live state weakens,
// to undo tightens; to bring in a policy does what to take it away undoes.
func tightens(s Step) bool {
	switch {
	case leaves(s):
		return false
	case s.Verb == Replace:
		return s.Change.Alone != v1alpha1.EffectTightens
	}
	return s.Verb == Create
}

func exception(o *securityv1.PeerAuthentication) bool {
	return len(o.Spec.GetSelector().GetMatchLabels()) > 0
}

// plaintext says whether an ALLOW policy lets in callers that have no mesh
// identity. One that asks for an identity denies in plaintext.
func plaintext(o mesh.Object) bool {
	ap, ok := o.(*securityv1.AuthorizationPolicy)
	if !ok || ap.Spec.GetAction() != securityapi.AuthorizationPolicy_ALLOW {
		return false
	}
	return slices.ContainsFunc(ap.Spec.GetRules(), func(r *securityapi.Rule) bool {
		return len(r.GetFrom()) == 0 || slices.ContainsFunc(r.GetFrom(), func(f *securityapi.Rule_From) bool {
			s := f.GetSource()
			return len(s.GetPrincipals())+len(s.GetNamespaces())+len(s.GetServiceAccounts()) == 0
		})
	})
}

// wakes says whether tokens are validated from now on that a rule asks for
// which is there already, and lets in callers without a mesh identity.
func wakes(o mesh.Object, w effective.World) bool {
	ra, ok := o.(*securityv1.RequestAuthentication)
	return ok && slices.ContainsFunc(allowing(w), func(ap *securityv1.AuthorizationPolicy) bool {
		return plaintext(ap) && facts.Overlap(selectorOf(ap), ra.Spec.GetSelector().GetMatchLabels()) &&
			slices.ContainsFunc(ap.Spec.GetRules(), func(r *securityapi.Rule) bool {
				return slices.ContainsFunc(r.GetFrom(), func(f *securityapi.Rule_From) bool { return len(f.GetSource().GetRequestPrincipals()) > 0 })
			})
	})
}
