// Package controlplane starts a real Kubernetes control plane on loopback for
// tests and the demo: etcd and kube-apiserver through envtest, and
// kube-controller-manager, which envtest does not have, so that garbage
// collection, namespace deletion and workload controllers are real.
//
// Every request is in an audit log, so that a test can count what a user sent.
// It must never be imported by the product.
package controlplane
