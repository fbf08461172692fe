package main

import (
	"context"
	"errors"
	"time"
)

// idleCommand holds connections that do nothing.
type idleCommand struct {
	Hold time.Duration `default:"10s" help:"Time to hold the connections; not used with --control."`
	targetFlags
	groupFlags
	echoFlags
	outputFlags
}

func (c *idleCommand) validate() error {
	if c.Hold < 0 {
		return errors.New("--hold must not be negative")
	}
	return errors.Join(c.targetFlags.validate(), c.groupFlags.validate(), c.outputFlags.validate())
}

func (c *idleCommand) run(ctx context.Context, p *program, args []string) (int, error) {
	hold := c.Hold
	if c.Control {
		hold = 0 // the master says when
	}
	return scenario{
		name: "idle", target: c.targetFlags, output: c.outputFlags, receivers: c.Receivers, firstGroup: c.FirstGroup, echoes: c.Echo,
		newLoad: func(context.Context, *program, share) (load, error) { return &idleLoad{hold: hold}, nil },
	}.run(ctx, p, args)
}

// idleLoad does nothing for a while. Other producers may be at work: it hears no pushes.
type idleLoad struct{ hold time.Duration }

func (l *idleLoad) hears() listener { return listener{} }

func (l *idleLoad) run(ctx context.Context, s *session) error {
	s.progress.now(func() counts {
		c := s.fleet.counts("idle")
		c.Seconds = int64(l.hold.Seconds())
		return c
	})
	if _, err := s.open(ctx); err != nil {
		return err
	}
	if err := sleep(ctx, l.hold); err != nil {
		return err
	}
	return s.fleet.check(ctx)
}

func (l *idleLoad) conclude(*outcome) error { return nil }

func (l *idleLoad) close() error { return nil }
