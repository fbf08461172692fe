// Package scenario is the table of scenarios: which kinds of load there are, what
// each shows, how the load generator is asked for it and what is read when. It is
// data; who runs it is elsewhere.
package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Moment is a point in the life of one measurement.
type Moment string

// The moments, in the order in which they come.
const (
	Ready  Moment = "ready"  // the server is ready; nobody is connected
	Rested Moment = "rested" // some time later
	Held   Moment = "held"   // all connections are up and were answered once; the load waits
	Pinged Moment = "pinged" // some time later: only the server's own pings went to and fro
)

// Probe is one snapshot to take.
type Probe struct {
	At     Moment
	GC     bool          // after a full collection; else as the load left it
	Settle time.Duration // wait before it
}

// Scenario is one kind of load. Each measurement has a fresh server and a fresh
// load generator.
type Scenario struct {
	Name  string
	Shows string

	Events  string   // what comes at the rate; "": records
	With    string   // what else there is to the load; "": nothing
	Loadgen string   // the load generator's subcommand
	Path    string   // of the server's endpoint; "": /ws
	Flags   []string // with {placeholders}, see Load
	// OneGroupFlags keep the load to the group that connects first, for a server
	// that has no rules.
	OneGroupFlags []string

	// ServerFlags are the server's besides those that it always gets.
	ServerFlags []string
	// Application is why servers without one have no part in it; "": they have.
	Application string

	// Receivers is how many connections get each record; 0: all of them.
	Receivers int
	// MaxConnections bounds how many connections there are; 0: --connections does.
	MaxConnections int

	// Ladder are the shares of --connections that are measured, so that a slope
	// exists. The last is 1.
	Ladder []float64
	// Rounds: the scenario is repeated --rounds times. Otherwise it runs once.
	Rounds bool
	// Calibrated: its rate may follow from what the servers sustain.
	Calibrated bool
	// Timed: it takes warm-up and duration; else only the time to connect.
	Timed bool
	// RatePerSecond is the scenario's own, of records; 0: --rate is.
	RatePerSecond float64

	Probes []Probe
}

// settle lets come to rest what is still under way, alike for all variants: the
// kernel frees the sockets of the measurement before, collections end.
const settle = 500 * time.Millisecond

// What every load has, and what those have besides that feed records.
var (
	target = []string{
		"--control", "--quiet",
		"--url={url}", "--connections={connections}", "--sources={sources}", "--seed={seed}",
	}
	timed  = []string{"--rate={rate}", "--warmup={warmup}", "--duration={duration}"}
	record = []string{"--kafka={kafka}", "--topic={topic}"}
)

func flags(parts ...[]string) []string { return slices.Concat(parts...) }

// All is the table.
var All = []Scenario{
	{
		Name:    "idle",
		Shows:   "memory per connection: connections that have rules and do nothing",
		Loadgen: "idle",
		Flags:   target,
		Ladder:  []float64{1. / 3, 2. / 3, 1},
		Probes: []Probe{
			{At: Ready, GC: true, Settle: settle},
			{At: Held, Settle: settle},
			{At: Held, GC: true},
		},
	},
	{
		Name:        "ping",
		Shows:       "processor time of one idle ping: connections that do nothing but answer them",
		Loadgen:     "idle",
		Flags:       target,
		ServerFlags: []string{"--idle-ping=" + idlePing.String()},
		Application: "it sends no pings of its own",
		// They come up before the first of them has been silent for so long.
		MaxConnections: 5000,
		Ladder:         []float64{1},
		Probes: []Probe{
			{At: Ready, GC: true},
			{At: Rested, Settle: 5 * time.Second},
			{At: Held},
			{At: Pinged, Settle: 20 * time.Second},
		},
	},
	{
		Name:          "push",
		Shows:         "latency of a push at a fixed rate, to one session each, while all others rest",
		Loadgen:       "push",
		Flags:         flags(target, record, timed, []string{"--receivers=1"}),
		OneGroupFlags: []string{"--groups=1"},
		Receivers:     1,
		Ladder:        []float64{1},
		Rounds:        true,
		Calibrated:    true,
		Timed:         true,
		Probes: []Probe{
			{At: Ready, GC: true},
			{At: Held},
		},
	},
	{
		Name:           "broadcast",
		Shows:          "how long a record takes to the first and to the last of many receivers",
		Loadgen:        "broadcast",
		Flags:          flags(target, record, timed),
		MaxConnections: 5000,
		Ladder:         []float64{1},
		Rounds:         true,
		Calibrated:     true,
		Timed:          true,
		RatePerSecond:  broadcastRate,
		Probes: []Probe{
			{At: Ready, GC: true},
			{At: Held},
		},
	},
	{
		Name:           "request",
		Shows:          "round trips of a small message that the server returns: the way in and out, without Kafka",
		Events:         "requests",
		Loadgen:        "request",
		Path:           "/echo",
		Flags:          flags(target, timed, []string{"--echo"}),
		ServerFlags:    []string{"--echo"},
		MaxConnections: 5000,
		Ladder:         []float64{1},
		Rounds:         true,
		Calibrated:     true,
		Timed:          true,
		RatePerSecond:  2000,
		Probes: []Probe{
			{At: Ready, GC: true},
			{At: Held},
		},
	},
	{
		Name:           "connect",
		Shows:          "how long clients that come at a fixed rate wait for their upgrade, and for their rule and a first answer",
		Events:         "connects",
		Loadgen:        "connect",
		Flags:          flags(target, []string{"--connect-rate={rate}"}),
		MaxConnections: 5000,
		Ladder:         []float64{1},
		Rounds:         true,
		RatePerSecond:  1000,
		Probes:         []Probe{{At: Ready, GC: true}},
	},
	{
		Name:    "churn",
		Shows:   "a push to 100 sessions that stay while others come and are reset",
		With:    "while 200 connections a second come, get the records too, and are reset after 1 s",
		Loadgen: "churn",
		Flags: flags(target, record, timed, []string{
			"--receivers=100", "--groups=1", "--churn-rate=200", "--churn-life=1s"}),
		Application:    "it has no rules, so those that come would get no records, and it would write less than half of what the others do",
		Receivers:      100,
		MaxConnections: 5000,
		Ladder:         []float64{1},
		Rounds:         true,
		Timed:          true,
		RatePerSecond:  20,
		Probes: []Probe{
			{At: Ready, GC: true},
			{At: Held},
		},
	},
	{
		Name:    "slow",
		Shows:   "a push of long records to 100 sessions, of which 10 have stopped reading: what the others notice",
		With:    "30,000 bytes long; of ten connections one reads nothing",
		Loadgen: "slow",
		Flags: flags(target, record, timed, []string{
			"--receivers=100", "--groups=1", "--slow-share=0.1", "--text-bytes=30000"}),
		Receivers:      100,
		MaxConnections: 100,
		Ladder:         []float64{1},
		Rounds:         true,
		Timed:          true,
		RatePerSecond:  slowRate,
		Probes: []Probe{
			{At: Ready, GC: true},
			{At: Held},
		},
	},
}

