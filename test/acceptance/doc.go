// Package acceptance hands every golden case to a real API server with Istio's
// CRDs: it has to accept the profile and every resource, and to store the
// resources exactly as they were sent. A default that it fills in would be
// corrected, and filled in again, for ever.
package acceptance
