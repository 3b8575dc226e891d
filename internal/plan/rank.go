package plan

import (
	"slices"

	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// rank is a place in the order. The list below is the order.
type rank int

const (
	// Tighten: nothing here denies what the new state allows.

	// Tokens are validated before a rule asks for them: a DENY of requests
	// without a token would hit everybody.
	tokens rank = iota
	// Exceptions without effect as yet: their ports would be shut in between if
	// the namespace became STRICT before. Likewise before another exception goes.
	exceptionFirst
	// PERMISSIVE to STRICT, in place.
	mutualTLSUp
	// Exceptions that go.
	exceptionUp
	// After STRICT: without it, a DENY by identity is evaded in plaintext.
	// Before any ALLOW, which must not let in what this denies.
	denyUp

	// Make: every way that the new state has, before one of the old goes.

	// What lets through the egress gateway, before anything leads there.
	gatewayPolicy
	hostUp
	// Hosts that move from one entry to another are in the other by now.
	hostChange
	destinationRule
	gateway
	virtualService
	allowUp
	// Callers that move from one rule to another are in the other by now.
	allowChange

	// Break: what shuts.

	// After every ALLOW.
	defaultDenyUp
	// After default-deny: with its last ALLOW a workload would be open.
	allowAway
	// After every host is known. Of some workloads before all others: they
	// would be without their own hosts in between.
	egressSomeUp
	egressAllUp
	networkSomeUp
	networkAllUp
	log

	// Loosen: the reverse, and only after everything that shuts.

	networkAllDown
	networkSomeDown
	egressAllDown
	egressSomeDown
	// Before the ALLOWs, whose callers it would lock out.
	defaultDenyDown
	allowDown
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
	// After the namespace became PERMISSIVE: their ports would be shut in between.
	exceptionLast
	exceptionDown
	logAway
)

// situation is what the place of one step depends on in the others.
type situation struct {
	mutualTLSUp, mutualTLSDown        bool
	exceptionGoes                     bool
	defaultDenyComes, defaultDenyGoes bool
}

func situationOf(steps []Step) situation {
	var at situation
	for _, s := range steps {
		switch o := subject(s).(type) {
		case *securityv1.PeerAuthentication:
			up := tightens(s)
			switch {
			case !exception(o) && up:
				at.mutualTLSUp = true
			case !exception(o):
				at.mutualTLSDown = true
			case up:
				at.exceptionGoes = true
			}
		case *securityv1.AuthorizationPolicy:
			if drift.DefaultDeny(o) && !atGateway(o) {
				at.defaultDenyComes = at.defaultDenyComes || tightens(s)
				at.defaultDenyGoes = at.defaultDenyGoes || !tightens(s)
			}
		}
	}
	// One that is renamed stays.
	at.defaultDenyGoes = at.defaultDenyGoes && !at.defaultDenyComes
	return at
}

// subject is the object that a step is ranked by.
func subject(s Step) mesh.Object {
	if s.Change.Desired != nil {
		return s.Change.Desired
	}
	return s.Change.Live
}

func rankOf(s Step, at situation) rank {
	pick := func(up bool, yes, no rank) rank {
		if up {
			return yes
		}
		return no
	}
	stays, up := s.Verb != Delete, tightens(s)
	switch o := subject(s).(type) {
	case *securityv1.RequestAuthentication:
		return pick(stays, tokens, tokensAway)
	case *securityv1.PeerAuthentication:
		return mutualTLSRank(o, up, at)
	case *securityv1.AuthorizationPolicy:
		return authorizationRank(o, s, at)
	case *networkingv1.ServiceEntry:
		if s.Verb == Replace && up {
			return hostChange
		}
		return pick(stays, hostUp, hostAway)
	case *networkingv1.DestinationRule:
		return pick(stays, destinationRule, destinationRuleAway)
	case *networkingv1.Gateway:
		return pick(stays, gateway, gatewayAway)
	case *networkingv1.VirtualService:
		return pick(stays, virtualService, virtualServiceAway)
	case *networkingv1.Sidecar:
		if len(o.Spec.GetWorkloadSelector().GetLabels()) > 0 {
			return pick(up, egressSomeUp, egressSomeDown)
		}
		return pick(up, egressAllUp, egressAllDown)
	case *netv1.NetworkPolicy:
		if len(o.Spec.PodSelector.MatchLabels)+len(o.Spec.PodSelector.MatchExpressions) > 0 {
			return pick(up, networkSomeUp, networkSomeDown)
		}
		return pick(up, networkAllUp, networkAllDown)
	case *telemetryv1.Telemetry:
		return pick(stays, log, logAway)
	}
	return logAway
}

func mutualTLSRank(o *securityv1.PeerAuthentication, up bool, at situation) rank {
	switch {
	case !exception(o) && up:
		return mutualTLSUp
	case !exception(o):
		return mutualTLSDown
	case up && at.mutualTLSDown:
		return exceptionLast
	case up:
		return exceptionUp
	case at.mutualTLSUp || at.exceptionGoes:
		return exceptionFirst
	}
	return exceptionDown
}

func authorizationRank(o *securityv1.AuthorizationPolicy, s Step, at situation) rank {
	up := tightens(s)
	switch {
	case atGateway(o):
		if s.Verb == Delete {
			return gatewayPolicyAway
		}
		return gatewayPolicy
	case drift.DefaultDeny(o) && up:
		return defaultDenyUp
	case drift.DefaultDeny(o):
		return defaultDenyDown
	case o.Spec.GetAction() != securityapi.AuthorizationPolicy_ALLOW && up:
		return denyUp
	case o.Spec.GetAction() != securityapi.AuthorizationPolicy_ALLOW:
		return denyDown
	case (s.Verb == Delete || leaves(s)) && at.defaultDenyGoes:
		return allowDown
	case s.Verb == Delete || leaves(s):
		return allowAway
	case s.Verb == Replace && up && inForce(s.Change.Live):
		return allowChange
	}
	return allowUp
}

// atGateway says whether a policy is beside an egress gateway, and not of the
// namespace itself.
func atGateway(o mesh.Object) bool {
	_, is := mesh.GatewayTenant(o)
	return is
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
	pa, isPA := subject(s).(*securityv1.PeerAuthentication)
	switch {
	case leaves(s):
		return false
	case s.Verb == Replace:
		return s.Change.Alone != v1alpha1.EffectTightens
	case isPA:
		// An exception is weaker than what it falls back to; whatever falls back
		// to the mode of the mesh falls back to something unknown.
		strict := onlyStrict(pa)
		return (s.Verb == Create) == strict && (strict || exception(pa))
	}
	return s.Verb == Create
}

func exception(o *securityv1.PeerAuthentication) bool {
	return len(o.Spec.GetSelector().GetMatchLabels()) > 0
}

func onlyStrict(o *securityv1.PeerAuthentication) bool {
	const strict = securityapi.PeerAuthentication_MutualTLS_STRICT
	for _, m := range o.Spec.GetPortLevelMtls() {
		if m.GetMode() != strict {
			return false
		}
	}
	return o.Spec.GetMtls().GetMode() == strict
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
