package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatmonitor/harness/ladder"
	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
	"chatmonitor/harness/stack"
	"chatmonitor/harness/vm"
)

// expedition takes the variants up, one after the other, here or in virtual
// machines.
type expedition struct {
	// static after preparation
	plan      ladder.Plan
	variants  []variant
	bin       binaries
	stderr    io.Writer
	host      probe.Machine
	machine   machineFlags
	inMachine bool // a virtual one; supplies are there
	supplies  vm.Supplies

	accel    vm.Accel // chosen by the first boot
	folder   string   // the run's own
	record   *millionRun
	progress *ascent
}

// millionRun is run.json with what only such a run has.
type millionRun struct {
	report.Run
	Million million `json:"million"`
}

// million is the section of run.json.
type million struct {
	Plan ladder.Plan `json:"plan"`
	// TimesComparable: the processor was no emulation.
	TimesComparable bool           `json:"times_comparable"`
	Machine         *machineRecord `json:"virtual_machine,omitempty"` // none: it was this machine itself
	Climbs          []climbRecord  `json:"climbs"`
}

// machineRecord is the virtual machine.
type machineRecord struct {
	Host              probe.Machine `json:"host"`
	Accel             vm.Accel      `json:"accel"`
	Kernel            string        `json:"kernel"` // file name
	MemoryBytes       int64         `json:"memory_bytes"`
	CPUs              int           `json:"cpus"`
	Settings          []vm.Setting  `json:"settings"`
	HugePages         string        `json:"transparent_hugepages"`
	QEMU              string        `json:"qemu"`
	KernelCommandLine string        `json:"kernel_command_line"`
}

// climbRecord is one variant's climb. The snapshots of its steps are in the run's
// measurements.
type climbRecord struct {
	Variant string       `json:"variant"`
	Seconds float64      `json:"seconds"`
	Steps   []stepRecord `json:"steps"`
	End     *ladder.End  `json:"end"`
}

type stepRecord struct {
	Connections    int             `json:"connections"`
	ConnectSeconds float64         `json:"connect_seconds"`
	AvailableBytes int64           `json:"available_bytes"`
	Push           json.RawMessage `json:"push"`
}

const (
	millionScenario = "million"
	climbOrder      = "one variant after the other; each server is started once and grows from step to step"
	guestBrokerNote = "inside the harness, beside the server"
	idleShows       = "memory per connection, up to very many of them: connections that have a rule each and rest"
	emulatedNote    = "the processor was emulated: times mean nothing"
)

// undertake makes the run and prints its table.
func (e *expedition) undertake(ctx context.Context, std streams, out string) error {
	e.begin(ctx)
	if err := e.makeFolder(out); err != nil {
		return err
	}
	e.progress = newAscent(e.stderr, time.Now)
	for i, v := range e.variants {
		if ctx.Err() != nil {
			break
		}
		e.progress.next(v.name, i+1, len(e.variants), e.plan.Steps[len(e.plan.Steps)-1])
		if err := e.climb(ctx, v); err != nil && ctx.Err() == nil {
			return errors.Join(err, e.save())
		}
		e.record.Interrupted = ctx.Err() != nil
		if err := e.save(); err != nil {
			return err
		}
	}
	if err := errors.Join(saveReports(e.folder, &e.record.Run), e.record.printMillion(std.stdout)); err != nil {
		return err
	}
	fmt.Fprintln(std.stdout, filepath.Join(e.folder, report.FileName))
	return e.verdict(ctx)
}

func (e *expedition) begin(ctx context.Context) {
	programs := programsOf(e.variants)
	if e.inMachine {
		programs = append(programs, harnessBinary)
	}
	top := e.plan.Steps[len(e.plan.Steps)-1]
	configuration := report.Configuration{
		Base:        e.variants[0].name,
		Broker:      report.Broker{Kind: stack.KindEmbedded, Topic: climbTopic, Partitions: climbPartitions, Note: guestBrokerNote},
		Connections: top, ConnectionsFrom: []report.Bound{}, Rounds: 1, Seed: 1, Order: climbOrder,
		RatePerSecond: e.plan.Sample.Rate, DurationSeconds: e.plan.Sample.Duration.Seconds(), // of the pushes at each step
		Scenarios: []report.Scenario{{Name: "idle", Shows: idleShows, Connections: e.plan.Steps, Rounds: 1}},
	}
	for _, v := range e.variants {
		configuration.Variants = append(configuration.Variants, report.Variant{Name: v.name, Note: v.note})
		if v.name == floorName {
			configuration.Base = floorName
		}
	}
	e.record = &millionRun{
		Run: report.Run{
			Schema: report.Schema, Started: time.Now().UTC().Truncate(time.Second),
			Environment: describeEnvironment(ctx, e.host, e.bin, programs), Configuration: configuration,
			Figures: []report.Figure{}, Failures: []report.Failure{}, Measurements: []report.Measurement{},
		},
		Million: million{Plan: e.plan, TimesComparable: true, Climbs: []climbRecord{}},
	}
}

