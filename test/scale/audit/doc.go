// Program audit measures the audit alone: it holds a cluster in memory as the
// operator's cache would, reads namespaces from it as the operator does, and
// says as JSON what processor time a look at every namespace takes, and one
// after a pod's event. There is no API server, so that nothing can ask one.
package main
