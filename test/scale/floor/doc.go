// Command floor does what the operator's requests do, and nothing else: the
// least that any program could take for the same writes. The benchmarks run it
// in the operator's place, under the operator's account, and give every figure
// as a ratio to it.
//
//	floor heal GROUP/VERSION/RESOURCE…      puts an object whose spec changed back as it was at the start
//	floor converge FILE                     writes for each profile what the file has for its namespace, and its status
//	floor sync GROUP/VERSION/RESOURCE…      fills informers, and does nothing with them; RESOURCE@NAMESPACE: of one namespace
//
// It serves /readyz, as the operator does, once it has read what it needs. It
// decides nothing, reports nothing and retries nothing, and must never be run
// against anything but a control plane for tests.
package main
