// Package admission tries what config/admission refuses and lets through, on a
// real API server, with users who authenticate as themselves and the operator's
// binary at work. An attempt is a kubectl command or a request as a user; what
// is looked at is the API server's answer and what is in the cluster after it.
//
// An admission policy and its parameters come into force when the API server's
// own cache has them: within a second after a policy is stored, and some
// milliseconds after a profile changes. That, and the operator's pace, is what
// Eventually waits for here.
package admission
