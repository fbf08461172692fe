// Package verdict is the statistics of the harness: medians, spreads, slopes and
// paired ratios. Every function is pure. The estimators are those that one bad
// sample can't move: a shared machine gives bad samples.
//
// It knows no files, no units and no variants.
package verdict

import (
	"math"
	"slices"
)

// Median is the middle sample, or the mean of the middle two; NaN if there are
// none.
func Median(samples []float64) float64 {
	n := len(samples)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	if n%2 == 1 {
		return sorted[n/2]
	}
	return sorted[n/2-1]/2 + sorted[n/2]/2 // halves first: the sum may overflow
}

// Summary is what is printed of samples.
type Summary struct {
	Median, Min, Max float64
	Count            int
}

// Summarize returns the median and the spread; all are NaN if there are no
// samples.
func Summarize(samples []float64) Summary {
	s := Summary{Median: Median(samples), Min: math.NaN(), Max: math.NaN(), Count: len(samples)}
	if len(samples) > 0 {
		s.Min, s.Max = slices.Min(samples), slices.Max(samples)
	}
	return s
}

// Point is one (x, y).
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// PairSlopes are the slopes between all pairs of points with different x.
func PairSlopes(points []Point) []float64 {
	var slopes []float64
	for i, a := range points {
		for _, b := range points[i+1:] {
			if a.X != b.X {
				slopes = append(slopes, (b.Y-a.Y)/(b.X-a.X))
			}
		}
	}
	return slopes
}

// TheilSen is the Theil-Sen slope: the median of all pairs' slopes, with their
// spread. Nearly 30 % of the points may be wild before it moves.
func TheilSen(points []Point) Summary { return Summarize(PairSlopes(points)) }

// PairedRatios divides the samples pairwise, a[i]/b[i]: what drifts over a run
// hits both samples of a pair and cancels. Samples without a partner, and pairs
// that have no finite ratio, are left out.
func PairedRatios(a, b []float64) []float64 {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		ratio := a[i] / b[i]
		if !math.IsNaN(ratio) && !math.IsInf(ratio, 0) {
			ratios = append(ratios, ratio)
		}
	}
	return ratios
}
