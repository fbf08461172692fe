package verdict

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Interval is an estimate and where the truth may lie.
type Interval struct {
	Value, Low, High float64
	// Coverage is the probability with which such an interval holds the truth,
	// whatever the distribution. With few samples no interval reaches what is asked
	// for; then it is the widest that the samples give, and Coverage says so.
	Coverage float64
}

// MedianCoverage is how often the range of n samples holds the median of what they
// are drawn from: not if all fall to one side of it.
func MedianCoverage(n int) float64 {
	if n < 1 {
		return 0
	}
	return 1 - math.Pow(2, float64(1-n))
}

// BootstrapFrom is the number of samples from which on a bootstrap says more than their
// range: that of six holds the median in 97 % of cases.
const BootstrapFrom = 6

// resamples is how many times the bootstrap draws: of two thousand medians, an interval
// that covers 95 % ends at the 50th from either side.
const resamples = 2000

// BootstrapMedian is the median with the percentile bootstrap's interval (Efron 1979):
// medians of as many samples drawn from the samples, with replacement. The draws are
// the same for the same samples. ok is false for fewer than BootstrapFrom of them.
func BootstrapMedian(samples []float64, coverage float64) (interval Interval, ok bool) {
	if len(samples) < BootstrapFrom {
		return Interval{}, false
	}
	random := rand.New(rand.NewPCG(0, uint64(len(samples))))
	medians, drawn := make([]float64, resamples), make([]float64, len(samples))
	for i := range medians {
		for j := range drawn {
			drawn[j] = samples[random.IntN(len(samples))]
		}
		medians[i] = Median(drawn)
	}
	slices.Sort(medians)
	cut := int((1 - coverage) / 2 * resamples)
	return Interval{Value: Median(samples), Low: medians[cut], High: medians[resamples-1-cut], Coverage: coverage}, true
}

// IndependentRatio is how many times larger the samples of a are than those of b,
// where nothing pairs them: the Hodges-Lehmann estimate of the shift between their
// logarithms, with the exact interval of the Mann-Whitney test. It takes for granted
// that the two differ by a factor and nothing else. Samples that are not above zero
// have no logarithm and are left out; ok is false if none are left.
func IndependentRatio(a, b []float64, coverage float64) (ratio Interval, ok bool) {
	as, bs := logarithms(a), logarithms(b)
	if len(as) == 0 || len(bs) == 0 {
		return Interval{}, false
	}
	var shifts []float64
	for _, x := range as {
		for _, y := range bs {
			shifts = append(shifts, x-y)
		}
	}
	slices.Sort(shifts)
	cut, reached := mannWhitneyCut(len(as), len(bs), coverage)
	return Interval{
		Value: math.Exp(Median(shifts)),
		Low:   math.Exp(shifts[cut]), High: math.Exp(shifts[len(shifts)-1-cut]),
		Coverage: reached,
	}, true
}

func logarithms(samples []float64) []float64 {
	var out []float64
	for _, s := range samples {
		if s > 0 && !math.IsInf(s, 1) {
			out = append(out, math.Log(s))
		}
	}
	return out
}

// mannWhitneyCut is how many of the sorted differences may be cut off at each end,
// so that those left still cover as much as asked for; none if even all do not.
func mannWhitneyCut(n, m int, coverage float64) (cut int, reached float64) {
	ways := rankSums(n, m)
	total := 0.0
	for _, w := range ways {
		total += w
	}
	tail := ways[0] / total // all of one side above all of the other
	reached = 1 - 2*tail
	for next := 1; next < len(ways)/2; next++ {
		tail += ways[next] / total
		if 1-2*tail < coverage {
			break
		}
		cut, reached = next, 1-2*tail
	}
	return cut, max(reached, 0)
}

// rankSums counts, for each value of the Mann-Whitney statistic, the orders of n and
// m samples that give it.
func rankSums(n, m int) []float64 {
	// ways[j][u]: of the i samples so far and j of the other side, by recursion on
	// which of the two has the largest.
	ways := make([][]float64, m+1)
	for j := range ways {
		ways[j] = []float64{1}
	}
	for i := 1; i <= n; i++ {
		next := make([][]float64, m+1)
		next[0] = []float64{1}
		for j := 1; j <= m; j++ {
			next[j] = make([]float64, i*j+1)
			for u, w := range ways[j] { // the largest is of the first side: above all j
				next[j][u+j] += w
			}
			for u, w := range next[j-1] {
				next[j][u] += w
			}
		}
		ways = next
	}
	return ways[m]
}
