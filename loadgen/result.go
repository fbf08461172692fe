package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"chatmonitor/loadgen/sample"
)

const resultSchema = 1

// rate is the pace that was asked for and the one that was kept.
type rate struct {
	AskedPerSecond    float64 `json:"asked_per_second"`
	AchievedPerSecond float64 `json:"achieved_per_second"`
}

// result is what is printed; its JSON form is the contract with other programs.
type result struct {
	Schema    int    `json:"schema"`
	Scenario  string `json:"scenario"`
	URL       string `json:"url"`
	Processes int    `json:"processes"`
	accounts
	Rate           *rate                        `json:"rate,omitempty"`
	Latency        map[string]sample.Summary    `json:"latency,omitempty"`
	Histograms     map[string]*sample.Histogram `json:"histograms,omitempty"` // what latency sums up
	Series         []sample.Second              `json:"series,omitempty"`     // of response, by the second of receipt
	Self           usage                        `json:"self"`
	Valid          bool                         `json:"valid"`
	InvalidBecause []string                     `json:"invalid_because"`
	WrongBecause   []string                     `json:"wrong_because"`
}

func (o *outcome) result() (*result, error) {
	series, err := sample.Unpack(o.Series)
	if err != nil {
		return nil, err
	}
	r := &result{
		Schema:    resultSchema,
		Scenario:  o.Scenario,
		URL:       o.URL,
		Processes: o.Processes,
		accounts:  o.accounts,
		Rate:      o.Paced.rate(),
		Series:    series,
		Self:      o.Self,
	}
	if len(o.Histograms) > 0 {
		r.Latency, r.Histograms = map[string]sample.Summary{}, map[string]*sample.Histogram{}
	}
	for name, histogram := range o.allHistograms() {
		r.Latency[name], r.Histograms[name] = histogram.Summary(), histogram
	}
	r.InvalidBecause = r.invalidities(o)
	r.WrongBecause = r.wrongs(o.Faults)
	r.Valid = len(r.InvalidBecause) == 0
	return r, nil
}

func (p *paced) rate() *rate {
	if p == nil {
		return nil
	}
	return &rate{AskedPerSecond: p.PerSecond, AchievedPerSecond: float64(p.Events) / time.Duration(p.ToNs-p.FromNs).Seconds()}
}

const (
	maxLagShare    = 0.10      // of the response time, both at p99
	tolerableLagNs = 1_000_000 // below this, lag never counts
	minRateShare   = 0.995
)

// invalidities tells why the figures must not be used, if so.
func (r *result) invalidities(o *outcome) []string {
	found := []string{}
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if c := r.Connections; c.Failed > 0 {
		say("%d of %d connections did not come up: %s", c.Failed, c.Asked, commonest(c.Errors))
	}
	if c := r.Connections; c.Dropped > 0 {
		say("%d of %d connections dropped: %s", c.Dropped, c.Held, commonest(c.Errors))
	}
	if r.Rate != nil && r.Rate.AchievedPerSecond < minRateShare*r.Rate.AskedPerSecond {
		say("the rate was %.2f/s instead of %.2f/s", r.Rate.AchievedPerSecond, r.Rate.AskedPerSecond)
	}
	for _, row := range []struct{ sentence, lag, response string }{
		{"the sender lagged: %s at p99, with a response time of %s", lag, response},
		{"connections of the churn were begun late: %s at p99, with a connect time of %s", churnLag, churned},
	} {
		lagNs, responseNs := r.Latency[row.lag].P99Ns, r.Latency[row.response].P99Ns
		if lagNs > tolerableLagNs && float64(lagNs) > maxLagShare*float64(responseNs) {
			say(row.sentence, milliseconds(lagNs), milliseconds(responseNs))
		}
	}
	if h, ok := r.Latency[response]; ok && h.Count == 0 {
		say("no response was measured")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Histograms)) {
		if n := o.Histograms[name].Clamped(); n > 0 {
			say("%d values of %s lie outside of what is counted", n, name)
		}
	}
	if n := r.Records; n != nil && n.Acknowledged < n.Asked {
		say("Kafka acknowledged %d of %d records", n.Acknowledged, n.Asked)
	}
	if n := r.Records; n != nil && n.DeliveriesExpected == 0 {
		say("no delivery was expected")
	}
	return append(found, timesEach(o.Troubles)...)
}

// wrongs tells what the server did wrong, if anything.
func (r *result) wrongs(faults map[string]int) []string {
	found := []string{}
	count := func(n, of int, what string) {
		if n > 0 {
			found = append(found, fmt.Sprintf("%d of %d %s", n, of, what))
		}
	}
	if n := r.Records; n != nil {
		count(n.Lost, n.DeliveriesExpected, "deliveries lost")
		count(n.Duplicated, n.DeliveriesExpected, "deliveries duplicated")
		count(n.Wrong, n.DeliveriesExpected, "deliveries wrong")
		count(n.Reordered, n.DeliveriesExpected, "deliveries reordered")
	}
	if n := r.Requests; n != nil {
		count(n.Lost, n.Sent, "answers lost")
		count(n.Duplicated, n.Sent, "answers duplicated")
		count(n.Wrong, n.Sent, "answers wrong")
	}
	return append(found, timesEach(faults)...)
}

// timesEach writes what was counted for people.
func timesEach(counts map[string]int) (texts []string) {
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		times := "once"
		if n := counts[text]; n > 1 {
			times = fmt.Sprintf("%d times", n)
		}
		texts = append(texts, fmt.Sprintf("%s (%s)", text, times))
	}
	return texts
}

func (r *result) exitCode() int {
	switch {
	case len(r.WrongBecause) > 0:
		return exitWrong
	case !r.Valid:
		return exitInvalid
	default:
		return exitFine
	}
}

func milliseconds(ns int64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.3f", float64(ns)/1e6), ".000") + " ms"
}
