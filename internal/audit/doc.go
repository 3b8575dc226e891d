// Package audit turns what was observed and what is declared into findings. A
// check is a row of the catalogue and one small function; the slice of them is
// the specification.
//
// Those of the family LOCK look at what is declared, before anything is written:
// what is known to call in, or to go out, and that the posture would refuse
// (Preflight). All others look at a Scene, which is what is in force once the
// operator's steps are done (Examine). Where a check can't read what it needs, it
// says that it is unknown, and never nothing. It must never read the cluster, and
// never decide what becomes of a finding.
package audit
