// Package istio asks Istio's own validation about every resource that a golden
// case compiles to. It is a module of its own, so that Istio's dependencies stay
// out of the product's, and it must never validate anything by rules of its own.
package istio
