package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// errDismissed ends a driven run whose master has gone or has asked it to leave.
var errDismissed = errors.New("dismissed")

// gate is where a run waits for whoever drives it.
type gate interface {
	// first is passed when the connections are up that must be before any other begins.
	first(ctx context.Context) error
	// held is passed when all connections are up; it gives the moment to begin.
	held(ctx context.Context, tally connections) (start, error)
	// produced is passed when all events were sent; it gives those that any process could not get acknowledged.
	produced(ctx context.Context, refused []int) (all []int, err error)
	// tell sends something to a master, and nothing if there is none.
	tell(m message) error
	// teller gives who hears of progress.
	teller(stderr io.Writer, quiet bool) teller
	// ended translates the error that ended a run.
	ended(ctx context.Context, err error) error
}

func newGate(sc scenario, p *program, dismiss context.CancelCauseFunc) gate {
	switch {
	case !sc.target.Part.isWhole():
		return &partGate{master: listenTo(p, dismiss)}
	case sc.output.Control:
		return &controlGate{master: listenTo(p, dismiss)}
	default:
		return freeGate{}
	}
}

// freeGate is that of a run nobody drives.
type freeGate struct{}

func (freeGate) first(context.Context) error { return nil }

func (freeGate) held(context.Context, connections) (start, error) { return startIn(lead), nil }

func (freeGate) produced(_ context.Context, refused []int) ([]int, error) { return refused, nil }

func (freeGate) tell(message) error { return nil }

func (freeGate) teller(stderr io.Writer, quiet bool) teller { return tellPeople(stderr, quiet) }

func (freeGate) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted: the run has no result")
	}
	return err
}

// master is the program at the other end of stdin and stdout.
type master struct {
	lines  chan []byte
	mu     sync.Mutex // one writer at a time
	stdout io.Writer
}

// listenTo begins to read stdin, and has the run dismissed at its end.
func listenTo(p *program, dismiss context.CancelCauseFunc) *master {
	m := &master{lines: make(chan []byte, 16), stdout: p.stdout}
	go func() {
		defer dismiss(errDismissed)
		stdin := bufio.NewReader(p.stdin)
		for {
			line, err := stdin.ReadBytes('\n')
			if err != nil {
				return
			}
			select {
			case m.lines <- line[:len(line)-1]:
			default: // nobody says this much: not our master
				return
			}
		}
	}()
	return m
}

func (m *master) write(value any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return writeLine(m.stdout, value)
}

func (m *master) read(ctx context.Context) ([]byte, error) {
	select {
	case line := <-m.lines:
		return line, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (m *master) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errDismissed
	}
	return err
}

const goLine = "go"

// controlGate waits for a line "go".
type controlGate struct {
	*master
	freeGate
}

func (g *controlGate) held(ctx context.Context, tally connections) (start, error) {
	event := map[string]any{"event": eventHeld, "connections": tally.Held, "connect_seconds": tally.ConnectSeconds}
	if err := g.write(event); err != nil {
		return start{}, err
	}
	for {
		line, err := g.read(ctx)
		if err != nil {
			return start{}, err
		}
		if string(line) == goLine {
			return startIn(lead), nil
		}
	}
}

func (g *controlGate) ended(ctx context.Context, err error) error { return g.master.ended(ctx, err) }

// Events that a process of a crew tells.
const (
	eventFirst    = "first"
	eventHeld     = "held"
	eventProduced = "produced"
	eventCounts   = "counts"
	eventOutcome  = "outcome"
)

// message is what a process of a crew tells the one that leads it; order is the answer.
type message struct {
	Event   string       `json:"event"`
	Held    *connections `json:"held,omitempty"`
	Refused []int        `json:"refused,omitempty"`
	Counts  *counts      `json:"counts,omitempty"`
	Outcome *outcome     `json:"outcome,omitempty"`
}

type order struct {
	Start   *start `json:"start,omitempty"`
	Refused []int  `json:"refused,omitempty"`
}

// partGate meets the other processes of a crew.
type partGate struct{ *master }

func (g *partGate) first(ctx context.Context) error {
	_, err := g.meet(ctx, message{Event: eventFirst})
	return err
}

func (g *partGate) held(ctx context.Context, tally connections) (start, error) {
	answer, err := g.meet(ctx, message{Event: eventHeld, Held: &tally})
	if err == nil && answer.Start == nil {
		err = errors.New("the leading process gave no time to start")
	}
	if err != nil {
		return start{}, err
	}
	return *answer.Start, nil
}

func (g *partGate) produced(ctx context.Context, refused []int) ([]int, error) {
	answer, err := g.meet(ctx, message{Event: eventProduced, Refused: refused})
	return answer.Refused, err
}

func (g *partGate) meet(ctx context.Context, m message) (answer order, err error) {
	if err := g.write(m); err != nil {
		return order{}, err
	}
	line, err := g.read(ctx)
	if err != nil {
		return order{}, err
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return order{}, fmt.Errorf("read the leading process's order: %w", err)
	}
	return answer, nil
}

func (g *partGate) tell(m message) error { return g.write(m) }

func (g *partGate) teller(io.Writer, bool) teller { return leaderTeller{g} }

// leaderTeller tells the leading process. One that is gone shows as the end of stdin.
type leaderTeller struct{ gate *partGate }

func (t leaderTeller) tell(c counts) { _ = t.gate.tell(message{Event: eventCounts, Counts: &c}) }

func (leaderTeller) end() {}

func writeLine(w io.Writer, value any) error {
	if err := json.NewEncoder(w).Encode(value); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}

// crewLead is the time that a crew's processes have between the order to start and the first event.
const crewLead = 50 * time.Millisecond
