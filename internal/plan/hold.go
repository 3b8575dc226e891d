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
	tightening = []rank{mutualTLSUp, exceptionUp, denyUp, allowChange, defaultDenyUp, allowAway, networkSomeUp, networkAllUp}
	loosening  = []rank{networkAllDown, networkSomeDown, defaultDenyDown, allowDown, denyDown, mutualTLSDown, exceptionLast, exceptionDown}
	shutting   = []rank{egressSomeUp, egressAllUp, networkSomeUp, networkAllUp}
	releasing  = []rank{networkAllDown, networkSomeDown, egressAllDown, egressSomeDown, virtualServiceAway, gatewayAway, destinationRuleAway, hostAway, gatewayPolicyAway}
)

var holds = []hold{
	// Locked out.
	{failed: []rank{tokens}, held: []rank{denyUp, allowUp, allowChange, defaultDenyUp},
		because: "tokens that rules ask for would not be validated"},
	{failed: []rank{exceptionFirst}, held: []rank{mutualTLSUp, exceptionUp},
		because: "a port that is to accept plaintext would be shut"},
	{failed: []rank{allowUp, allowChange}, held: []rank{defaultDenyUp, allowAway},
		because: "callers that are to be allowed would be locked out"},
	{failed: []rank{gatewayPolicy}, held: []rank{virtualService},
		because: "the egress gateway would refuse what is led to it"},
	{failed: []rank{hostUp, hostChange, destinationRule, gateway}, held: []rank{virtualService},
		because: "calls would be led where nothing leads on"},
	{failed: []rank{hostUp, hostChange, destinationRule, gateway, virtualService}, held: []rank{egressSomeUp, egressAllUp},
		because: "hosts that are to be reached would be refused"},
	{failed: []rank{egressSomeUp}, held: []rank{egressAllUp},
		because: "hosts that some workloads are to reach would be refused"},
	{failed: []rank{networkSomeUp}, held: []rank{networkAllUp},
		because: "destinations that some workloads are to reach would be refused"},
	{failed: []rank{networkAllDown}, held: []rank{networkSomeDown},
		because: "destinations that some workloads are to reach would be refused"},
	{failed: []rank{egressAllDown}, held: []rank{egressSomeDown},
		because: "hosts that some workloads are to reach would be refused"},
	{failed: []rank{defaultDenyDown}, held: []rank{allowDown},
		because: "callers that are to be allowed would be locked out"},
	{failed: []rank{egressSomeUp, egressAllUp, egressAllDown, egressSomeDown}, held: []rank{virtualServiceAway, gatewayAway, destinationRuleAway, hostAway},
		because: "hosts would be refused that the Sidecar still restricts"},
	{failed: []rank{virtualServiceAway}, held: []rank{gatewayAway, destinationRuleAway, hostAway, gatewayPolicyAway},
		because: "calls would be led where nothing leads on"},
	{failed: []rank{mutualTLSDown}, held: []rank{exceptionLast},
		because: "a port that accepts plaintext would be shut"},
	{failed: []rank{allowUp, allowChange, allowAway, allowDown, denyUp, denyDown}, held: []rank{tokensAway},
		because: "rules that ask for its tokens are still there"},

	// Opened.
	{failed: []rank{defaultDenyUp}, held: []rank{allowAway},
		because: "workloads that lose their last rule would be open"},
	{failed: []rank{denyUp}, held: []rank{allowUp, allowChange}, when: func(s Step) bool { return s.closed },
		because: "what is to be denied would be let in"},
	{failed: []rank{mutualTLSUp, exceptionUp}, held: []rank{allowUp, allowChange}, when: func(s Step) bool { return s.closed && s.plaintext },
		because: "callers in plaintext would be let in"},
	{failed: []rank{allowAway, allowDown}, held: []rank{denyDown},
		because: "what it denies would be let in by rules that are still there"},
	{failed: tightening, held: loosening,
		because: "more would be open than before or after"},
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
