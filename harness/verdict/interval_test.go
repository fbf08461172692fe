package verdict

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMedianCoverage(t *testing.T) {
	for n, want := range map[int]float64{0: 0, 1: 0, 2: 0.5, 3: 0.75, 6: 0.96875} {
		if got := MedianCoverage(n); got != want {
			t.Errorf("range of %d samples: %v, want %v", n, got, want)
		}
	}
}

func TestRankSums(t *testing.T) {
	tests := []struct {
		n, m int
		want []float64
	}{
		{1, 1, []float64{1, 1}},
		{1, 2, []float64{1, 1, 1}},
		{2, 2, []float64{1, 1, 2, 1, 1}},
		{3, 3, []float64{1, 1, 2, 3, 3, 3, 3, 2, 1, 1}},
	}
	for _, test := range tests {
		if got := rankSums(test.n, test.m); !slices.Equal(got, test.want) {
			t.Errorf("%d and %d: %v, want %v", test.n, test.m, got, test.want)
		}
	}
}

// TestMannWhitneyCut is against the table of critical values, two-sided.
func TestMannWhitneyCut(t *testing.T) {
	tests := []struct {
		n, m     int
		coverage float64
		cut      int
		reached  float64
	}{
		{3, 3, 0.95, 0, 0.9}, // three a side can't reach 95 %
		{4, 4, 0.95, 0, 1 - 2./70},
		{5, 5, 0.95, 2, 1 - 2*4./252},
		{10, 10, 0.95, 23, 0},
		{20, 20, 0.95, 127, 0},
		{1, 1, 0.95, 0, 0},
	}
	for _, test := range tests {
		cut, reached := mannWhitneyCut(test.n, test.m, test.coverage)
		if cut != test.cut || test.reached > 0 && math.Abs(reached-test.reached) > 1e-12 {
			t.Errorf("%d and %d: cut %d, reaches %v; want %d and %v", test.n, test.m, cut, reached, test.cut, test.reached)
		}
	}
}

func TestIndependentRatio(t *testing.T) {
	got, ok := IndependentRatio([]float64{2, 4, 8}, []float64{1, 2, 4}, 0.95)
	if !ok || math.Abs(got.Value-2) > 1e-12 || math.Abs(got.Low-0.5) > 1e-12 || math.Abs(got.High-8) > 1e-12 || math.Abs(got.Coverage-0.9) > 1e-12 {
		t.Errorf("got %+v", got)
	}
	if _, ok := IndependentRatio([]float64{0, -1, math.NaN()}, []float64{1}, 0.95); ok {
		t.Error("samples without a logarithm have a ratio")
	}
}

// TestIndependentRatioCovers: as often as it says, the interval holds the truth.
func TestIndependentRatioCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	const truth, trials = 1.3, 4000
	draw := func(n int, factor float64) []float64 {
		var out []float64
		for range n {
			out = append(out, factor*math.Exp(random.NormFloat64()*0.4))
		}
		return out
	}
	for _, n := range []int{3, 6} {
		held, said := 0, 0.0
		for range trials {
			got, _ := IndependentRatio(draw(n, truth), draw(n, 1), 0.95)
			said = got.Coverage
			if got.Low <= truth && truth <= got.High {
				held++
			}
		}
		if share := float64(held) / trials; math.Abs(share-said) > 0.02 {
			t.Errorf("%d a side: %v of the intervals hold the truth, they say %v", n, share, said)
		}
	}
}

func TestBootstrapMedian(t *testing.T) {
	if _, ok := BootstrapMedian([]float64{1, 2, 3, 4, 5}, 0.95); ok {
		t.Error("five samples are enough")
	}
	got, ok := BootstrapMedian([]float64{7, 7, 7, 7, 7, 7}, 0.95)
	if !ok || got != (Interval{7, 7, 7, 0.95}) {
		t.Errorf("of equal samples: %+v", got)
	}
	samples := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 1e6}
	got, _ = BootstrapMedian(samples, 0.95)
	if got.Value != 5.5 || got.Low < 2 || got.Low > 4 || got.High < 7 || got.High > 9 {
		t.Errorf("one wild sample of ten: %+v", got)
	}
	if again, _ := BootstrapMedian(samples, 0.95); again != got {
		t.Errorf("the same samples give %+v, then %+v", got, again)
	}
	if narrow, _ := BootstrapMedian(samples, 0.5); narrow.Low < got.Low || narrow.High > got.High || narrow.Low == got.Low {
		t.Errorf("to cover half takes %+v, to cover 95 %% %+v", narrow, got)
	}
}

// TestBootstrapMedianCovers: nearly as often as it says, the interval holds the median.
// With few samples the percentile bootstrap is known to fall some per cent short.
func TestBootstrapMedianCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	for n, least := range map[int]float64{6: 0.88, 12: 0.90, 25: 0.92} {
		held, trials := 0, 300
		for range trials {
			samples := make([]float64, n)
			for i := range samples {
				samples[i] = math.Exp(random.NormFloat64())
			}
			if got, _ := BootstrapMedian(samples, 0.95); got.Low <= 1 && 1 <= got.High {
				held++
			}
		}
		if share := float64(held) / float64(trials); share < least-0.03 || share > 0.99 {
			t.Errorf("of %d samples, %.3f of the intervals hold the median", n, share)
		}
	}
}
