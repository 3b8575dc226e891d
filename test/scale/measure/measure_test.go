package measure

import (
	"encoding/json"
	"encoding/xml"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for _, c := range []struct {
		name    string
		samples []time.Duration
		q       float64
		want    time.Duration
	}{
		{"of none", nil, 0.5, 0},
		{"of one", []time.Duration{7}, 0.99, 7},
		{"median of a hundred", hundred, 0.5, 50},
		{"99 of a hundred", hundred, 0.99, 99},
		{"least", hundred, 0, 1},
		{"greatest", hundred, 1, 100},
		{"is a sample, never between two", []time.Duration{1, 10}, 0.5, 1},
	} {
		if got := Quantile(c.samples, c.q); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if hundred[0] != 100 {
		t.Error("the samples were sorted where they are")
	}
}

func TestMedian(t *testing.T) {
	if got := Median([]float64{9, 1, 5}); got != 5 {
		t.Errorf("of three: %g", got)
	}
	if got := Median([]float64{4, 1, 2, 9}); got != 3 {
		t.Errorf("of four: %g", got)
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("of none")
	}
}

// With few profiles the floor takes less than a tick of the processor's account:
// no ratio comes of that, and JSON takes no infinite one.
func TestRatioToNothing(t *testing.T) {
	for _, operator := range [][]float64{{10}, {0}} {
		figures := []Figure{Ratio("heal CPU", "ms", operator, []float64{0, 0, 10})}
		if exceeded := (Thresholds{"heal CPU": {Target: 4}}).Judge(figures); len(exceeded) > 0 {
			t.Errorf("%v is exceeded", exceeded)
		}
		if _, err := json.Marshal(figures); err != nil {
			t.Error(err)
		}
		if table := Table(figures); !strings.Contains(table, "too little to measure") || strings.Contains(table, "×") {
			t.Error(table)
		}
	}
}

func TestThresholdLimit(t *testing.T) {
	at := func(v float64) *float64 { return &v }
	for _, c := range []struct {
		name string
		t    Threshold
		want float64
	}{
		{"nothing on record", Threshold{Target: 2}, 2},
		{"much better than the target", Threshold{Target: 2, Recorded: at(1)}, 1.2},
		{"a little better than the target", Threshold{Target: 2, Recorded: at(1.9)}, 2},
		{"the target is missed", Threshold{Target: 2, Recorded: at(3)}, 3.6},
		{"exactly nothing", Threshold{Target: 0, Recorded: at(0)}, 0},
	} {
		if got := c.t.Limit(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	thresholds, err := ParseThresholds([]byte("slow: {target: 2}\nfast: {target: 2, recorded: 1.5}\nlost: {target: 1}\nnone: {target: 0}\n"))
	if err != nil {
		t.Fatal(err)
	}
	figures := []Figure{
		Ratio("slow", "ms", []float64{5, 4, 6}, []float64{2, 2, 3}), // 2.5
		Ratio("fast", "ms", []float64{3, 2}, []float64{2, 2}),       // 1.25
		Ratio("lost", "ms", nil, nil),
		{Name: "none", Value: 0},
		{Name: "free", Value: 100},
	}
	if got := thresholds.Judge(figures); !slices.Equal(got, []string{"slow", "lost"}) {
		t.Errorf("exceeded: %q", got)
	}
	table := Table(figures[:2])
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "2.50×") || !strings.Contains(lines[1], "EXCEEDED") || !strings.Contains(lines[1], "5 (4–6)") ||
		!strings.Contains(lines[2], "1.25×") || !strings.Contains(lines[2], "ok") {
		t.Errorf("table:\n%s", table)
	}
	if _, err := ParseThresholds([]byte("slow: {goal: 2}")); err == nil {
		t.Error("an unknown field passed")
	}
}

func TestPlotIsXMLWithEverySample(t *testing.T) {
	plot := Plot("Heals &lt; 1 s", Series{"operator", []time.Duration{3 * time.Millisecond, 90 * time.Millisecond, 5 * time.Millisecond}}, Series{"floor", []time.Duration{time.Millisecond}})
	var points []string
	d := xml.NewDecoder(strings.NewReader(plot))
	for {
		token, err := d.Token()
		if token == nil {
			if err.Error() != "EOF" {
				t.Fatalf("%v\n%s", err, plot)
			}
			break
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			for _, a := range e.Attr {
				if a.Name.Local == "points" {
					points = append(points, a.Value)
				}
			}
		}
	}
	if len(points) != 2 || len(strings.Fields(points[0])) != 3 || len(strings.Fields(points[1])) != 1 {
		t.Errorf("points: %q", points)
	}
	if strings.Contains(plot, "NaN") || strings.Contains(plot, "Inf") {
		t.Errorf("a coordinate is no number:\n%s", plot)
	}
}
