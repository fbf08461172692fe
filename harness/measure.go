package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
	"chatmonitor/harness/scenario"
	"chatmonitor/harness/stack"
)

// Deadlines, generous: they end what hangs and measure nothing.
const (
	readyDeadline      = 60 * time.Second
	answerDeadline     = 60 * time.Second
	deadlinePerConnect = 10 * time.Millisecond
	serverGrace        = 40 * time.Second // its own --drain is 1s
	loadgenGrace       = 40 * time.Second
)

// measurement is one server under one load.
type measurement struct {
	campaign *campaign
	step     step
	pace     pace
	quiet    bool // its result is not told
	out      report.Measurement

	server  *stack.Server
	loadgen *stack.Loadgen
}

func newMeasurement(c *campaign, s step) *measurement {
	return &measurement{campaign: c, step: s, pace: c.paceOf(s.scenario), out: report.Measurement{
		Variant: s.variant.name, Scenario: s.scenario.Name, Round: s.round,
		Connections: s.connections, Started: time.Now().UTC(),
	}}
}

// take makes the measurement; the processes it started are gone when it returns.
func (m *measurement) take(ctx context.Context) []report.Failure {
	defer func() { m.out.Seconds = time.Since(m.out.Started).Seconds() }()
	if err := m.startServer(ctx); err != nil {
		return []report.Failure{failed(err)}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go m.watchServer(ctx, cancel)
	err := m.load(ctx)
	cancel(nil)
	if m.loadgen != nil {
		err = errors.Join(err, m.loadgen.Stop(loadgenGrace))
	}
	err = errors.Join(err, m.server.Stop(serverGrace))
	failures := m.judge()
	if err != nil {
		failures = append(failures, failed(err))
	}
	return failures
}

func failed(err error) report.Failure {
	return report.Failure{Kind: report.KindFailed, Reason: err.Error()}
}

// watchServer ends the measurement, with the reason, when its server ends: the
// load generator would only see connections break.
func (m *measurement) watchServer(ctx context.Context, cancel context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-m.server.Exited():
		cancel(m.server.Failure("under load"))
	}
}

func (m *measurement) logPath(name string) string {
	file := m.step.fileName() + "-" + name + ".log"
	m.out.Logs = append(m.out.Logs, file)
	return filepath.Join(m.campaign.folder, file)
}

func (m *measurement) startServer(ctx context.Context) error {
	ctx, cancel := deadline(ctx, readyDeadline, "the server took too long to get ready")
	defer cancel()
	c := m.campaign
	command := stack.Command{
		Name:    m.step.variant.name + " server",
		Path:    c.bin.path(m.step.variant.binary),
		Args:    append(m.step.variant.serverArgs("127.0.0.1:0", c.broker.Addresses(), c.config.Topic), m.step.serverArgs()...),
		Env:     childEnvironment(),
		LogPath: m.logPath("server"),
	}
	m.out.ServerCommand = command.Line()
	server, err := stack.StartServer(ctx, command)
	if err != nil {
		return err
	}
	m.server = server
	return nil
}

func deadline(ctx context.Context, d time.Duration, because string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%s (%v)", because, d))
}

// load puts the load on the server and reads what is to be read when.
func (m *measurement) load(ctx context.Context) error {
	if err := m.probe(ctx, 0, scenario.Ready, scenario.Rested); err != nil {
		return err
	}
	if err := m.startLoadgen(); err != nil {
		return err
	}
	held, err := m.awaitHeld(ctx)
	if errors.Is(err, stack.ErrEndedAtGate) {
		return m.awaitExit(ctx) // its result and exit code say why
	}
	if err != nil {
		return err
	}
	if !m.quiet && held.Connections > 0 {
		m.campaign.progress.say("  %d connections held after %.1f s", held.Connections, held.ConnectSeconds)
	}
	if err := m.probe(ctx, held.Connections, scenario.Held, scenario.Pinged); err != nil {
		return err
	}
	if err := m.loadgen.Go(); err != nil {
		return err
	}
	if err := m.awaitResult(ctx); err != nil {
		return err
	}
	return m.awaitExit(ctx)
}

