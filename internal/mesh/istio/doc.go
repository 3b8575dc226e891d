// Package istio turns a posture into Istio's resources for workloads with a
// sidecar, and says of every rule how far they hold it.
//
//	posture + facts
//	   ├─ mutualtls.go       PeerAuthentication
//	   ├─ authorization.go   AuthorizationPolicy     callers.go, operations.go
//	   ├─ jwt.go             RequestAuthentication
//	   ├─ egress.go          Sidecar                 serviceentries.go, + package network
//	   └─ logging.go         Telemetry
//	        ▼
//	   modes.go              what DryRun and Audit leave of it
//
// Everything is compiled as for Enforce; the other modes only take away. The
// package must never read the cluster, copy a declared text into an object's
// metadata, or call a rule Enforced without evidence that it is.
package istio
