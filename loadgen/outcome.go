package main

import (
	"iter"
	"maps"
	"slices"
	"sync"

	"chatmonitor/loadgen/pace"
	"chatmonitor/loadgen/sample"
)

// maxTexts bounds how many different errors are told apart.
const maxTexts = 32

func countText(counts map[string]int, text string) { addText(counts, text, 1) }

func addText(counts map[string]int, text string, n int) {
	if _, known := counts[text]; !known && len(counts) >= maxTexts {
		text = "other"
	}
	counts[text] += n
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

func (f *faults) texts() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return timesEach(f.counts)
}

// connections is the account of the connections that are to be held.
type connections struct {
	Asked          int            `json:"asked"`
	Held           int            `json:"held"`
	Failed         int            `json:"failed"`
	Dropped        int            `json:"dropped"`
	PingsAnswered  int            `json:"pings_answered"` // of the server's own
	ConnectSeconds float64        `json:"connect_seconds"`
	Ramp           []rampPoint    `json:"ramp,omitempty"` // how they came up; of a run in one process
	Errors         map[string]int `json:"errors"`
}

// rampPoint is how many connections were ready after how long.
type rampPoint struct {
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"`
}

func (c *connections) counts() []*int {
	return []*int{&c.Asked, &c.Held, &c.Failed, &c.Dropped, &c.PingsAnswered}
}

func (c *connections) merge(from connections) {
	addCounts(c, &from)
	c.ConnectSeconds = max(c.ConnectSeconds, from.ConnectSeconds)
	c.Ramp = nil // the points of several processes lie at different times
	c.Errors = mergeTexts(c.Errors, from.Errors)
}

