// Package integration runs the operator's binary, as its own service account,
// against a real API server, etcd and controller manager, and acts on it as
// users do. It must never reach into the operator other than through the API.
package integration
