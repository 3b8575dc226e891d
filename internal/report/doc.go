// Package report tells of what happened outside of status: as metrics.
//
// It must never read the cluster, and no label of a metric may take
// unboundedly many values.
package report