// slowRate of 30,000 bytes each fills what may wait for a session, 1 MiB and the
// socket's buffer, in about two seconds: the slow ones are closed within a round.
const slowRate = 20

// idlePing is the silence after which the servers of scenario ping send one: some
// 40,000 pings in its time, since the kernel counts processor time in steps of 10 ms.
const idlePing = 2 * time.Second

// broadcastRate is low enough that a record is with its last receiver before the
// next is due, with every variant: two cores push 5,000 sessions in 50 to 150 ms.
const broadcastRate = 4

// Names are the names of all scenarios.
func Names() []string {
	var names []string
	for _, s := range All {
		names = append(names, s.Name)
	}
	return names
}

// Usual are the names of those that make a short run.
func Usual() []string { return []string{"idle", "push", "broadcast"} }

// Named returns the scenario with that name.
func Named(name string) (Scenario, error) {
	for _, s := range All {
		if s.Name == name {
			return s, nil
		}
	}
	return Scenario{}, fmt.Errorf("scenario: there is no %q; there are %s", name, strings.Join(Names(), ", "))
}

// Load is what the placeholders in Flags stand for.
type Load struct {
	URL         string
	Connections int
	Sources     []string // addresses to connect from
	Seed        uint64
	Kafka       []string
	Topic       string
	Rate        float64 // records per second
	OneGroup    bool    // the server knows no rules: see OneGroupFlags
	Warmup      time.Duration
	Duration    time.Duration
}

// LoadgenArgs is the load generator's command line for the load.
func (s Scenario) LoadgenArgs(load Load) []string {
	values := strings.NewReplacer(
		"{url}", load.URL,
		"{connections}", fmt.Sprint(load.Connections),
		"{sources}", strings.Join(load.Sources, ","),
		"{seed}", fmt.Sprint(load.Seed),
		"{kafka}", strings.Join(load.Kafka, ","),
		"{topic}", load.Topic,
		"{rate}", fmt.Sprint(load.Rate),
		"{warmup}", load.Warmup.String(),
		"{duration}", load.Duration.String(),
	)
	args := []string{s.Loadgen}
	flags := s.Flags
	if load.OneGroup {
		flags = append(flags[:len(flags):len(flags)], s.OneGroupFlags...)
	}
	for _, flag := range flags {
		args = append(args, values.Replace(flag))
	}
	return args
}

// Endpoint is where the load goes to.
func (s Scenario) Endpoint() string { return cmp.Or(s.Path, "/ws") }

// Rate is the scenario's rate of records, given the run's.
func (s Scenario) Rate(ofRun float64) float64 {
	if s.RatePerSecond > 0 {
		return s.RatePerSecond
	}
	return ofRun
}

// ReceiversOf is how many of the connections get each record.
func (s Scenario) ReceiversOf(connections int) int {
	if s.Receivers > 0 {
		return min(s.Receivers, connections)
	}
	return connections
}

// Steps are the connection counts of the ladder, none twice, none below 1.
func (s Scenario) Steps(connections int) []int {
	if s.MaxConnections > 0 {
		connections = min(connections, s.MaxConnections)
	}
	var steps []int
	for _, share := range s.Ladder {
		step := max(1, int(share*float64(connections)))
		if len(steps) == 0 || step > steps[len(steps)-1] {
			steps = append(steps, step)
		}
	}
	return steps
}
