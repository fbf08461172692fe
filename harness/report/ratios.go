package report

import (
	"slices"

	"chatmonitor/harness/verdict"
)

// Ratio compares a figure with the base's in the same run.
type Ratio struct {
	Base  string   `json:"base"`
	Value *float64 `json:"value"` // null: there is none, see unavailable
	Min   *float64 `json:"min,omitempty"`
	Max   *float64 `json:"max,omitempty"`
	// Interval is of the median of the paired ratios, where there are rounds enough.
	Interval *Interval `json:"interval,omitempty"`
	Samples  []float64 `json:"samples,omitempty"` // of the paired rounds; none: the two figures were divided
	Valid    bool      `json:"valid"`
	// Unavailable says why there is no value.
	Unavailable string `json:"unavailable,omitempty"`
}

// base is the variant that ratios divide by; runs of before there was a choice
// divide by the first.
func (r *Run) base() string {
	switch {
	case r.Configuration.Base != "":
		return r.Configuration.Base
	case len(r.Configuration.Variants) > 0:
		return r.Configuration.Variants[0].Name
	}
	return ""
}

func (r *Run) deriveRatios() {
	base := r.base()
	for i := range r.Figures {
		f := &r.Figures[i]
		if of := r.Figure(base, f.Scenario, f.Name); f.Variant != base && f.Value != nil && of != nil && of.Value != nil {
			f.Ratio = f.over(of)
		}
	}
}

// over divides round by round where both have rounds: what drifts over a run hits
// the two of a round alike. A slope is divided by the slope.
func (f *Figure) over(base *Figure) *Ratio {
	out := &Ratio{Base: base.Variant, Valid: f.Valid && base.Valid}
	if *base.Min <= 0 {
		out.Unavailable = "the base's figure can't be told from zero"
		return out
	}
	if len(f.Points) == 0 {
		paired := verdict.PairedRatios(inSameRounds(f, base))
		if s := verdict.Summarize(paired); s.Count > 1 {
			out.Value, out.Min, out.Max, out.Interval, out.Samples = &s.Median, &s.Min, &s.Max, intervalOf(paired), paired
			return out
		}
	}
	value := *f.Value / *base.Value
	out.Value = &value
	return out
}

// inSameRounds returns the samples of the rounds that both have.
func inSameRounds(a, b *Figure) (as, bs []float64) {
	for i, round := range a.Rounds {
		if j := slices.Index(b.Rounds, round); j >= 0 {
			as, bs = append(as, a.Samples[i]), append(bs, b.Samples[j])
		}
	}
	return as, bs
}
