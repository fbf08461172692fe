package verdict

import (
	"math"
	"slices"
	"testing"
)

func equal(a, b float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < 1e-12*math.Abs(b)
}

func TestMedian(t *testing.T) {
	tests := []struct {
		name    string
		samples []float64
		want    float64
	}{
		{"nothing", nil, math.NaN()},
		{"one", []float64{4}, 4},
		{"odd, unsorted", []float64{9, 1, 5}, 5},
		{"even is the mean of the middle two", []float64{4, 1, 2, 100}, 3},
		{"one wild sample does not move it", []float64{1, 2, 3, 2, 1e9}, 2},
		{"no overflow", []float64{math.MaxFloat64, math.MaxFloat64}, math.MaxFloat64},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := slices.Clone(test.samples)
			if got := Median(test.samples); !equal(got, test.want) {
				t.Errorf("Median(%v) = %v, want %v", test.samples, got, test.want)
			}
			if !slices.Equal(before, test.samples) {
				t.Errorf("Median reordered its argument to %v", test.samples)
			}
		})
	}
}

func TestSummarize(t *testing.T) {
	got := Summarize([]float64{3, 1, 2})
	if want := (Summary{Median: 2, Min: 1, Max: 3, Count: 3}); got != want {
		t.Errorf("Summarize = %+v, want %+v", got, want)
	}
	none := Summarize(nil)
	if !math.IsNaN(none.Median) || !math.IsNaN(none.Min) || !math.IsNaN(none.Max) || none.Count != 0 {
		t.Errorf("Summarize(nil) = %+v, want NaN and 0", none)
	}
}

func TestTheilSen(t *testing.T) {
	tests := []struct {
		name   string
		points []Point
		want   Summary
	}{
		{"a line", []Point{{0, 5}, {10, 25}, {20, 45}}, Summary{2, 2, 2, 3}},
		{"the wild point is outvoted", []Point{{0, 0}, {1, 10}, {2, 20}, {3, 30}, {4, 1000}},
			Summary{10, 10, 970, 10}},
		{"falling", []Point{{0, 10}, {5, 0}}, Summary{-2, -2, -2, 1}},
		{"equal x give no slope", []Point{{1, 1}, {1, 9}, {2, 2}}, Summary{-3, -7, 1, 2}},
		{"one point has none", []Point{{1, 1}}, Summary{math.NaN(), math.NaN(), math.NaN(), 0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := TheilSen(test.points)
			if !equal(got.Median, test.want.Median) || !equal(got.Min, test.want.Min) ||
				!equal(got.Max, test.want.Max) || got.Count != test.want.Count {
				t.Errorf("TheilSen(%v) = %+v, want %+v", test.points, got, test.want)
			}
		})
	}
}

func TestPairedRatios(t *testing.T) {
	tests := []struct {
		name       string
		a, b, want []float64
	}{
		{"drift cancels", []float64{2, 4, 8}, []float64{1, 2, 4}, []float64{2, 2, 2}},
		{"no partner", []float64{2, 4}, []float64{1}, []float64{2}},
		{"no finite ratio", []float64{1, 0, 6}, []float64{0, 0, 3}, []float64{2}},
		{"nothing", nil, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := PairedRatios(test.a, test.b); !slices.Equal(got, test.want) {
				t.Errorf("PairedRatios(%v, %v) = %v, want %v", test.a, test.b, got, test.want)
			}
		})
	}
}
