package measure

import (
	"fmt"

	"sigs.k8s.io/yaml"
)

// tolerance is how much worse than it was recorded a figure may be.
const tolerance = 1.2

// Threshold of a figure.
type Threshold struct {
	// Target is what is aimed at.
	Target float64 `json:"target"`
	// Recorded is the mean of earlier runs. Absent: none is on record.
	Recorded *float64 `json:"recorded,omitempty"`
	// Note says where the recorded value comes from.
	Note string `json:"note,omitempty"`
}

// Limit is what a figure may not exceed: what was recorded and a fifth, but no
// more than the target, unless what is recorded misses that.
func (t Threshold) Limit() float64 {
	switch {
	case t.Recorded == nil:
		return t.Target
	case *t.Recorded > t.Target:
		return *t.Recorded * tolerance
	}
	return min(t.Target, *t.Recorded*tolerance)
}

// Thresholds by the name of the figure.
type Thresholds map[string]Threshold

// ParseThresholds reads the file of thresholds.
func ParseThresholds(text []byte) (Thresholds, error) {
	var out Thresholds
	if err := yaml.UnmarshalStrict(text, &out); err != nil {
		return nil, fmt.Errorf("read thresholds: %w", err)
	}
	return out, nil
}

// Judge sets the limits of figures and returns those that exceed theirs.
func (t Thresholds) Judge(figures []Figure) (exceeded []string) {
	for i, f := range figures {
		threshold, ok := t[f.Name]
		if !ok {
			continue
		}
		limit := threshold.Limit()
		figures[i].Limit = &limit
		if figures[i].Exceeded() {
			exceeded = append(exceeded, f.Name)
		}
	}
	return exceeded
}
