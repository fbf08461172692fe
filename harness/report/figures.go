package report

import (
	"fmt"
	"math"
	"slices"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/verdict"
)

// Names of figures. The unit is part of the name.
const (
	BaselineBytes      = "resident_bytes_unconnected"
	ResidentBytes      = "resident_bytes_per_connection"
	ResidentBytesGC    = "resident_bytes_per_connection_after_gc"
	LiveHeapBytesGC    = "go_heap_live_bytes_per_connection_after_gc"
	StackBytesGC       = "go_stack_bytes_per_connection_after_gc"
	GoroutinesEach     = "goroutines_per_connection"
	KernelBytes        = "kernel_bytes_per_connection"
	TotalBytes         = "resident_and_kernel_bytes_per_connection"
	ConnectionsHeld    = "connections_held"
	ConnectPerSecond   = "connects_per_second"
	PingCPU            = "ping_cpu_ns"
	PushP50            = "push_p50_ns"
	PushP90            = "push_p90_ns"
	PushP99            = "push_p99_ns"
	PushP999           = "push_p999_ns"
	PushServiceP50     = "push_service_p50_ns"
	PushServiceP99     = "push_service_p99_ns"
	FirstReceiverP50   = "first_receiver_p50_ns"
	FirstReceiverP90   = "first_receiver_p90_ns"
	LastReceiverP50    = "last_receiver_p50_ns"
	LastReceiverP90    = "last_receiver_p90_ns"
	LastReceiverMax    = "last_receiver_max_ns"
	DeliveriesPerSec   = "deliveries_per_second"
	RequestP50         = "request_p50_ns"
	RequestP99         = "request_p99_ns"
	UpgradeP50         = "upgrade_p50_ns"
	UpgradeP99         = "upgrade_p99_ns"
	PreparedP50        = "prepared_p50_ns"
	PreparedP99        = "prepared_p99_ns"
	NewcomerP50        = "newcomer_prepared_p50_ns"
	NewcomerP99        = "newcomer_prepared_p99_ns"
	SlowPaused         = "slow_readers"
	SlowClosed         = "slow_readers_closed"
	LoadgenBytes       = "loadgen_bytes_per_connection"
	LoadgenCPUSeconds  = "loadgen_cpu_seconds"
	LoadgenLagP99      = "loadgen_lag_p99_ns"
	RecordsLost        = "records_lost"
	RecordsUnsound     = "records_duplicated_wrong_or_reordered"
	DeliveriesExpected = "deliveries_expected"
)

// Figure is one number that is printed, and what it comes from.
type Figure struct {
	Variant     string          `json:"variant"`
	Scenario    string          `json:"scenario"`
	Name        string          `json:"name"`
	Value       *float64        `json:"value"` // null: there is none, see unavailable
	Min         *float64        `json:"min"`
	Max         *float64        `json:"max"`
	Interval    *Interval       `json:"interval,omitempty"` // where there are rounds enough
	Method      string          `json:"method"`
	Samples     []float64       `json:"samples,omitempty"`
	Rounds      []int           `json:"rounds,omitempty"`      // of the samples
	Connections []int           `json:"connections,omitempty"` // of the samples
	Points      []verdict.Point `json:"points,omitempty"`      // connections, bytes: what a slope is taken through
	Ratio       *Ratio          `json:"ratio,omitempty"`       // to the run's base
	Valid       bool            `json:"valid"`
	Invalid     []string        `json:"invalid_because,omitempty"`
	Unavailable []string        `json:"unavailable,omitempty"` // why samples are missing
}

// Interval is where the median lies, by a bootstrap of the rounds.
type Interval struct {
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Coverage float64 `json:"coverage"` // how often such an interval is meant to hold it
}

// intervalOf is the samples' median's; nil: there are too few.
func intervalOf(samples []float64) *Interval {
	i, ok := verdict.BootstrapMedian(samples, wantedCoverage)
	if !ok {
		return nil
	}
	return &Interval{Low: i.Low, High: i.High, Coverage: i.Coverage}
}