func mergeTexts(into, from map[string]int) map[string]int {
	if into == nil {
		into = map[string]int{}
	}
	for text, n := range from {
		addText(into, text, n)
	}
	return into
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

func (r *records) counts() []*int {
	return []*int{&r.Asked, &r.Produced, &r.Acknowledged, &r.DeliveriesExpected, &r.Deliveries, &r.Lost, &r.Duplicated, &r.Wrong, &r.Reordered}
}

// requests is the account of requests and their answers.
type requests struct {
	Asked      int `json:"asked"`
	Sent       int `json:"sent"`
	Answered   int `json:"answered"`
	Lost       int `json:"lost"`
	Duplicated int `json:"duplicated"`
	Wrong      int `json:"wrong"`
}

func (r *requests) counts() []*int {
	return []*int{&r.Asked, &r.Sent, &r.Answered, &r.Lost, &r.Duplicated, &r.Wrong}
}

// churn is the account of connections that come and go.
type churn struct {
	Asked     int `json:"asked"`     // connects that were due
	Connected int `json:"connected"` // that came up in time
	Failed    int `json:"failed"`    // that failed, or were not up when their time was over
	Dropped   int `json:"dropped"`   // by us
	Lost      int `json:"lost"`      // by the server
}

func (c *churn) counts() []*int {
	return []*int{&c.Asked, &c.Connected, &c.Failed, &c.Dropped, &c.Lost}
}

// slowReaders is the account of connections that stopped reading.
type slowReaders struct {
	Paused         int            `json:"paused"`
	ClosedByServer int            `json:"closed_by_server"`
	Closes         map[string]int `json:"closes"`
}

func (s *slowReaders) counts() []*int { return []*int{&s.Paused, &s.ClosedByServer} }

// paced is the measured part of a stream: what was sent, from when to when.
type paced struct {
	PerSecond float64 `json:"per_second"`
	Events    int     `json:"events"`
	FromNs    int64   `json:"from_ns"`
	ToNs      int64   `json:"to_ns"`
}

func (p *paced) merge(from paced) {
	p.Events += from.Events
	p.FromNs = min(p.FromNs, from.FromNs)
	p.ToNs = max(p.ToNs, from.ToNs)
}

// usage is what loadgen itself took, all processes together.
type usage struct {
	RSSBytes           int64   `json:"rss_bytes"`
	BytesPerConnection int64   `json:"bytes_per_connection"`
	CPUSeconds         float64 `json:"cpu_seconds"`
	Goroutines         int     `json:"goroutines"`
	RealtimePacing     bool    `json:"realtime_pacing"` // sent by a realtime thread
}

// merge takes the larger of bytes per connection: the processes are alike.
func (u *usage) merge(from usage) {
	u.RSSBytes += from.RSSBytes
	u.BytesPerConnection = max(u.BytesPerConnection, from.BytesPerConnection)
	u.CPUSeconds += from.CPUSeconds
	u.Goroutines += from.Goroutines
	u.RealtimePacing = u.RealtimePacing && from.RealtimePacing
}

// Names of the histograms.
const (
	response      = "response"       // due to received
	service       = "service"        // sent to received
	lag           = "lag"            // due to sent
	prepared      = "prepared"       // a connect, due to rule set and ping answered
	firstReceiver = "first_receiver" // a record, due to the first connection that has it
	lastReceiver  = "last_receiver"  // a record, due to the last
	churned       = "connect"        // a connect during churn, due to rule set and ping answered
	churnLag      = "connect_lag"    // the same, due to begun
)

// spread is a stream's spans and what is needed to turn them into histograms.
type spread struct {
	Spans     *sample.Spans `json:"spans"`
	StartNs   int64         `json:"start_ns"`
	PerSecond float64       `json:"per_second"`
	Warmup    int           `json:"warmup"`
}

// accounts are those that a scenario keeps.
type accounts struct {
	Connections connections  `json:"connections"`
	Records     *records     `json:"records,omitempty"`
	Requests    *requests    `json:"requests,omitempty"`
	Churn       *churn       `json:"churn,omitempty"`
	Slow        *slowReaders `json:"slow,omitempty"`
}

// merge adds another process's accounts; all processes of a run keep the same.
func (a *accounts) merge(from accounts) {
	a.Connections.merge(from.Connections)
	if a.Records != nil {
		addCounts(a.Records, from.Records)
	}
	if a.Requests != nil {
		addCounts(a.Requests, from.Requests)
	}
	if a.Churn != nil {
		addCounts(a.Churn, from.Churn)
	}
	if a.Slow != nil {
		addCounts(a.Slow, from.Slow)
		a.Slow.Closes = mergeTexts(a.Slow.Closes, from.Slow.Closes)
	}
}

// account is numbers that add up.
type account interface{ counts() []*int }

func addCounts[A account](into, from A) {
	more := from.counts()
	for i, count := range into.counts() {
		*count += *more[i]
	}
}

// outcome is everything that was measured and counted, before it is summed up. Outcomes of processes merge.
type outcome struct {
	Scenario  string `json:"scenario"`
	URL       string `json:"url"`
	Processes int    `json:"processes"`
	accounts
	Paced      *paced                       `json:"paced,omitempty"`
	Histograms map[string]*sample.Histogram `json:"histograms,omitempty"`
	Spread     *spread                      `json:"spread,omitempty"`
	Series     map[int64][]byte             `json:"series,omitempty"` // packed histograms of response, by second
	Faults     map[string]int               `json:"faults,omitempty"` // of the server
	Troubles   map[string]int               `json:"troubles,omitempty"`
	Unwritten  []string                     `json:"unwritten,omitempty"` // why samples are not in their file
	Self       usage                        `json:"self"`
}

// merge adds what another process of the same run found.
func (o *outcome) merge(from *outcome) error {
	o.Processes += from.Processes
	o.accounts.merge(from.accounts)
	if o.Paced != nil {
		o.Paced.merge(*from.Paced)
	}
	for name, histogram := range from.Histograms {
		o.Histograms[name].Merge(histogram)
	}
	if o.Spread != nil {
		o.Spread.Spans.Merge(from.Spread.Spans)
	}
	o.Faults = mergeTexts(o.Faults, from.Faults)
	o.Troubles = mergeTexts(o.Troubles, from.Troubles)
	o.Unwritten = append(o.Unwritten, from.Unwritten...)
	o.Self.merge(from.Self)
	return o.mergeSeries(from.Series)
}

func (o *outcome) mergeSeries(from map[int64][]byte) error {
	for number, packed := range from {
		merged, err := sample.MergePacked(o.Series[number], packed)
		if err != nil {
			return err
		}
		o.Series[number] = merged
	}
	return nil
}

// allHistograms gives those that were kept and those that follow from the spans.
func (o *outcome) allHistograms() iter.Seq2[string, *sample.Histogram] {
	all := maps.Clone(o.Histograms)
	if s := o.Spread; s != nil {
		dueNs := func(n int) int64 { return pace.Due(s.StartNs, n, s.PerSecond) }
		all[firstReceiver], all[lastReceiver] = s.Spans.Histograms(s.Warmup, dueNs)
	}
	return maps.All(all)
}
