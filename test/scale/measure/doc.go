// Package measure turns the samples of a benchmark into figures, compares them
// with their thresholds and shows them as a table and as a plot. It must not
// measure anything itself.
package measure
