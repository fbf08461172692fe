package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// session is one scenario under way: its connections, who is told about it, and what has been found.
type session struct {
	fleet    *fleet
	progress *progress
	gate     *gate
	outcome  *outcome
	faults   *faults
}

// holding is a scenario whose connections come up first: what differs between such scenarios.
type holding struct {
	scenario string
	target   targetFlags
	output   outputFlags
	onPush   func(conn int, text []byte, nowNs int64)
	load     func(ctx context.Context, s *session) error
}

// hold brings the connections up, lets the load run, and closes everything, whatever happens.
func hold(ctx context.Context, p *program, h holding) (out *outcome, err error) {
	g, ctx := newGate(ctx, p, h.output.Control)
	defer func() { err = g.ended(ctx, err) }()
	s := &session{
		gate:     g,
		progress: startProgress(p.stderr, h.output.Quiet),
		faults:   newFaults(),
		outcome:  &outcome{scenario: h.scenario, url: h.target.URL},
	}
	defer s.progress.end()
	beforeBytes, err := residentBytes()
	if err != nil {
		return nil, err
	}
	if s.fleet, err = newFleet(ctx, h.target, s.faults, h.onPush); err != nil {
		return nil, err
	}
	err = s.drive(ctx, h, beforeBytes)
	if err := errors.Join(err, s.fleet.close()); err != nil {
		return nil, err
	}
	s.outcome.connections = s.fleet.tally
	s.outcome.faults = s.faults.counts
	return s.outcome, s.outcome.self.finish()
}

func (s *session) drive(ctx context.Context, h holding, beforeBytes int64) error {
	s.progress.now(s.connecting)
	if err := s.fleet.connect(ctx); err != nil {
		return err
	}
	var held connections
	if err := s.fleet.ask(ctx, func() error { held = s.fleet.tally; return nil }); err != nil {
		return err
	}
	if err := s.outcome.self.hold(beforeBytes, held.Held); err != nil {
		return err
	}
	if err := s.gate.pass(ctx, held); err != nil {
		return err
	}
	return h.load(ctx, s)
}

func (s *session) connecting(since time.Duration) string {
	up, asked := s.fleet.up.Load(), s.fleet.flags.Connections
	return fmt.Sprintf("connecting: %d of %d up, %d failed, %.0f/s", up, asked, s.fleet.lost.Load(), float64(up)/since.Seconds())
}
