// Package effective turns what was observed into what the mesh really
// enforces, as evidence for or against what is declared.
//
// It is careful in one direction only: where it can't tell, the answer is
// Unknown, never True. It must never read the cluster.
//
// Evaluate judges each area of a namespace as a whole, by what its caller
// compared; an object of which the model can't tell what it does is a reason
// not to know.
//
// Model answers for a single workload, port and caller, by Istio's rules of
// precedence for sidecars:
//
//	World ─ New ─ Model ─┬─ Pass, Admits, Leaves    what becomes of a call or a connection
//	                     └─ Compare                 what passes in one of two worlds alone
//
// Each layer has its file; probes are what has to be tried to tell models apart.
package effective
