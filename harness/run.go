package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
	"chatmonitor/harness/scenario"
	"chatmonitor/harness/stack"
)

// runCommand measures the variants against each other.
type runCommand struct {
	Kafka       string        `default:"auto" help:"The broker: 'container' (Apache Kafka in Docker), 'embedded', host:port[,host:port...] of one that runs, or 'auto': a container where Docker and an image are to be had, else embedded."`
	KafkaImage  string        `placeholder:"IMAGE" help:"Image of the container. Default: what 'make kafka-image' builds if it is there, else ${publicImage}."`
	Topic       string        `default:"chat" help:"Topic that the records go through."`
	Partitions  int           `default:"4" help:"Partitions of the topic, unless the broker is one that runs."`
	Connections int           `default:"0" placeholder:"N" help:"Connections on each server. Default: 19000, less if the machine allows less."`
	Rate        float64       `default:"200" help:"Records per second of push; broadcast has its own."`
	Calibrate   float64       `placeholder:"SHARE" help:"Set the rates of push, broadcast and request to this share, such as 0.3, of what the weakest variant sustains, which is found first; takes some minutes."`
	Duration    time.Duration `default:"5s" help:"Measured time of each round of a timed scenario."`
	Warmup      time.Duration `default:"1s" help:"Time before it that is checked but not measured."`
	Rounds      int           `default:"3" help:"Rounds of timed scenarios, the variants taking turns."`
	Retries     int           `placeholder:"N" help:"Make a measurement again, up to so many times, when the load generator could not keep its schedule, as on a machine that others use. The report says how often."`
	Variants    []string      `default:"${variants}" help:"Variants, in this order. The others are compared with floor if it is among them, else with the first."`
	Scenarios   []string      `default:"${usual}" help:"Scenarios, in this order; there are ${scenarios}; or all."`
	Benchmarks  string        `placeholder:"FILE" type:"path" help:"Output of go test -bench, such as that of make bench-index, to join to the run's bench.txt."`
	Seed        uint64        `default:"1" help:"Of texts and of the order of groups."`
	Out         string        `default:"results/runs" type:"path" help:"Folder in which the run makes its own."`
	Bin         string        `placeholder:"DIR" type:"path" help:"Folder with the programs. Default: the harness' own."`
}

// Help is shown with --help.
func (c *runCommand) Help() string {
	return `Each variant is measured with a fresh server and a fresh load generator at a time, one after the other.
Progress goes to stderr, the table to stdout, everything that was read to run.json.

Exit codes: 0 fine; 1 something failed; 2 usage; 3 a server lost records or gave wrong answers.

Examples:
  harness run
  harness run --connections=5000 --rate=500 --duration=30s --rounds=5
  harness run --scenarios=idle --variants=reactor
  harness run --kafka=container
  harness run --kafka=127.0.0.1:9092`
}

func (c *runCommand) validate() error {
	switch {
	case c.Connections < 0:
		return usageError("--connections must not be negative")
	case !(c.Rate > 0 && c.Rate <= 1e6):
		return usageError("--rate must be above 0 and at most 1000000")
	case c.Calibrate < 0 || c.Calibrate > 1:
		return usageError("--calibrate is a share, above 0 and at most 1")
	case c.Duration <= 0:
		return usageError("--duration must be above zero")
	case c.Warmup < 0:
		return usageError("--warmup must not be negative")
	case c.Rounds < 1:
		return usageError("--rounds must be at least 1")
	case c.Retries < 0:
		return usageError("--retries must not be negative")
	case c.Topic == "":
		return usageError("--topic must not be empty")
	case len(c.Scenarios) == 0:
		return usageError("no scenario is named")
	}
	return validateBroker(c.choice())
}

// validateBroker makes a usage error of what is wrong with the flags for a broker.
func validateBroker(choice stack.Choice) error {
	if err := choice.Validate(); err != nil {
		return usageError("the broker: %w", err)
	}
	return nil
}

// Run executes the scenarios, prints the table and says where the rest is.
func (c *runCommand) Run(ctx context.Context, std streams) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	run, err := c.prepare(ctx, std)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, run.broker.Close()) }()
	if err := run.execute(ctx); err != nil {
		return err
	}
	if err := run.record.Print(std.stdout); err != nil {
		return err
	}
	fmt.Fprintln(std.stdout, filepath.Join(run.folder, report.FileName))
	fmt.Fprintln(std.stdout, filepath.Join(run.folder, "report.html"))
	return run.verdict(ctx)
}

