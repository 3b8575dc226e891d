// Package effective turns what was observed into what the mesh really
// enforces, as evidence for or against what is declared.
//
// It is careful in one direction only: where it can't tell, the answer is
// Unknown, never True. It must never read the cluster.
//
// This version judges each area of a namespace as a whole, and takes a foreign
// policy that could change the outcome for a reason not to know. The model of
// the mesh's precedence rules for a single workload, port and caller belongs
// here too.
package effective