// spread is what is printed beside a value: its interval, else the smallest and the
// largest sample.
func spread(interval *Interval, least, most float64) (low, high float64) {
	if interval != nil {
		return interval.Low, interval.High
	}
	return least, most
}

// sampled is a figure with one sample for each measurement.
type sampled struct {
	name string
	of   func(*LoadgenResult) float64
	sum  bool // the samples add up; else their median is the figure
}

func heldConnections(r *LoadgenResult) float64 { return float64(r.Connections.Held) }

func connectPerSecond(r *LoadgenResult) float64 {
	return float64(r.Connections.Held) / r.Connections.ConnectSeconds
}

// deliveriesPerSecond is how fast a record spreads: its receivers by the median of
// the time from when it was due to when the last of them had it. Kafka's share of
// that time is in it.
func deliveriesPerSecond(r *LoadgenResult) float64 {
	return float64(r.Connections.Held) * 1e9 / r.Latency.LastReceiver.P50Ns
}

// toolFigures are what the load generator itself took, in every scenario: the
// machine is shared with it.
var toolFigures = []sampled{
	{name: LoadgenBytes, of: func(r *LoadgenResult) float64 { return r.Self.BytesPerConnection }},
	{name: LoadgenCPUSeconds, of: func(r *LoadgenResult) float64 { return r.Self.CPUSeconds }},
}

var lagFigure = sampled{name: LoadgenLagP99, of: func(r *LoadgenResult) float64 { return r.Latency.Lag.P99Ns }}

// accountFigures count deliveries, and answers.
var accountFigures = []sampled{
	{name: DeliveriesExpected, sum: true, of: func(r *LoadgenResult) float64 { return float64(r.Expected()) }},
	{name: RecordsLost, sum: true, of: func(r *LoadgenResult) float64 { return float64(r.Lost()) }},
	{name: RecordsUnsound, sum: true, of: func(r *LoadgenResult) float64 { return float64(r.Unsound()) }},
}

// timedFigures are what the scenarios with events show.
var timedFigures = []struct {
	scenario string
	figures  []sampled
}{
	{pushScenario, pushFigures},
	{broadcastScenario, broadcastFigures},
	{requestScenario, []sampled{
		{name: RequestP50, of: func(r *LoadgenResult) float64 { return r.Latency.Response.P50Ns }},
		{name: RequestP99, of: func(r *LoadgenResult) float64 { return r.Latency.Response.P99Ns }},
	}},
	{connectScenario, []sampled{
		{name: ConnectionsHeld, of: heldConnections},
		{name: UpgradeP50, of: func(r *LoadgenResult) float64 { return r.Latency.Response.P50Ns }},
		{name: UpgradeP99, of: func(r *LoadgenResult) float64 { return r.Latency.Response.P99Ns }},
		{name: PreparedP50, of: func(r *LoadgenResult) float64 { return r.Latency.Prepared.P50Ns }},
		{name: PreparedP99, of: func(r *LoadgenResult) float64 { return r.Latency.Prepared.P99Ns }},
	}},
	{churnScenario, slices.Concat(pushFigures, []sampled{
		{name: NewcomerP50, of: func(r *LoadgenResult) float64 { return r.Latency.Connect.P50Ns }},
		{name: NewcomerP99, of: func(r *LoadgenResult) float64 { return r.Latency.Connect.P99Ns }},
	})},
	{slowScenario, slices.Concat(pushFigures, []sampled{
		{name: SlowPaused, of: func(r *LoadgenResult) float64 { return float64(r.Slow.Paused) }},
		{name: SlowClosed, of: func(r *LoadgenResult) float64 { return float64(r.Slow.ClosedByServer) }},
	})},
}

