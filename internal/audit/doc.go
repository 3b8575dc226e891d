// Package audit turns what was observed and what is declared into findings. A
// check is a row of the catalogue and one small function; the slice of them is
// the specification.
//
// This version has the family LOCK: what is known to call in, or to go out,
// and that the declared posture would refuse. Whoever is in doubt is told so:
// where a check can't read what it needs, it says that it is unknown, and
// never nothing. It must never read the cluster, and never decide what becomes
// of a finding.
package audit
