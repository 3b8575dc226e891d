// Package traffic is the programs that talk: a workload that listens on its
// ports, and makes the calls that a test tells it to through a Unix socket,
// which network namespaces do not keep apart. It must know nothing of what a
// call is expected to come to.
package traffic
