package measure

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Series is a line of a plot.
type Series struct {
	Name    string
	Samples []time.Duration
}

var colours = []string{"#c0392b", "#2471a3", "#229954", "#7d3c98"}

// The frame of a plot, in pixels.
const (
	left, top, width, height = 60.0, 46.0, 700.0, 360.0
	// highest is the greatest share that is shown: 1 would be at infinity.
	highest = 0.999
)

// tail stretches the upper end, where a mean says least: 50 %, 90 %, 99 % and
// 99.9 % are about as far from each other.
func tail(q float64) float64 { return -math.Log10(1-min(q, highest)) / 3 }

// Plot draws the distribution of each series as SVG: across the share of the
// samples, upwards the time that they do not exceed, on a scale of logarithms.
func Plot(title string, series ...Series) string {
	lowest, longest := math.Inf(1), 0.0
	for _, s := range series {
		// The fastest twentieth would stretch the scale most and tells least.
		lowest, longest = min(lowest, Quantile(s.Samples, 0.05).Seconds()), max(longest, Quantile(s.Samples, 1).Seconds())
	}
	first, last := math.Floor(math.Log10(lowest)), math.Ceil(math.Log10(longest))
	x := func(q float64) float64 { return left + width*tail(q) }
	y := func(seconds float64) float64 {
		return top + height*min((last-math.Log10(seconds))/max(last-first, 1), 1)
	}
	var b strings.Builder
	draw := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	draw(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 460" font-family="sans-serif" font-size="12">`)
	draw(`<rect width="800" height="460" fill="white"/><text x="%g" y="24" font-size="15">%s</text>`, left, title)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, highest} {
		draw(`<path d="M%.1f %gV%g" stroke="#ddd"/><text x="%.1f" y="%g" text-anchor="middle">%.4g %%</text>`, x(q), top, top+height, x(q), top+height+18, 100*q)
	}
	for power := first; power <= last; power++ {
		for _, digit := range []float64{1, 2, 5} {
			if at := digit * math.Pow(10, power); at <= math.Pow(10, last) {
				draw(`<path d="M%g %.1fH%g" stroke="#ddd"/><text x="%g" y="%.1f" text-anchor="end">%.4g ms</text>`, left, y(at), left+width, left-4, y(at)+4, 1000*at)
			}
		}
	}
	for i, s := range series {
		sorted := slices.Sorted(slices.Values(s.Samples))
		var path strings.Builder
		for j, d := range sorted {
			fmt.Fprintf(&path, " %.1f,%.1f", x(float64(j)/float64(len(sorted))), y(d.Seconds()))
		}
		colour := colours[i%len(colours)]
		draw(`<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>`, colour, strings.TrimSpace(path.String()))
		draw(`<text x="%g" y="%g" fill="%s">%s (%d)</text>`, left+12, top+20+18*float64(i), colour, s.Name, len(sorted))
	}
	draw(`</svg>`)
	return b.String()
}
