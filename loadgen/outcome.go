package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"chatmonitor/loadgen/sample"
)

// maxTexts bounds how many different errors are told apart.
const maxTexts = 32

func countText(counts map[string]int, text string) {
	if _, known := counts[text]; !known && len(counts) >= maxTexts {
		text = "other"
	}
	counts[text]++
}

// commonest gives the text that was counted most often.
func commonest(counts map[string]int) string {
	best := "no error"
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		if counts[text] > counts[best] {
			best = text
		}
	}
	return best
}

// faults counts the server's wrong answers, other than missing and repeated deliveries.
type faults struct {
	mu     sync.Mutex
	counts map[string]int
}

func newFaults() *faults { return &faults{counts: map[string]int{}} }

func (f *faults) add(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	countText(f.counts, text)
}

// connections is the account of connections.
type connections struct {
	Asked          int            `json:"asked"`
	Held           int            `json:"held"`
	Failed         int            `json:"failed"`
	Dropped        int            `json:"dropped"`
	ConnectSeconds float64        `json:"connect_seconds"`
	Errors         map[string]int `json:"errors"`
}

// records is the account of records and of the deliveries that they cause.
type records struct {
	Asked              int `json:"asked"`
	Produced           int `json:"produced"`
	Acknowledged       int `json:"acknowledged"`
	DeliveriesExpected int `json:"deliveries_expected"`
	Deliveries         int `json:"deliveries"`
	Lost               int `json:"lost"`
	Duplicated         int `json:"duplicated"`
	Wrong              int `json:"wrong"`
	Reordered          int `json:"reordered"`
}

// rate is the pace that was asked for and the one that was kept.
type rate struct {
	AskedPerSecond    float64 `json:"asked_per_second"`
	AchievedPerSecond float64 `json:"achieved_per_second"`
}

// usage is what this process took.
type usage struct {
	RSSBytes           int64   `json:"rss_bytes"`
	BytesPerConnection int64   `json:"bytes_per_connection"`
	CPUSeconds         float64 `json:"cpu_seconds"`
	Goroutines         int     `json:"goroutines"`
}

// Names of the histograms.
const (
	response = "response" // due to received
	service  = "service"  // sent to received
	lag      = "lag"      // due to sent
)

// outcome is everything that was measured and counted, before it is summed up.
type outcome struct {
	scenario    string
	url         string
	connections connections
	records     *records
	rate        *rate
	histograms  map[string]*sample.Histogram
	faults      map[string]int
	troubles    []string // of the tool or the machine
	self        usage
}

const resultSchema = 1

// result is what is printed; its JSON form is the contract with other programs.
type result struct {
	Schema         int                       `json:"schema"`
	Scenario       string                    `json:"scenario"`
	URL            string                    `json:"url"`
	Connections    connections               `json:"connections"`
	Records        *records                  `json:"records,omitempty"`
	Rate           *rate                     `json:"rate,omitempty"`
	Latency        map[string]sample.Summary `json:"latency,omitempty"`
	Self           usage                     `json:"self"`
	Valid          bool                      `json:"valid"`
	InvalidBecause []string                  `json:"invalid_because"`
	WrongBecause   []string                  `json:"wrong_because"`
}

func (o *outcome) result() *result {
	r := &result{
		Schema:      resultSchema,
		Scenario:    o.scenario,
		URL:         o.url,
		Connections: o.connections,
		Records:     o.records,
		Rate:        o.rate,
		Self:        o.self,
	}
	if len(o.histograms) > 0 {
		r.Latency = map[string]sample.Summary{}
	}
	for name, histogram := range o.histograms {
		r.Latency[name] = histogram.Summary()
	}
	r.InvalidBecause = append(o.invalidities(r.Latency), o.troubles...)
	r.WrongBecause = o.wrongs()
	r.Valid = len(r.InvalidBecause) == 0
	return r
}

const (
	maxLagShare    = 0.10      // of the response time, both at p99
	tolerableLagNs = 1_000_000 // below this, lag never counts
	minRateShare   = 0.995
)

// invalidities tells why the figures must not be used, if so.
func (o *outcome) invalidities(latency map[string]sample.Summary) []string {
	found := []string{}
	if n := o.connections.Failed; n > 0 {
		found = append(found, fmt.Sprintf("%d of %d connections did not come up: %s", n, o.connections.Asked, commonest(o.connections.Errors)))
	}
	if n := o.connections.Dropped; n > 0 {
		found = append(found, fmt.Sprintf("%d of %d connections dropped: %s", n, o.connections.Held, commonest(o.connections.Errors)))
	}
	if r := o.rate; r != nil && r.AchievedPerSecond < minRateShare*r.AskedPerSecond {
		found = append(found, fmt.Sprintf("the rate was %.2f/s instead of %.2f/s", r.AchievedPerSecond, r.AskedPerSecond))
	}
	if lagP99, responseP99 := latency[lag].P99Ns, latency[response].P99Ns; lagP99 > tolerableLagNs &&
		float64(lagP99) > maxLagShare*float64(responseP99) {
		found = append(found, fmt.Sprintf("the sender lagged: %s at p99, with a response time of %s",
			milliseconds(lagP99), milliseconds(responseP99)))
	}
	for _, name := range slices.Sorted(maps.Keys(o.histograms)) {
		if n := o.histograms[name].Clamped(); n > 0 {
			found = append(found, fmt.Sprintf("%d values of %s lie outside of what is counted", n, name))
		}
	}
	return append(found, o.records.invalidities()...)
}

func (r *records) invalidities() []string {
	switch {
	case r == nil:
		return nil
	case r.Acknowledged < r.Asked:
		return []string{fmt.Sprintf("Kafka acknowledged %d of %d records", r.Acknowledged, r.Asked)}
	case r.DeliveriesExpected == 0:
		return []string{"no delivery was expected"}
	}
	return nil
}

// wrongs tells what the server did wrong, if anything.
func (o *outcome) wrongs() []string {
	found := []string{}
	if r := o.records; r != nil {
		for _, kind := range []struct {
			count int
			name  string
		}{{r.Lost, "lost"}, {r.Duplicated, "duplicated"}, {r.Wrong, "wrong"}, {r.Reordered, "reordered"}} {
			if kind.count > 0 {
				found = append(found, fmt.Sprintf("%d of %d deliveries %s", kind.count, r.DeliveriesExpected, kind.name))
			}
		}
	}
	for _, text := range slices.Sorted(maps.Keys(o.faults)) {
		found = append(found, fmt.Sprintf("%s (%d times)", text, o.faults[text]))
	}
	return found
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
