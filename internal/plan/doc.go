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
//	break    what shuts: default-deny, rules that go, egress, the network
//	loosen   what opens, in reverse
//
// The ranks in rank.go are that order, and the table in hold.go says which
// steps must not go on after one that failed.
//
// It is pure, and it must never leave out a change without being asked to.
//
// Not here yet: the property test that runs every prefix of random plans
// against a model of what the mesh enforces; and a temporary allow-all around
// changes after which a workload has its first, or no longer has its last,
// ALLOW policy of several: between these writes the mesh denies what both
// states allow.
package plan
