// Package drift turns what is desired and what is in the cluster into the
// changes between the two: what differs, whether the cluster or our intent
// moved, who did it, and whether it weakens the posture.
//
//	desired ─┐
//	         ├─ Compare ─ []Change ─ internal/plan ─ internal/apply
//	live ────┘
//
// The operator owns the whole spec of what it writes, because a server-side
// apply leaves in place what an intruder adds. So specs are compared whole, in
// the cache, and objects are found by kind and name: never by a label or an
// owner reference alone, which an intruder can strip.
//
// It is pure: it must never read the cluster, write, log or look at the clock.
//
// Effect asks internal/effective what passes with a change and what without.
// Foreign objects that override ours (Shadowed) are not found here.
package drift