// pushFigures are read from the results of the push scenario. Push latency is the
// response time: from when the record was due to when the client had it.
var pushFigures = []sampled{
	{name: ConnectionsHeld, of: heldConnections},
	{name: ConnectPerSecond, of: connectPerSecond},
	{name: PushP50, of: func(r *LoadgenResult) float64 { return r.Latency.Response.P50Ns }},
	{name: PushP90, of: func(r *LoadgenResult) float64 { return r.Latency.Response.P90Ns }},
	{name: PushP99, of: func(r *LoadgenResult) float64 { return r.Latency.Response.P99Ns }},
	{name: PushP999, of: func(r *LoadgenResult) float64 { return r.Latency.Response.P999Ns }},
	{name: PushServiceP50, of: func(r *LoadgenResult) float64 { return r.Latency.Service.P50Ns }},
	{name: PushServiceP99, of: func(r *LoadgenResult) float64 { return r.Latency.Service.P99Ns }},
}

// broadcastFigures are read from the results of the broadcast scenario. Their times
// begin when the record was due, too.
var broadcastFigures = []sampled{
	{name: ConnectionsHeld, of: heldConnections},
	{name: FirstReceiverP50, of: func(r *LoadgenResult) float64 { return r.Latency.FirstReceiver.P50Ns }},
	{name: FirstReceiverP90, of: func(r *LoadgenResult) float64 { return r.Latency.FirstReceiver.P90Ns }},
	{name: LastReceiverP50, of: func(r *LoadgenResult) float64 { return r.Latency.LastReceiver.P50Ns }},
	{name: LastReceiverP90, of: func(r *LoadgenResult) float64 { return r.Latency.LastReceiver.P90Ns }},
	{name: LastReceiverMax, of: func(r *LoadgenResult) float64 { return r.Latency.LastReceiver.MaxNs }},
	{name: DeliveriesPerSec, of: deliveriesPerSecond},
}

// idleFigures are read from the results of the idle scenario, at the top of the
// ladder.
var idleFigures = []sampled{
	{name: ConnectionsHeld, of: heldConnections},
	{name: ConnectPerSecond, of: connectPerSecond},
}

// sloped is a figure per connection: the slope of something read, bytes for the most part, over the number
// of connections, each point less its own server's value without connections.
type sloped struct {
	name    string
	afterGC bool
	of      func(probe.Snapshot) probe.Reading
	// sound says why the difference of two snapshots must not be used; nil: it may.
	sound func(before, after probe.Snapshot) error
}

func residentBytes(s probe.Snapshot) probe.Reading { return s.Process.RSSBytes }
func slabBytes(s probe.Snapshot) probe.Reading     { return s.Kernel.SlabBytes }

// liveHeapMetric is runtime/metrics' name of what lives in the heap.
const liveHeapMetric = "/memory/classes/heap/objects:bytes"

var slopeFigures = []sloped{
	{ResidentBytes, false, residentBytes, nil},
	{ResidentBytesGC, true, residentBytes, nil},
	{LiveHeapBytesGC, true, goMetric(liveHeapMetric), nil},
	{StackBytesGC, true, goMetric("/memory/classes/heap/stacks:bytes"), nil},
	{GoroutinesEach, true, goMetric("/sched/goroutines:goroutines"), nil},
	{KernelBytes, false, slabBytes, undisturbed},
	{TotalBytes, false, func(s probe.Snapshot) probe.Reading { return s.Process.RSSBytes.Plus(s.Kernel.SlabBytes) }, undisturbed},
}

// strangeShare of the sockets may come from others before the kernel's share, which
// is read for the whole machine, is not used.
const strangeShare = 0.02

// undisturbed checks that between two snapshots there came two sockets, the ends of
// a loopback connection, for each connection.
func undisturbed(before, after probe.Snapshot) error {
	came, known := after.Kernel.TCPInUse.Minus(before.Kernel.TCPInUse).Value()
	if !known {
		return nil // then there is nothing to check with
	}
	ours := 2 * float64(after.Connections-before.Connections)
	if math.Abs(came-ours) > strangeShare*ours+strangeSockets {
		return fmt.Errorf("the machine had %.0f more sockets, where %.0f were expected: other programs opened or closed some meanwhile", came, ours)
	}
	return nil
}

// strangeSockets is how many sockets of others never matter.
const strangeSockets = 10

