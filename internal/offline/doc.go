// Package offline has a cluster in memory, of files or of what an API server
// answered once, and reads it as the operator reads one: through its own reader.
// Nothing runs and nothing is written: what is not there, is not there.
package offline
