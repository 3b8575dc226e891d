// Package decide turns what was observed in a namespace into what is to be
// done: it calls the pure steps in their order and adds nothing of its own.
//
//	Observed ─ posture.Resolve ─ Compile ─ audit.Run ─ held ─ drift.Compare ─ plan.Make ─▶ Decision
//
// It must never read or write anything.
package decide