func (m *measurement) startLoadgen() error {
	c, s := m.campaign, m.step
	command := stack.Command{
		Name: "load generator for " + s.variant.name,
		Path: c.bin.path(loadgenBinary),
		Args: s.scenario.LoadgenArgs(scenario.Load{
			URL:         "ws://" + m.server.Address + s.scenario.Endpoint(),
			Connections: s.connections,
			Sources:     c.sources.take(s.connections),
			Seed:        c.config.Seed,
			Kafka:       c.broker.Addresses(),
			Topic:       c.config.Topic,
			Rate:        m.pace.rate,
			OneGroup:    s.variant.fixedReceivers,
			Warmup:      m.pace.warmup,
			Duration:    m.pace.duration,
		}),
		Env:     childEnvironment(),
		LogPath: m.logPath("loadgen"),
	}
	m.out.LoadgenCommand = command.Line()
	loadgen, err := stack.StartLoadgen(command)
	m.loadgen = loadgen
	return err
}

func (m *measurement) awaitHeld(ctx context.Context) (stack.Held, error) {
	ctx, cancel := deadline(ctx, answerDeadline+time.Duration(m.step.connections)*deadlinePerConnect, "connecting took too long")
	defer cancel()
	held, result, err := m.loadgen.AwaitHeld(ctx)
	m.out.Loadgen = result
	return held, err
}

func (m *measurement) awaitResult(ctx context.Context) (err error) {
	limit := answerDeadline + time.Duration(m.step.connections)*deadlinePerConnect
	if m.step.scenario.Timed {
		limit += m.pace.warmup + m.pace.duration
	}
	ctx, cancel := deadline(ctx, limit, "the result took too long")
	defer cancel()
	m.out.Loadgen, err = m.loadgen.AwaitResult(ctx)
	return err
}

func (m *measurement) awaitExit(ctx context.Context) error {
	ctx, cancel := deadline(ctx, answerDeadline, "the load generator took too long to end")
	defer cancel()
	code, err := m.loadgen.AwaitExit(ctx)
	if err == nil {
		m.out.LoadgenExit = &code
	}
	return err
}

// probe takes the snapshots of the moments, in the scenario's order.
func (m *measurement) probe(ctx context.Context, connections int, moments ...scenario.Moment) error {
	target := probe.Target{Proc: probe.System, PID: m.server.PID(), Admin: probe.Admin{Address: m.server.Admin}}
	for _, p := range m.step.scenario.Probes {
		if !slices.Contains(moments, p.At) {
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(p.Settle):
		}
		m.out.Snapshots = append(m.out.Snapshots, target.Take(ctx, string(p.At), connections, p.GC))
	}
	return nil
}

// Exit codes of the load generator.
const (
	loadgenFine    = 0
	loadgenInvalid = 2
	loadgenWrong   = 3
)

// judge says what is wrong with the load generator's result, if anything.
func (m *measurement) judge() []report.Failure {
	result, err := m.out.Result()
	if err != nil {
		return []report.Failure{failed(err)}
	}
	code := m.out.LoadgenExit
	if result == nil || code == nil {
		return nil // there is another error that says why
	}
	var failures []report.Failure
	note := func(kind string, reasons []string, otherwise string) {
		reason := strings.Join(reasons, "; ")
		if reason == "" {
			reason = otherwise
		}
		failures = append(failures, report.Failure{Kind: kind, Reason: reason})
	}
	lost := result.Lost() + result.Unsound()
	if *code == loadgenWrong || lost > 0 {
		note(report.KindWrong, result.WrongBecause, fmt.Sprintf("%d deliveries or answers were lost, duplicated, wrong or reordered", lost))
	}
	if *code == loadgenInvalid || !result.Valid {
		note(report.KindInvalid, result.InvalidBecause, "the load generator gives no reason")
	}
	if len(failures) == 0 && *code != loadgenFine {
		failures = append(failures, failed(m.loadgen.Failure("reporting")))
	}
	m.sayResult(result)
	return failures
}

func (m *measurement) sayResult(result *report.LoadgenResult) {
	l := result.Latency.Response
	if l.Count == 0 || m.quiet {
		return
	}
	came := ""
	if expected := result.Expected(); expected > 0 {
		came = fmt.Sprintf(", %d of %d came", expected-result.Lost(), expected)
	}
	m.campaign.progress.say("  p50 %.3f ms, p99 %.3f ms%s", l.P50Ns/1e6, l.P99Ns/1e6, came)
}
