// Package wire lists, watches and writes objects as the bytes that the API
// server sends and takes: no types, no cache, no queue, no retries. The floor
// and the observer of the benchmarks stand on it, so that what they cost is
// little more than the requests themselves.
package wire
