// Package cli is the command line, kubectl meshsecurity. It has no judgement of
// its own: it reads a cluster, of an API server or of files, into memory, lets
// the operator's core look at that, and prints what the core says. It writes
// nothing to a cluster.
package cli
