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
//	World ─ New ─ Model ─┬─ Explain, Reach          what becomes of a call or a connection of a pod, and why
//	                     ├─ Inbound, Exits          a pod's ports, and where it may go
//	                     ├─ Pass, Admits, Leaves    what layers make of it, for workloads by their labels
//	                     └─ Compare                 what passes in one of two worlds alone
//
// The first two are whole answers, about pods: they know what goes past the
// proxy, and say Unknown where something that the model does not know could make
// a difference. The others are about policies alone: that these are acted on is
// their callers' affair.
//
// Each layer has its file; probes are what has to be tried to tell models apart.
package effective
