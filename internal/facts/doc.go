// Package facts holds what was observed in the cluster, as plain values: the
// mesh, the namespace's workloads, and what the profile refers to.
//
// internal/snapshot fills it from the cache; the pure packages read it. It must
// never read anything itself.
package facts
