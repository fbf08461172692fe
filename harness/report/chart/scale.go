package chart

import (
	"math"
	"strconv"
)

// Axis is one direction of a plot.
type Axis struct {
	Label string // what it is, with the unit
	Log   bool
	// Min and Max are the ends; if they are equal, the points and Ticks decide.
	Min, Max float64
	// Ticks are the marks; nil: some are chosen.
	Ticks []Tick
	// Format writes a chosen tick; nil: as short as the number is.
	Format func(float64) string
}

// Tick is a mark on an axis.
type Tick struct {
	At    float64
	Label string
}

// scale maps values to places between from and to.
type scale struct {
	log      bool
	low      float64 // of values; their logarithm if log
	high     float64
	from, to float64
}

// hair is what rounding may add to a number of steps.
const hair = 1e-9

// wantedTicks is about how many ticks are chosen.
const wantedTicks = 5

// fit fixes the ends of the axis and its ticks. values are all that must be seen.
func (a Axis) fit(values []float64) (low, high float64, ticks []Tick) {
	low, high = a.Min, a.Max
	if low == high {
		low, high = a.extent(values)
	}
	if a.Ticks != nil {
		return low, high, a.Ticks
	}
	if a.Log {
		low, high = a.wholeLog(low, high)
		return low, high, a.logTicks(low, high)
	}
	step := niceStep((high - low) / wantedTicks)
	if a.Min == a.Max {
		low, high = math.Floor(low/step)*step, math.Ceil(high/step)*step
	}
	for i := math.Ceil(low/step - hair); i*step <= high+hair*step; i++ {
		ticks = append(ticks, a.tick(i*step))
	}
	return low, high, ticks
}

// extent is where the finite values lie; a linear axis begins at zero.
func (a Axis) extent(values []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if a.shows(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	switch {
	case low > high:
		return 1, 10 // nothing to show
	case a.Log:
		return low, high
	}
	if low > -negligible*high {
		low = 0
	}
	if low == high {
		high = low + 1
	}
	return low, high
}

// negligible is the share of the axis that what lies below zero may have without being
// shown: a line through noisy points begins there.
const negligible = 0.03

func (a Axis) shows(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!a.Log || v > 0)
}

// wholeLog widens the ends to 1, 2 or 5 times a power of ten.
func (a Axis) wholeLog(low, high float64) (float64, float64) {
	steps := logSteps(low/10, high*10)
	below, above := steps[0], steps[len(steps)-1]
	for _, s := range steps {
		if s <= low*(1+1e-9) {
			below = s
		}
	}
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i] >= high*(1-1e-9) {
			above = steps[i]
		}
	}
	if below == above {
		above *= 2
	}
	return below, above
}

// logSteps are 1, 2 and 5 times the powers of ten from low to high.
func logSteps(low, high float64) []float64 {
	var steps []float64
	for power := math.Floor(math.Log10(low)); power <= math.Ceil(math.Log10(high)); power++ {
		for _, m := range []float64{1, 2, 5} {
			steps = append(steps, m*math.Pow(10, power))
		}
	}
	return steps
}

// logTicks marks 1, 2 and 5 in each decade, or only the decades where there are many.
func (a Axis) logTicks(low, high float64) []Tick {
	const few = 2.5 // decades
	var ticks []Tick
	for i, s := range logSteps(low, high) {
		isDecade := i%3 == 0
		if s < low*(1-1e-9) || s > high*(1+1e-9) || (!isDecade && math.Log10(high/low) > few) {
			continue
		}
		ticks = append(ticks, a.tick(s))
	}
	return ticks
}

func (a Axis) tick(at float64) Tick {
	format := a.Format
	if format == nil {
		format = plain
	}
	at = rounded(at) + 0 // no zero with a sign
	return Tick{at, format(at)}
}

func plain(v float64) string { return strconv.FormatFloat(rounded(v), 'f', -1, 64) }

// rounded takes away what adding steps has left behind the digits that count.
func rounded(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 12, 64), 64)
	if err != nil {
		return v
	}
	return r
}

// niceStep is 1, 2 or 5 times a power of ten, not below the step.
func niceStep(step float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(step)))
	for _, m := range []float64{1, 2, 5} {
		if step <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

func newScale(a Axis, low, high, from, to float64) scale {
	s := scale{a.Log, low, high, from, to}
	if a.Log {
		s.low, s.high = math.Log(low), math.Log(high)
	}
	return s
}

// place is where the value is; what lies outside is at the end.
func (s scale) place(v float64) float64 {
	if s.log {
		v = math.Log(v)
	}
	share := (v - s.low) / (s.high - s.low)
	return s.from + min(max(share, 0), 1)*(s.to-s.from)
}
