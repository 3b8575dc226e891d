// Package status turns a decision and what became of it into the status of a
// profile: computed once, written once, also when acting failed.
//
// It is pure: the time is passed in. It must never say that something holds on
// missing evidence, and the same input must give the same bytes, so that
// nothing is written when nothing changed.
package status
