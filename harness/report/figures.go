package report

import (
	"fmt"
	"math"
	"slices"

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
	RequestServiceP50  = "request_service_p50_ns"
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
