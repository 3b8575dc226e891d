// Package apply writes steps to the API server, in their order, one request
// each, and says what became of them. It is the only writer of managed objects.
//
//	[]plan.Step ─ Writer ─▶ Outcome ─ Ledger ─▶ is the cache behind?
//
// It must never send anything to another namespace than the owner's, of
// another kind than the managed ones, or under a name without the operator's
// prefix: a plan with one such step is refused as a whole. It must never read.
//
// Why POST and PUT and not a server-side apply: docs/decisions/0001-post-and-put.md.
package apply