// makeFolder makes the run's own folder, named after the time and the commit.
func (e *expedition) makeFolder(out string) error {
	e.record.ID = e.record.Started.Format("20060102T150405Z") + "-" + e.record.Environment.Commit
	e.folder = filepath.Join(out, e.record.ID)
	if err := os.MkdirAll(e.folder, 0o755); err != nil {
		return fmt.Errorf("make the run's folder: %w", err)
	}
	return nil
}

// climb takes one variant up, and notes what happened.
func (e *expedition) climb(ctx context.Context, v variant) error {
	began := time.Now()
	e.record.Million.Climbs = append(e.record.Million.Climbs, climbRecord{Variant: v.name, Steps: []stepRecord{}})
	climb := &e.record.Million.Climbs[len(e.record.Million.Climbs)-1]
	defer func() { climb.Seconds = time.Since(began).Seconds() }()
	if e.inMachine {
		return e.climbInMachine(ctx, v)
	}
	if err := probe.RaiseDescriptorLimit(); err != nil {
		return err
	}
	return climbJob{
		variant: v, plan: e.plan, bin: e.bin, logs: e.folder,
		sources: newSourceRange(time.Now().Unix(), e.host.Limits.PortsPerAddress), tell: e.note,
	}.run(ctx)
}

// note keeps what was told, and tells people.
func (e *expedition) note(event ladder.Event) error {
	climb := &e.record.Million.Climbs[len(e.record.Million.Climbs)-1]
	switch {
	case event.Vital != nil:
		e.progress.vital(*event.Vital)
	case event.Step != nil:
		s := event.Step
		climb.Steps = append(climb.Steps, stepRecord{s.Connections, s.ConnectSeconds, s.AvailableBytes, s.Push})
		e.record.Measurements = append(e.record.Measurements, s.Measurement)
		e.noteCommand(climb.Variant, s.Measurement.ServerCommand)
		e.progress.step(*s)
		return e.save()
	case event.End != nil:
		climb.End = event.End
		e.progress.end(*event.End)
	}
	return nil
}

func (e *expedition) noteCommand(variant string, command []string) {
	at := slices.IndexFunc(e.record.Configuration.Variants, func(v report.Variant) bool { return v.Name == variant })
	e.record.Configuration.Variants[at].Command = command
}

// save writes run.json, whole or not at all.
func (e *expedition) save() error {
	r := e.record
	r.Seconds = time.Since(r.Started).Seconds()
	r.noteFailures()
	r.DeriveFigures()
	if !r.Million.TimesComparable {
		r.markTimes()
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the run: %w", err)
	}
	path := filepath.Join(e.folder, report.FileName)
	if err := os.WriteFile(path+".part", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the run: %w", err)
	}
	return os.Rename(path+".part", path)
}

// noteFailures: a server that ran out of memory has not failed; the others that did
// not get to the top have.
func (r *millionRun) noteFailures() {
	r.Failures = []report.Failure{}
	for _, climb := range r.Million.Climbs {
		if climb.End == nil {
			continue
		}
		f := report.Failure{Kind: report.KindFailed, Variant: climb.Variant, Scenario: millionScenario, Round: 1,
			Reason: fmt.Sprintf("%s at %d connections: %s", climb.End.Outcome, climb.End.Last.Connections, climb.End.Reason)}
		switch climb.End.Outcome {
		case ladder.Complete, ladder.OutOfMemory:
			continue
		case ladder.Wrong:
			f.Kind = report.KindWrong
		}
		r.Failures = append(r.Failures, f)
	}
}

// markTimes marks the figures that are made of times.
func (r *millionRun) markTimes() {
	for i := range r.Figures {
		f := &r.Figures[i]
		if f.Name == report.ConnectPerSecond || strings.HasSuffix(f.Name, "_seconds") {
			f.Valid, f.Invalid = false, append(f.Invalid, emulatedNote)
		}
	}
}

// verdict is the error that the run ends with.
func (e *expedition) verdict(ctx context.Context) error {
	if ctx.Err() != nil {
		return errors.New("interrupted: the run is not whole")
	}
	var reasons []string
	code := exitFailed
	for _, f := range e.record.Failures {
		reasons = append(reasons, f.String())
		if f.Kind == report.KindWrong {
			code = exitWrong
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return &codedError{errors.New(strings.Join(reasons, "\n  ")), code}
}

// readMillion reads what only a run up to a million has; nil: it is another run.
func readMillion(path string) (*millionRun, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, report.FileName)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the run: %w", err)
	}
	var r struct {
		report.Run
		Million *million `json:"million"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Million == nil {
		return nil, nil
	}
	return &millionRun{Run: r.Run, Million: *r.Million}, nil
}
