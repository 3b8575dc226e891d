// Package snapshot reads everything that one reconciliation of a namespace
// looks at, from the cache, into plain values. It is the only reader: it must
// never write, and never send a request to the API server.
//
//	cache ── Reader.Read(namespace) ──▶ facts.Observed
//	          ├─ profiles                       the one in force first
//	          ├─ objects of managed kinds       ours and foreign ones
//	          ├─ pods, services                 as facts
//	          ├─ what the profile refers to     exists or not
//	          └─ the mesh                       its ConfigMap, istiod, root policies
package snapshot
