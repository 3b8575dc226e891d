package measure

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Quantile is the smallest sample that at least the share q of all do not
// exceed; 0 where there is none.
func Quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Median of an even number of values is the mean of the two in the middle; NaN of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Figure is one result.
type Figure struct {
	Name string `json:"name"`
	// Value is what is compared with the threshold: the ratio of the two
	// medians below, or a count.
	Value float64 `json:"value"`
	// Operator and Floor have a value for each run, interleaved: the runs with
	// one index were made one right after the other. Empty for a count.
	Operator []float64 `json:"operator,omitempty"`
	Floor    []float64 `json:"floor,omitempty"`
	// Unit of Operator and Floor, or of Value for a count.
	Unit string `json:"unit"`
	// Unmeasured is true where the floor took less than a clock shows, so that
	// nothing can be set against it; Value is 0 then.
	Unmeasured bool `json:"unmeasured,omitempty"`
	// Limit is what Value must not exceed; nil: there is none.
	Limit *float64 `json:"limit,omitempty"`
	// Note is what else there is to know, in a few words.
	Note string `json:"note,omitempty"`
}

// Ratio is a figure of runs of the operator and of the floor.
func Ratio(name, unit string, operator, floor []float64) Figure {
	f := Figure{Name: name, Unit: unit, Operator: operator, Floor: floor}
	if least := Median(floor); least == 0 {
		f.Unmeasured = true
	} else {
		f.Value = Median(operator) / least
	}
	return f
}

// Exceeded says whether the figure is worse than it may be. What could not be
// worked out is, what is too little to be measured is not.
func (f Figure) Exceeded() bool {
	return f.Limit != nil && !f.Unmeasured && !(f.Value <= *f.Limit) // NaN too
}

// Table shows figures, one a line.
func Table(figures []Figure) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) }
	line("figure", "operator", "floor", "unit", "value", "limit", "", "note")
	for _, f := range figures {
		operator, floor, value := "", "", fmt.Sprintf("%.2f×", f.Value)
		if len(f.Floor) > 0 {
			operator, floor = spread(f.Operator), spread(f.Floor)
		} else {
			value = fmt.Sprintf("%.4g", f.Value)
		}
		if f.Unmeasured {
			value = ""
		}
		limit, verdict := "", ""
		if f.Limit != nil {
			limit, verdict = fmt.Sprintf("%.4g", *f.Limit), "ok"
			switch {
			case f.Unmeasured:
				verdict = "too little to measure"
			case f.Exceeded():
				verdict = "EXCEEDED"
			}
		}
		line(f.Name, operator, floor, f.Unit, value, limit, verdict, f.Note)
	}
	_ = w.Flush()
	return out.String()
}

// spread is the median of runs, and the least and the greatest of them.
func spread(values []float64) string {
	return fmt.Sprintf("%.3g (%.3g–%.3g)", Median(values), slices.Min(values), slices.Max(values))
}
