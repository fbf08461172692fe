package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// errDismissed ends a controlled run whose master has gone or has asked it to leave.
var errDismissed = errors.New("dismissed")

const goLine = "go"

// gate lets a controlled run wait for its master. Without control it is always open.
type gate struct {
	controlled bool
	stdout     io.Writer
	opened     chan struct{}
	dismiss    context.CancelCauseFunc
}

// newGate begins to listen to stdin, if controlled. The context it returns ends when the master has gone.
func newGate(ctx context.Context, p *program, controlled bool) (*gate, context.Context) {
	ctx, dismiss := context.WithCancelCause(ctx)
	g := &gate{controlled: controlled, stdout: p.stdout, opened: make(chan struct{}), dismiss: dismiss}
	if controlled {
		go g.listen(p.stdin)
	}
	return g, ctx
}

func (g *gate) listen(stdin io.Reader) {
	lines := bufio.NewScanner(stdin)
	isOpen := false
	for lines.Scan() {
		if lines.Text() == goLine && !isOpen {
			isOpen = true
			close(g.opened)
		}
	}
	g.dismiss(errDismissed)
}

// pass says that the connections are held and, under control, waits for "go". It reports whether it waited.
func (g *gate) pass(ctx context.Context, held connections) error {
	if !g.controlled {
		return nil
	}
	event := map[string]any{"event": "held", "connections": held.Held, "connect_seconds": held.ConnectSeconds}
	if err := writeLine(g.stdout, event); err != nil {
		return err
	}
	select {
	case <-g.opened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ended translates the end of a run: a controlled one that was told to leave has not failed.
func (g *gate) ended(ctx context.Context, err error) error {
	if err != nil && g.controlled && ctx.Err() != nil {
		return errDismissed
	}
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: the run has no result")
	}
	return err
}

func writeLine(w io.Writer, value any) error {
	if err := json.NewEncoder(w).Encode(value); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}
