package main

import (
	"context"
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
	plan      report.ClimbPlan
	variants  []variant
	bin       binaries
	stderr    io.Writer
	host      probe.Machine
	machine   machineFlags
	inMachine bool // a virtual one; supplies are there
	supplies  vm.Supplies

	accel    vm.Accel // chosen by the first boot
	folder   string   // the run's own
	record   *report.Run
	progress *ascent
}

const (
	climbOrder      = "one variant after the other; each server is started once and grows from step to step"
	guestBrokerNote = "inside the harness, beside the server"
	idleShows       = "memory per connection, up to very many of them: connections that have a rule each and rest"
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
		e.progress.next(v.name, i+1, len(e.variants), e.plan.Top())
		if err := e.climb(ctx, v); err != nil && ctx.Err() == nil {
			return errors.Join(err, e.save())
		}
		e.record.Interrupted = ctx.Err() != nil
		if err := e.save(); err != nil {
			return err
		}
	}
	if err := errors.Join(saveReports(e.folder, e.record), e.record.Print(std.stdout)); err != nil {
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
	top := e.plan.Top()
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
	e.record = &report.Run{
		Schema: report.Schema, Started: time.Now().UTC().Truncate(time.Second),
		Environment: describeEnvironment(ctx, e.host, e.bin, programs), Configuration: configuration,
		Figures: []report.Figure{}, Failures: []report.Failure{}, Measurements: []report.Measurement{},
		Million: &report.Million{Plan: e.plan, TimesComparable: true, Climbs: []report.Climb{}},
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
	e.record.Million.Climbs = append(e.record.Million.Climbs, report.Climb{Variant: v.name, Steps: []report.ClimbStep{}})
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
		climb.Steps = append(climb.Steps, report.ClimbStep{
			Connections: s.Connections, ConnectSeconds: s.ConnectSeconds, AvailableBytes: s.AvailableBytes, Push: s.Push,
		})
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
	e.record.Seconds = time.Since(e.record.Started).Seconds()
	e.record.DeriveFigures()
	return e.record.Write(e.folder)
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