// prepare finds out what can be done on this machine and starts the broker.
func (c *runCommand) prepare(ctx context.Context, std streams) (*campaign, error) {
	chosen, err := chooseVariants(c.Variants)
	if err != nil {
		return nil, err
	}
	scenarios, err := chooseScenarios(c.Scenarios)
	if err != nil {
		return nil, err
	}
	benchmarks, err := readBenchmarks(c.Benchmarks)
	if err != nil {
		return nil, err
	}
	programs := programsOf(chosen)
	bin, err := binariesIn(c.Bin, programs...)
	if err != nil {
		return nil, err
	}
	machine := probe.System.Machine()
	if err := probe.RaiseDescriptorLimit(); err != nil {
		return nil, err
	}
	allowed := bounds(machine, chosen, cmp.Or(c.Connections, defaultConnections))
	connections, why, err := decideConnections(c.Connections, allowed)
	if err != nil {
		return nil, err
	}
	describeSizing(std.stderr, machine, allowed, connections, why)
	broker, err := c.openBroker(ctx, std)
	if err != nil {
		return nil, err
	}
	record := c.record(broker, chosen, scenarios, connections, allowed)
	record.Environment = describeEnvironment(ctx, machine, bin, programs)
	record.Benchmarks = benchmarks
	run := &campaign{
		config: c, variants: chosen, scenarios: scenarios, connections: connections,
		bin: bin, broker: broker, record: record, stderr: std.stderr, calibrated: map[string]float64{},
		sources: newSourceRange(record.Started.Unix(), machine.Limits.PortsPerAddress),
	}
	if err := run.makeFolder(); err != nil {
		return nil, errors.Join(err, broker.Close())
	}
	return run, nil
}

func (c *runCommand) record(broker stack.Broker, chosen []variant, scenarios []scenario.Scenario, connections int, allowed []report.Bound) *report.Run {
	base := chosen[0].name
	if slices.ContainsFunc(chosen, func(v variant) bool { return v.name == floorName }) {
		base = floorName
	}
	configuration := report.Configuration{
		Base: base,
		Broker: report.Broker{
			Kind: broker.Kind(), Addresses: broker.Addresses(), Topic: c.Topic,
		},
		Connections: connections, ConnectionsFrom: allowed,
		RatePerSecond: c.Rate, CalibrateShare: c.Calibrate, DurationSeconds: c.Duration.Seconds(), WarmupSeconds: c.Warmup.Seconds(),
		Rounds: c.Rounds, Retries: c.Retries, Seed: c.Seed, Order: orderNote,
	}
	switch broker.Kind() {
	case stack.KindEmbedded:
		configuration.Broker.Partitions = c.Partitions
		configuration.Broker.Note = embeddedNote
	case stack.KindContainer:
		configuration.Broker.Partitions = c.Partitions
		configuration.Broker.Note = broker.Detail() + containerNote
	}
	for _, v := range chosen {
		configuration.Variants = append(configuration.Variants, report.Variant{Name: v.name, Note: v.note})
	}
	for _, s := range scenarios {
		described := c.describeScenario(s, connections)
		described.LeftOut = leftOut(chosen, s)
		configuration.Scenarios = append(configuration.Scenarios, described)
	}
	return &report.Run{
		Schema: report.Schema, Started: time.Now().UTC().Truncate(time.Second),
		Configuration: configuration, Figures: []report.Figure{}, Failures: []report.Failure{},
	}
}

// describeScenario says what the scenario comes to in this run.
func (c *runCommand) describeScenario(s scenario.Scenario, connections int) report.Scenario {
	out := report.Scenario{Name: s.Name, Shows: s.Shows, Connections: s.Steps(connections), Rounds: 1}
	if s.Rounds {
		out.Rounds = c.Rounds
	}
	if s.Timed || s.RatePerSecond > 0 {
		out.RatePerSecond, out.Events, out.With = s.Rate(c.Rate), s.Events, s.With
	}
	if s.Timed {
		out.DurationSeconds, out.WarmupSeconds = c.Duration.Seconds(), c.Warmup.Seconds()
		if s.Events == "" {
			out.Receivers = s.ReceiversOf(out.Connections[len(out.Connections)-1])
		}
	}
	return out
}

