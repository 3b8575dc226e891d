// Package network turns a posture into the NetworkPolicies beside a mesh's own
// resources: the boundary that a process can't leave by bypassing its proxy.
//
// NetworkPolicies only add up, so that every one that selects single workloads
// repeats what the whole namespace may do and is sufficient alone. The package
// must never open more than the rules do without saying so, leave a protocol to
// the API server's defaults, or know of any mesh's resources.
package network