func goMetric(name string) func(probe.Snapshot) probe.Reading {
	return func(s probe.Snapshot) probe.Reading {
		if value, known := s.Go[name]; known {
			return probe.Known(value)
		}
		if s.GoUnavailable != "" {
			return probe.Unavailable(fmt.Errorf("%s", s.GoUnavailable))
		}
		return probe.Unavailable(fmt.Errorf("the server reports no %s", name))
	}
}

// Names of the scenarios and moments that figures are derived from.
const (
	idleScenario      = "idle"
	pingScenario      = "ping"
	pushScenario      = "push"
	broadcastScenario = "broadcast"
	requestScenario   = "request"
	connectScenario   = "connect"
	churnScenario     = "churn"
	slowScenario      = "slow"
	momentReady       = "ready"
	momentRested      = "rested"
	momentHeld        = "held"
	momentPinged      = "pinged"
)

// DeriveFigures computes every figure from the measurements and the failures; of climbs
// the failures too, from their ends.
func (r *Run) DeriveFigures() {
	r.Figures = []Figure{}
	if r.Million != nil {
		r.Failures = r.Million.failures()
	}
	for _, variant := range r.Configuration.Variants {
		r.deriveIdle(variant.Name)
		r.derivePing(variant.Name)
		for _, timed := range timedFigures {
			r.deriveTimed(variant.Name, timed.scenario, timed.figures)
		}
	}
	r.deriveRatios()
	if r.Million != nil && !r.Million.TimesComparable {
		r.markTimes()
	}
}

func (r *Run) deriveIdle(variant string) {
	idle := r.measured(variant, idleScenario)
	if len(idle) == 0 {
		return
	}
	for _, s := range slopeFigures {
		r.Figures = append(r.Figures, r.slope(variant, idle, s))
	}
	r.Figures = append(r.Figures, r.baseline(variant, idle))
	r.deriveSampled(variant, idleScenario, highest(idle), idleFigures, toolFigures)
}

func (r *Run) deriveTimed(variant, scenario string, figures []sampled) {
	if timed := r.measured(variant, scenario); len(timed) > 0 {
		r.deriveSampled(variant, scenario, timed, figures, accountFigures, toolFigures, []sampled{lagFigure})
	}
}

func (r *Run) deriveSampled(variant, scenario string, from []Measurement, tables ...[]sampled) {
	for _, s := range slices.Concat(tables...) {
		r.Figures = append(r.Figures, r.sample(variant, scenario, from, s))
	}
}

func (r *Run) measured(variant, scenario string) []Measurement {
	var found []Measurement
	for _, m := range r.Measurements {
		if m.Variant == variant && m.Scenario == scenario {
			found = append(found, m)
		}
	}
	return found
}

// highest are the measurements with the most connections.
func highest(all []Measurement) []Measurement {
	most := 0
	for _, m := range all {
		most = max(most, m.Connections)
	}
	return slices.DeleteFunc(slices.Clone(all), func(m Measurement) bool { return m.Connections < most })
}

// standing are the figures that stand even if the load generator could not keep its
// schedule: counts, and what it says of itself.
var standing = []string{ConnectionsHeld, DeliveriesExpected, RecordsLost, RecordsUnsound, LoadgenBytes, LoadgenCPUSeconds, LoadgenLagP99}

// newFigure has no value yet. Whatever went wrong in the scenario marks it.
func (r *Run) newFigure(variant, scenario, name string) Figure {
	f := Figure{Variant: variant, Scenario: scenario, Name: name, Valid: true}
	for _, failure := range r.Failures {
		if failure.Kind == KindInvalid && slices.Contains(standing, name) {
			continue
		}
		if failure.Variant == variant && failure.Scenario == scenario {
			f.Valid = false
			f.Invalid = append(f.Invalid, fmt.Sprintf("round %d %s: %s", failure.Round, failure.Kind, failure.Reason))
		}
	}
	return f
}