// leftOut are the variants that the scenario means nothing for, each with the reason.
func leftOut(chosen []variant, s scenario.Scenario) map[string]string {
	part := takingPart(chosen, s)
	var left map[string]string
	for _, v := range chosen {
		if !slices.ContainsFunc(part, func(p variant) bool { return p.name == v.name }) {
			if left == nil {
				left = map[string]string{}
			}
			left[v.name] = s.Application
		}
	}
	return left
}

const (
	orderNote    = "the variants take turns, every second round in the opposite order (A B B A), and the next pair of rounds begins one variant later, so that drift hits all alike"
	embeddedNote = "inside the harness, on the same cores; one goroutine holds all its state, so latencies are this broker's too"
	// containerNote follows what the container is.
	containerNote = ", on the same cores; its port is published by Docker, whose proxy each record passes twice"
)

// readBenchmarks reads a file in Go's benchmark format; none is no error.
func readBenchmarks(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", usageError("--benchmarks: %v", err)
	}
	if !regexp.MustCompile(`(?m)^Benchmark\S+\s+\d+\s`).Match(text) {
		return "", usageError("--benchmarks: %s has no line of a benchmark; it is to be what go test -bench prints", path)
	}
	return string(text), nil
}

func chooseScenarios(names []string) ([]scenario.Scenario, error) {
	if slices.Equal(names, []string{"all"}) {
		return scenario.All, nil
	}
	var chosen []scenario.Scenario
	for _, name := range names {
		s, err := scenario.Named(name)
		if err != nil {
			return nil, &codedError{err, exitUsage}
		}
		chosen = append(chosen, s)
	}
	return chosen, nil
}

func programsOf(chosen []variant) []string {
	programs := []string{loadgenBinary}
	seen := map[string]bool{}
	for _, v := range chosen {
		if !seen[v.binary] {
			programs = append(programs, v.binary)
		}
		seen[v.binary] = true
	}
	return programs
}

// openBroker starts a broker or checks that an external one answers.
func (c *runCommand) openBroker(ctx context.Context, std streams) (stack.Broker, error) {
	choice := c.choice()
	choice.Say = sayOn(std.stderr)
	return stack.Open(ctx, choice)
}

func (c *runCommand) choice() stack.Choice {
	return stack.Choice{
		Kafka: c.Kafka, Image: c.KafkaImage,
		Config: stack.BrokerConfig{Topic: c.Topic, Partitions: c.Partitions, Listen: "127.0.0.1:0"},
	}
}

// makeFolder makes the run's own folder, named after the time and the commit.
func (c *campaign) makeFolder() error {
	if err := os.MkdirAll(c.config.Out, 0o755); err != nil {
		return fmt.Errorf("make the folder for runs: %w", err)
	}
	base := c.record.Started.Format("20060102T150405Z") + "-" + c.record.Environment.Commit
	for n := 1; ; n++ {
		c.record.ID = base
		if n > 1 {
			c.record.ID = fmt.Sprintf("%s-%d", base, n)
		}
		c.folder = filepath.Join(c.config.Out, c.record.ID)
		err := os.Mkdir(c.folder, 0o755)
		if !errors.Is(err, os.ErrExist) {
			return err
		}
	}
}

// verdict is the error that the run ends with: nil if every figure may be used
// or is marked.
func (c *campaign) verdict(ctx context.Context) error {
	var wrong, failed []string
	for _, f := range c.record.Failures {
		switch f.Kind {
		case report.KindWrong:
			wrong = append(wrong, f.String())
		case report.KindFailed:
			failed = append(failed, f.String())
		}
	}
	switch {
	case len(wrong) > 0:
		return &codedError{fmt.Errorf("a server was wrong:\n  %s", strings.Join(append(wrong, failed...), "\n  ")), exitWrong}
	case len(failed) > 0:
		return fmt.Errorf("the run is not whole:\n  %s", strings.Join(failed, "\n  "))
	case ctx.Err() != nil:
		return errors.New("interrupted: the run is not whole")
	}
	return nil
}
