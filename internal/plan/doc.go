// Package plan turns changes into steps in an order that is safe to stop at
// any point: no prefix of a plan is more open than the old and the new state
// both, nor denies what both allow.
//
//	[]drift.Change ─ Make ─▶ []Step ─ internal/apply
//
// The layers of a posture (mutual TLS, DENY policies, ALLOW policies, egress,
// the network) must all let a request pass; within a layer, one ALLOW policy
// or one registered host is enough. From this follow the four phases:
//
//	tighten  what stands alone, and denies only what the new state denies too
//	make     what lets through: ALLOW policies, registered hosts
//	break    what shuts: default-deny, rules that go, egress
//	loosen   what opens, in reverse
//
// The ranks in rank.go are that order, and the table in hold.go says which
// steps must not go on after one that failed.
//
// Where one object can't be written without a gap, there is another one
// meanwhile, named msp-transition.…, or the object is written twice:
//
//	cover  stands for the ALLOW policies of some workloads while several come or
//	       go one by one: it allows everything where these workloads have none
//	       before or after; where that would open something, what they allow together
//	keep   a copy of what is replaced by something that neither only opens nor
//	       only shuts, until what is of its kind goes
//	half   an exception to mutual TLS first shuts ports, and opens others at the end
//
// What was left of a plan that was not finished is found by drift.Compare as
// nothing asks for it; the next plan uses it, and removes it at its place.
//
// TestEveryPrefix tries all of that with the model of internal/effective. What
// can't be had, and is left out there by name, are moments. Refused for one of
// them, rather than let in, is
//
//   - one of several providers' tokens, as the first or the last
//     RequestAuthentications of a workload come or go;
//   - a destination that is known by an address range in one state and by its
//     name in the other.
//
// Let in for one of them, where waiting would refuse what both states let in, is
//
//   - plaintext to a port of some workloads of an exception that comes, where
//     another exception with the same port goes that shares some of these;
//   - a token by the keys that its issuer had before or has after, by a rule of
//     the other state, as the issuer's keys change;
//   - while egress changes from one restriction to another, a connection that a
//     Sidecar of before or after lets out by an entry of the other state; and one
//     that the proxies let out in one state alone, and the network in the other.
//
// Either of them happens to
//
//   - a caller of a port that is turned to Disable, or back: it has another
//     identity than the rules of that moment are for;
//   - a request with a token, where somebody changed a rule that asks for tokens
//     and took away all that validates them: the rule acts as it was changed, from
//     when tokens are validated until it is as it should be.
//
// There is no cover where it can't be told whether the mesh's root namespace has
// ALLOW policies, or others' select some of the workloads: it could open what
// these deny.
//
// It is pure, and it must never leave out a change without being asked to.
package plan
