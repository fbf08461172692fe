package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Loadgen is a load generator under control: it reports events on its standard
// output and waits at its gate for "go" on its standard input.
type Loadgen struct {
	*Process
	read int // lines of its standard output that have been read
}

// Held is the event that says that all connections are up.
type Held struct {
	Connections    int     `json:"connections"`
	ConnectSeconds float64 `json:"connect_seconds"`
}

// ErrEndedAtGate is a load generator that gave its result, or ended, before its
// connections were up.
var ErrEndedAtGate = errors.New("the load generator gave up before all connections were held")

type event struct {
	Event  string          `json:"event"`
	Result json.RawMessage `json:"result"`
	Held
}

// StartLoadgen runs the command, whose arguments include --control.
func StartLoadgen(c Command) (*Loadgen, error) {
	process, err := Start(c)
	if err != nil {
		return nil, err
	}
	return &Loadgen{Process: process}, nil
}

// AwaitHeld returns when all connections are up. When the load generator gives
// its result instead, that comes with ErrEndedAtGate.
func (l *Loadgen) AwaitHeld(ctx context.Context) (Held, json.RawMessage, error) {
	e, err := l.next(ctx, "connecting")
	if err != nil {
		return Held{}, nil, err
	}
	if e.Event == "result" {
		return Held{}, e.Result, ErrEndedAtGate
	}
	return e.Held, nil, nil
}

// Go opens the gate.
func (l *Loadgen) Go() error {
	if _, err := io.WriteString(l.stdin, "go\n"); err != nil {
		return fmt.Errorf("stack: open the gate of %s: %w", l.name, err)
	}
	return nil
}

// AwaitResult returns the result object, byte for byte.
func (l *Loadgen) AwaitResult(ctx context.Context) (json.RawMessage, error) {
	for {
		e, err := l.next(ctx, "waiting for its result")
		if err != nil {
			return nil, err
		}
		if e.Event == "result" {
			return e.Result, nil
		}
	}
}

// AwaitExit returns the exit code of a load generator that gave its result. Its
// standard input stays open until then: the end of it would call the run off.
func (l *Loadgen) AwaitExit(ctx context.Context) (int, error) {
	select {
	case <-l.exited:
		return l.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("stack: %s gave its result and did not end: %w", l.name, context.Cause(ctx))
	}
}

// next returns the next event. A line that is none is an error: under control
// the load generator writes nothing else on its standard output.
func (l *Loadgen) next(ctx context.Context, doing string) (event, error) {
	line, read, err := l.waitLine(ctx, l.stdout, l.read, doing, func(line string) (string, bool) {
		return line, strings.TrimSpace(line) != ""
	})
	if err != nil {
		return event{}, err
	}
	l.read = read
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event == "" {
		return event{}, fmt.Errorf("stack: %s wrote something that is no event: %.200q", l.name, line)
	}
	return e, nil
}
