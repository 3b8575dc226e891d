// Package posture turns a profile, and what it refers to, into the posture of
// a namespace: mesh-neutral, complete, every value with its origin.
//
// It is pure: the time is passed in, and it must never read the cluster, log
// or decide what any mesh makes of the posture.
package posture
