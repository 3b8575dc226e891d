// Command bench measures the operator against a real API server on loopback and
// compares it with the floor: test/scale/floor, which does the same writes and
// nothing else.
//
//	go run ./test/scale/bench -bench 'heal|restart' -profiles 100
//
// Absolute times say little on a machine that is shared. So every time is a
// ratio of the medians of runs that are interleaved: operator, floor, operator,
// floor. Both are processes of their own under the operator's service account.
// What a figure is: figure.go. What it may be: ../thresholds.yaml.
//
// It sends nothing anywhere but to the control plane that it starts itself, and
// ends all that it started, also when it is interrupted.
package main
