// Package istio asks Istio itself: its own validation about every resource that
// a golden case compiles to, and the analyzers of istioctl about every cluster
// of the corpus. It is a module of its own, so that Istio's dependencies stay out
// of the product's, and it must never judge anything by rules of its own.
package istio
