// Package stage is a real mesh on one machine with neither kubelet nor container
// runtime: a control plane, istiod, and workloads as processes in network
// namespaces of their own, each behind a real Envoy that Istio's agent runs and
// to which Istio's own rules redirect its traffic. Identities and certificates
// are real: istiod signs them for tokens of service accounts.
//
//	Enter      namespaces of the process that end with it, with all that is in them
//	Set        the control plane, istiod and the operator in them
//	Join       a pod, as a kubelet would run it
//	Settle     wait until every proxy has what the API server has
//
// What it is not: the network enforces no NetworkPolicy, and there is no DNS but
// for names outside of the cluster. It must never touch anything outside of the
// namespaces that it made.
package stage
