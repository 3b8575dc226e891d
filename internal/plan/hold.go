package plan

import "slices"

// hold says which steps must not go on after one that failed, and why. A step
// that was held back has failed as well.
type hold struct {
	failed, held []rank
	// when is what must also be true of the step that is held; nil for nothing.
	when    func(Step) bool
	because string
}

var (
	tightening = []rank{exceptionFirst, exceptionChange, mutualTLSUp, exceptionUp, denyUp, allowChange, defaultDenyUp, allowAway, uncoverUp, networkSomeUp, networkAllUp, networkSomeAway}
	loosening  = []rank{networkAllDown, networkSomeDown, coverDown, defaultDenyDown, allowDown, denyDown, mutualTLSDown, exceptionDown, exceptionLast}
	shutting   = []rank{egressSomeUp, egressAllUp, egressSomeLate, egressSomeAway, networkSomeUp, networkAllUp, networkSomeAway, hostAwayEarly}
	releasing  = []rank{networkAllDown, networkSomeDown, egressAllDown, egressSomeDown, virtualServiceAway, gatewayAway, destinationRuleAway, hostAway, gatewayPolicyAway}
)

var holds = []hold{
	// Locked out.
	{failed: []rank{tokens}, held: []rank{coverUp, allowUp, allowChange, defaultDenyUp},
		because: "tokens that rules ask for would not be validated"},
	{failed: []rank{exceptionChange}, held: []rank{mutualTLSUp, exceptionUp},
		because: "a port that is to accept plaintext would be shut"},
	{failed: []rank{exceptionFirst}, held: []rank{exceptionChange, mutualTLSUp, exceptionUp},
		because: "a port that is to accept plaintext would be shut"},
	{failed: []rank{keep}, held: []rank{tokens, denyUp, hostUp, hostLate, coverUp, allowUp, defaultDenyUp, networkSomeUp, networkSomeDown, egressSomeUp, egressSomeDown}, when: func(s Step) bool { return s.kept },
		because: "what it did would be gone before the others change"},
	{failed: []rank{keep}, held: []rank{allowAway, uncoverUp, allowDown, uncoverDown, denyDown, tokensAway, hostAwayEarly, hostAway, networkSomeAway, networkSomeDown, egressSomeAway, egressSomeDown}, when: func(s Step) bool { return s.temporary },
		because: "it is not there"},
	{failed: []rank{coverDown}, held: []rank{uncoverDown},
		because: "it is not there"},
	{failed: []rank{coverUp}, held: []rank{allowUp}, when: func(s Step) bool { return !s.shut },
		because: "the first policy that allows would lock out the callers of the others"},
	{failed: []rank{coverDown}, held: []rank{defaultDenyDown, allowDown},
		because: "the last policy that allows would lock out the callers of the others"},
	{failed: []rank{allowAway, defaultDenyDown, allowDown}, held: []rank{uncoverDown},
		because: "policies that are still there would lock out the callers of the others"},
	{failed: []rank{exceptionFirst, exceptionChange}, held: []rank{exceptionDown}, when: func(s Step) bool { return s.rest },
		because: "it is the second half of what was not written"},
	{failed: []rank{coverUp, allowUp, allowChange}, held: []rank{defaultDenyUp, allowAway, uncoverUp},
		because: "callers that are to be allowed would be locked out"},
	{failed: []rank{gatewayPolicy}, held: []rank{virtualService},
		because: "the egress gateway would refuse what is led to it"},
	{failed: []rank{hostUp, destinationRule, gateway}, held: []rank{virtualService},
		because: "calls would be led where nothing leads on"},
	{failed: []rank{virtualService}, held: []rank{networkSomeUp, networkAllUp},
		because: "hosts that are led to the egress gateway would be refused"},
	{failed: []rank{coverUp, allowUp}, held: []rank{allowChange},
		because: "callers that move to it would be locked out"},
	{failed: []rank{hostUp, destinationRule, gateway, virtualService}, held: []rank{egressSomeUp, egressAllUp, egressSomeLate},
		because: "hosts that are to be reached would be refused"},
	{failed: []rank{hostUp, hostLate}, held: []rank{hostAwayEarly, hostAway},
		because: "hosts that move from it would be refused"},
	{failed: []rank{hostUp}, held: []rank{egressSomeAway, egressSomeDown},
		because: "hosts that are to be reached would be refused"},
	{failed: []rank{hostLate}, held: []rank{egressSomeLate, egressSomeDown},
		because: "hosts that are to be reached would be refused"},
	{failed: []rank{egressSomeUp}, held: []rank{egressAllUp, egressSomeAway},
		because: "hosts that some workloads are to reach would be refused"},
	{failed: []rank{egressAllUp}, held: []rank{egressSomeAway},
		because: "hosts that some workloads are to reach would be refused"},
	{failed: []rank{networkSomeUp}, held: []rank{networkAllUp, networkSomeAway},
		because: "destinations that some workloads are to reach would be refused"},
	{failed: []rank{networkAllUp}, held: []rank{networkSomeAway},
		because: "destinations that some workloads are to reach would be refused"},
	{failed: []rank{networkAllDown}, held: []rank{networkSomeDown},
		because: "destinations that some workloads are to reach would be refused"},
	{failed: []rank{egressAllDown}, held: []rank{egressSomeDown},
		because: "hosts that some workloads are to reach would be refused"},
	{failed: []rank{defaultDenyDown}, held: []rank{allowDown},
		because: "callers that are to be allowed would be locked out"},
	{failed: []rank{egressSomeUp, egressAllUp, egressSomeLate, egressAllDown, egressSomeDown}, held: []rank{virtualServiceAway, gatewayAway, destinationRuleAway, hostAway},
		because: "hosts would be refused that the Sidecar still restricts"},
	{failed: []rank{virtualServiceAway}, held: []rank{gatewayAway, destinationRuleAway, hostAway, gatewayPolicyAway},
		because: "calls would be led where nothing leads on"},
	{failed: []rank{mutualTLSDown}, held: []rank{exceptionDown, exceptionLast},
		because: "a port that accepts plaintext would be shut"},
	{failed: []rank{exceptionDown}, held: []rank{exceptionLast},
		because: "a port that accepts plaintext would be shut"},
	{failed: []rank{tokens}, held: []rank{tokensAway},
		because: "tokens that move from it would be refused"},
	{failed: []rank{allowUp, allowChange, allowAway, allowDown, denyUp, denyDown}, held: []rank{tokensAway},
		because: "rules that ask for its tokens are still there"},

	// Opened.
	{failed: []rank{defaultDenyUp}, held: []rank{allowAway},
		because: "workloads that lose their last rule would be open"},
	{failed: []rank{denyUp}, held: []rank{tokens},
		because: "rules that are there already would let in what is to be denied"},
	{failed: []rank{denyUp}, held: []rank{coverUp, allowUp, allowChange}, when: func(s Step) bool { return s.closed },
		because: "what is to be denied would be let in"},
	{failed: []rank{exceptionFirst, exceptionChange, mutualTLSUp, exceptionUp}, held: []rank{coverUp, allowUp, allowChange}, when: func(s Step) bool { return s.closed && s.plaintext },
		because: "callers in plaintext would be let in"},
	{failed: []rank{exceptionFirst, exceptionChange, mutualTLSUp, exceptionUp}, held: []rank{tokens}, when: func(s Step) bool { return s.plaintext },
		because: "callers in plaintext would be let in by rules that are there already"},
	{failed: []rank{allowAway, allowDown}, held: []rank{denyDown},
		because: "what it denies would be let in by rules that are still there"},
	{failed: tightening, held: loosening,
		because: "more would be open than before or after"},
	{failed: []rank{egressSomeUp, egressAllUp, networkSomeUp, networkAllUp}, held: []rank{hostLate},
		because: "hosts could be reached by more workloads than before or after"},
	{failed: shutting, held: releasing,
		because: "more could be reached than before or after"},
}

// HeldBackBy says whether a step must not go on after another one of its plan
// failed, or was held back itself, and why.
func (s Step) HeldBackBy(failed Step) (because string, held bool) {
	for _, h := range holds {
		if slices.Contains(h.failed, failed.rank) && slices.Contains(h.held, s.rank) && (h.when == nil || h.when(s)) {
			return h.because, true
		}
	}
	return "", false
}
