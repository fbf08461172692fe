package report

import (
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Names of the load generator's histograms.
const (
	responseTime = "response"
	lastReceiver = "last_receiver"
)

// shownLatencies are those whose whole distribution is drawn and printed.
var shownLatencies = []struct{ scenario, latency, title, fromTo string }{
	{pushScenario, responseTime, "Push", "when a record was due to when its client had it"},
	{broadcastScenario, lastReceiver, "Broadcast, the last receiver", "when a record was due to when the last of its receivers had it"},
	{requestScenario, responseTime, "Request", "when a message was due to when it had come back"},
	{connectScenario, responseTime, "Connect", "when a client was due to come to when it was upgraded"},
	{churnScenario, responseTime, "Push while others come and go", "when a record was due to when a client that stays had it"},
	{slowScenario, responseTime, "Push beside readers that stopped", "when a record was due to when a client that reads had it"},
}

// distribution is one latency of one variant: all rounds together, and each alone.
type distribution struct {
	variant string
	all     *hdrhistogram.Histogram
	rounds  []*hdrhistogram.Histogram
}

// distributions are those of a scenario, in the order of the variants; a variant
// without histograms is left out.
func (r *Run) distributions(scenario, latency string) ([]distribution, error) {
	var found []distribution
	for _, variant := range r.Configuration.Variants {
		d := distribution{variant: variant.Name}
		for _, m := range r.measured(variant.Name, scenario) {
			h, err := m.histogram(latency)
			if err != nil {
				return nil, err
			}
			if h != nil {
				d.add(h)
			}
		}
		if d.all != nil && d.all.TotalCount() > 0 {
			found = append(found, d)
		}
	}
	return found, nil
}

func (d *distribution) add(h *hdrhistogram.Histogram) {
	if d.all == nil {
		d.all = hdrhistogram.New(h.LowestTrackableValue(), h.HighestTrackableValue(), int(h.SignificantFigures()))
	}
	d.all.Merge(h) // drops what lies beyond its range: they are alike
	d.rounds = append(d.rounds, h)
}

// histogram is nil if there is none.
func (m Measurement) histogram(latency string) (*hdrhistogram.Histogram, error) {
	result, err := m.Result()
	if err != nil || result == nil {
		return nil, err
	}
	packed, known := result.Histograms[latency]
	if !known {
		return nil, nil
	}
	h, err := hdrhistogram.Decode([]byte(packed.HDR))
	if err != nil {
		return nil, fmt.Errorf("report: histogram %q of %s, %s, round %d: %w", latency, m.Variant, m.Scenario, m.Round, err)
	}
	return h, nil
}

// At is the value below which the share lies, in nanoseconds.
func valueAt(h *hdrhistogram.Histogram, share float64) float64 {
	return float64(h.ValueAtQuantile(share * 100))
}

// rangeAt is the smallest and the largest of the rounds, of those that have a sample
// beyond the share; the two are equal if fewer than two have.
func (d distribution) rangeAt(share float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	known := 0
	for _, h := range d.rounds {
		if float64(h.TotalCount())*(1-share) < 1-1e-9 {
			continue
		}
		known++
		v := valueAt(h, share)
		low, high = min(low, v), max(high, v)
	}
	if known < 2 {
		return 0, 0
	}
	return low, high
}

// trustedBeyond is how many samples must lie beyond a percentile for it to be drawn
// and printed without a caution.
const trustedBeyond = 10

func isTrusted(h *hdrhistogram.Histogram, share float64) bool {
	return float64(h.TotalCount())*(1-share) >= trustedBeyond-1e-9
}
