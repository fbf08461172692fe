package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"chatmonitor/harness/report"
	"chatmonitor/harness/scenario"
	"chatmonitor/harness/stack"
)

// campaign is a run under way.
type campaign struct {
	config      *runCommand
	variants    []variant
	scenarios   []scenario.Scenario
	connections int
	bin         binaries
	broker      stack.Broker
	sources     *sourceRange
	folder      string // the run's own
	stderr      io.Writer

	// calibrated are the rates that were found, by scenario.
	calibrated map[string]float64
	progress   *progress
	record     *report.Run
}

// step is one measurement to make.
type step struct {
	scenario    scenario.Scenario
	variant     variant
	round       int // from 1
	connections int
}

func (s step) String() string {
	return fmt.Sprintf("%s, %s, round %d, %d connections", s.scenario.Name, s.variant.name, s.round, s.connections)
}

// serverArgs are the server's flags that depend on the load.
func (s step) serverArgs() []string {
	args := s.variant.receiverArgs(s.scenario.ReceiversOf(s.connections))
	for _, flag := range s.scenario.ServerFlags {
		if flag != echoFlag || !s.variant.echoes {
			args = append(args, flag)
		}
	}
	return args
}

const echoFlag = "--echo"

// fileName is how the measurement's logs begin.
func (s step) fileName() string {
	return fmt.Sprintf("%s-%s-%d-%d", s.scenario.Name, s.variant.name, s.round, s.connections)
}

// plan lists the measurements in order. Scenarios come one after the other;
// within one, every round and every step of the ladder goes over all variants
// before the next begins, as turns says.
func plan(scenarios []scenario.Scenario, variants []variant, connections, rounds int) []step {
	var steps []step
	for _, s := range scenarios {
		turn, times := 0, 1
		if s.Rounds {
			times = rounds
		}
		for round := 1; round <= times; round++ {
			for _, count := range s.Steps(connections) {
				for _, v := range turns(takingPart(variants, s), turn) {
					steps = append(steps, step{s, v, round, count})
				}
				turn++
			}
		}
	}
	return steps
}

// takingPart are the variants that the scenario means something for.
func takingPart(variants []variant, s scenario.Scenario) []variant {
	return slices.DeleteFunc(slices.Clone(variants), func(v variant) bool { return s.Application != "" && v.fixedReceivers })
}

// turns is the order of a round: of two rounds the second goes back the way that the
// first came (A B C, C B A), so that what drifts steadily hits each variant's pair of
// measurements alike; the next two begin one variant later.
func turns[T any](all []T, round int) []T {
	if len(all) == 0 {
		return nil
	}
	from := round / 2 % len(all)
	order := append(slices.Clone(all[from:]), all[:from]...)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// Guesses for the first estimate of how long a run takes; progress corrects them.
const (
	guessOverhead   = 1500 * time.Millisecond // start, collect, stop
	guessConnection = 130 * time.Microsecond
)

func (c *campaign) guess(s step) time.Duration {
	guess := guessOverhead + time.Duration(s.connections)*guessConnection
	if s.scenario.Timed {
		guess += c.config.Warmup + c.config.Duration
	}
	return guess
}

// execute makes all measurements. What goes wrong with one is recorded and the
// others go on, except that a variant whose server failed is not started again.
// The record is written after each: an interrupted run leaves what it has.
func (c *campaign) execute(ctx context.Context) error {
	if err := c.calibrate(ctx); err != nil {
		return errors.Join(err, c.save())
	}
	steps := plan(c.scenarios, c.variants, c.connections, c.config.Rounds)
	var guesses []time.Duration
	for _, s := range steps {
		guesses = append(guesses, c.guess(s))
	}
	c.progress = newProgress(c.stderr, time.Now, guesses)
	fmt.Fprintf(c.stderr, "%d measurements, about %s; %s\n", len(steps), clock(c.progress.remaining()), orderNote)
	gaveUp := map[string]bool{}
	for _, s := range steps {
		switch {
		case ctx.Err() != nil:
			c.record.Interrupted = true
		case gaveUp[s.variant.name]:
			c.progress.say("%s: left out, since this variant failed before", s)
		default:
			gaveUp[s.variant.name] = c.step(ctx, s)
		}
		c.progress.finish()
		if err := c.save(); err != nil {
			return err
		}
	}
	return saveReports(c.folder, c.record)
}

// step makes one measurement and reports whether its variant should be given up.
func (c *campaign) step(ctx context.Context, s step) (giveUp bool) {
	for again := c.config.Retries; ; again-- {
		c.progress.say("%s", s)
		m := newMeasurement(c, s)
		failures := m.take(ctx)
		if ctx.Err() != nil {
			c.record.Interrupted = true // what failed, failed because of that
			return true
		}
		for i := range failures {
			f := &failures[i]
			f.Variant, f.Scenario, f.Round = s.variant.name, s.scenario.Name, s.round
			c.progress.say("%s", f)
		}
		if again > 0 && onlyInvalid(failures) {
			c.progress.say("  it is made again")
			c.record.Repeated = append(c.record.Repeated, failures...)
			continue
		}
		c.record.Measurements = append(c.record.Measurements, m.out)
		c.noteCommand(s.variant.name, m.out.ServerCommand)
		c.record.Failures = append(c.record.Failures, failures...)
		return slices.ContainsFunc(failures, func(f report.Failure) bool { return f.Kind == report.KindFailed })
	}
}

// onlyInvalid says whether the load generator's schedule is all that went wrong: then the measurement says
// nothing about the server.
func onlyInvalid(failures []report.Failure) bool {
	return len(failures) > 0 && !slices.ContainsFunc(failures, func(f report.Failure) bool { return f.Kind != report.KindInvalid })
}

// noteCommand keeps the first command line of each variant with its name.
func (c *campaign) noteCommand(variant string, command []string) {
	for i := range c.record.Configuration.Variants {
		v := &c.record.Configuration.Variants[i]
		if v.Name == variant && v.Command == nil {
			v.Command = command
		}
	}
}

func (c *campaign) save() error {
	c.record.Seconds = time.Since(c.record.Started).Seconds()
	c.record.DeriveFigures()
	return c.record.Write(c.folder)
}