func (r *Run) sample(variant, scenario string, from []Measurement, s sampled) Figure {
	f := r.newFigure(variant, scenario, s.name)
	for _, m := range from {
		result, err := m.Result()
		switch {
		case err != nil:
			f.miss(m, err.Error())
		case result == nil:
			f.miss(m, "the load generator gave no result")
		default:
			f.add(m, s.of(result))
		}
	}
	f.Method = "median of the rounds"
	summary := verdict.Summarize(f.Samples)
	if !s.sum {
		f.Interval = intervalOf(f.Samples)
	}
	if s.sum && len(f.Samples) > 0 {
		f.Method, summary.Median = "sum of the rounds", 0
		for _, sample := range f.Samples {
			summary.Median += sample
		}
	}
	f.set(summary)
	return f
}

func (f *Figure) add(m Measurement, sample float64) {
	if math.IsNaN(sample) || math.IsInf(sample, 0) {
		return
	}
	f.Samples = append(f.Samples, sample)
	f.Rounds = append(f.Rounds, m.Round)
	f.Connections = append(f.Connections, m.Connections)
}

func (f *Figure) miss(m Measurement, reason string) {
	f.Unavailable = append(f.Unavailable,
		fmt.Sprintf("round %d, %d connections: %s", m.Round, m.Connections, reason))
}

// set takes the summary over; without samples there is no value.
func (f *Figure) set(s verdict.Summary) {
	if s.Count == 0 {
		return
	}
	f.Value, f.Min, f.Max = &s.Median, &s.Min, &s.Max
}

func (r *Run) slope(variant string, from []Measurement, s sloped) Figure {
	f := r.newFigure(variant, idleScenario, s.name)
	for _, m := range from {
		bytes, err := m.difference(s)
		if err != nil {
			f.miss(m, err.Error())
			continue
		}
		f.Points = append(f.Points, verdict.Point{X: float64(m.Connections), Y: bytes})
		f.add(m, bytes/float64(m.Connections))
	}
	if len(f.Points) > 0 {
		f.Points = append([]verdict.Point{{X: 0, Y: 0}}, f.Points...)
	}
	f.Method = "Theil-Sen slope over the connections, from each server's own value without any; spread: the slopes between pairs of points; samples: growth per connection of each step"
	f.set(verdict.TheilSen(f.Points))
	return f
}

// difference is what the connections added since the server was ready.
func (m Measurement) difference(s sloped) (float64, error) {
	before, err := m.snapshot(momentReady, true)
	if err != nil {
		return 0, err
	}
	after, err := m.snapshot(momentHeld, s.afterGC)
	if err != nil {
		return 0, err
	}
	if s.sound != nil {
		if err := s.sound(before, after); err != nil {
			return 0, err
		}
	}
	difference := s.of(after).Minus(s.of(before))
	if bytes, known := difference.Value(); known {
		return bytes, nil
	}
	return 0, fmt.Errorf("%s", difference.Reason())
}

func (m Measurement) snapshot(at string, afterGC bool) (probe.Snapshot, error) {
	for _, s := range m.Snapshots {
		if s.At == at && s.AfterGC == afterGC {
			return s, nil
		}
	}
	return probe.Snapshot{}, fmt.Errorf("nothing was read at the moment %q", at)
}

func (r *Run) baseline(variant string, from []Measurement) Figure {
	f := r.newFigure(variant, idleScenario, BaselineBytes)
	for _, m := range from {
		s, err := m.snapshot(momentReady, true)
		if err != nil {
			f.miss(m, err.Error())
			continue
		}
		if bytes, known := s.Process.RSSBytes.Value(); known {
			f.add(m, bytes)
		} else {
			f.miss(m, s.Process.RSSBytes.Reason())
		}
	}
	f.Method = "median of the servers, ready and after a collection"
	f.set(verdict.Summarize(f.Samples))
	return f
}

// Figure returns the figure with that name; nil if there is none.
func (r *Run) Figure(variant, scenario, name string) *Figure {
	for i := range r.Figures {
		f := &r.Figures[i]
		if f.Variant == variant && f.Scenario == scenario && f.Name == name {
			return f
		}
	}
	return nil
}
