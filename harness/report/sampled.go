package report

import (
	"slices"

	"chatmonitor/harness/verdict"
)

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
		{name: RequestServiceP50, of: func(r *LoadgenResult) float64 { return r.Latency.Service.P50Ns }},
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
