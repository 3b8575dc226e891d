// Package decide turns what was observed in a namespace into what is to be
// done: it calls the pure steps in their order and adds nothing of its own.
//
//	Observed ─ posture.Resolve ─ Compile ─ audit.Preflight ─ held ─ drift.Find ─ plan.Make ─▶ Decision with its steps
//	         ─ drift.Weigh ─ effective.Compare ─▶ Decision with what others did
//
// It must never read or write anything.
package decide
