package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// idleCommand holds connections that do nothing.
type idleCommand struct {
	targetFlags
	outputFlags
	Hold time.Duration `default:"10s" help:"Time to hold the connections; not used with --control."`
}

func (c *idleCommand) report() outputFlags { return c.outputFlags }

func (c *idleCommand) validate() error {
	if c.Hold < 0 {
		return errors.New("--hold must not be negative")
	}
	return c.targetFlags.validate()
}

func (c *idleCommand) run(ctx context.Context, p *program) (*outcome, error) {
	ignorePushes := func(int, []byte, int64) {} // other producers may be at work
	return hold(ctx, p, holding{scenario: "idle", target: c.targetFlags, output: c.outputFlags, onPush: ignorePushes, load: c.load})
}

func (c *idleCommand) load(ctx context.Context, s *session) error {
	if !c.Control {
		s.progress.now(func(since time.Duration) string {
			return fmt.Sprintf("idle: holding %d connections, %d dropped, %.0f s left",
				s.fleet.up.Load(), s.fleet.lost.Load(), max(0, c.Hold-since).Seconds())
		})
		if err := sleep(ctx, c.Hold); err != nil {
			return err
		}
	}
	return s.fleet.check(ctx)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
