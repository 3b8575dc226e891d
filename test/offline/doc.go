// Package offline makes a cluster of YAML files and reads it as the operator
// reads one: through its own reader, with a client that answers from memory.
// Nothing runs: what is not in the files is not there.
//
// It must never be imported by the product.
package offline
