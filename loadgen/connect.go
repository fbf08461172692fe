package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"chatmonitor/loadgen/sample"
)

// connectCommand opens connections on a schedule.
type connectCommand struct {
	ConnectRate float64       `default:"1000" help:"Connections to begin per second."`
	Hold        time.Duration `default:"0s" help:"Time to hold them all before the last check."`
	targetFlags
	echoFlags
	outputFlags
	fileFlags
}

func (c *connectCommand) validate() error {
	var own error
	switch {
	case !(c.ConnectRate > 0 && c.ConnectRate <= maxRate):
		own = fmt.Errorf("--connect-rate must be above 0 and at most %d", maxRate)
	case c.Hold < 0:
		own = errors.New("--hold must not be negative")
	}
	return errors.Join(own, c.targetFlags.validate(), c.outputFlags.validate())
}

func (c *connectCommand) run(ctx context.Context, p *program, args []string) (int, error) {
	return scenario{
		name: "connect", target: c.targetFlags, output: c.outputFlags, files: c.fileFlags, echoes: c.Echo, coldStart: true,
		newLoad: func(_ context.Context, _ *program, held share) (load, error) {
			stream := newStream(held.part, c.ConnectRate, 0, c.Connections)
			return &connectLoad{hold: c.Hold, timeout: c.ConnectTimeout, stream: stream, prepared: sample.NewHistogram()}, nil
		},
	}.run(ctx, p, args)
}

// connectLoad is a stream whose events are connects: sent by dialling, received when the upgrade is verified.
type connectLoad struct {
	// static
	hold    time.Duration
	timeout time.Duration
	stream  *stream
	fleet   *fleet

	// owned by the loop's goroutine
	prepared *sample.Histogram

	settled atomic.Int64 // connections that are up or have failed
}

func (l *connectLoad) hears() listener {
	return listener{
		opened: func(conn int, _, nowNs int64) { l.stream.receive(l.number(conn), nowNs) },
		ready: func(conn int, nowNs int64) {
			l.prepared.Record(nowNs - l.stream.dueNs(l.number(conn)))
			l.settled.Add(1)
		},
		gone: func(int, error) { l.settled.Add(1) },
	}
}

// number gives the event that is a connection's connect: the i-th of this process.
func (l *connectLoad) number(conn int) int { return l.stream.part.index + conn*l.stream.part.of }

func (l *connectLoad) run(ctx context.Context, s *session) error {
	l.fleet = s.fleet
	at, err := s.open(ctx)
	if err != nil {
		return err
	}
	err = s.fleet.ask(ctx, func() error {
		for i := range s.fleet.phases {
			s.fleet.phases[i] = dialling // all at once, since dialling is done on another goroutine
		}
		s.fleet.startNs = at.Ns
		return l.stream.begin(at, s.files)
	})
	if err != nil {
		return err
	}
	s.progress.now(func() counts { return l.counts(s) })
	if err := l.stream.run(ctx, l.dial); err != nil {
		return err
	}
	if err := l.awaitAll(ctx, s, at); err != nil {
		return err
	}
	if err := sleep(ctx, l.hold); err != nil {
		return err
	}
	return s.fleet.check(ctx)
}

// dial runs on the goroutine that paces, beside the loop's.
func (l *connectLoad) dial(n int) {
	conn := n / l.stream.part.of
	if err := l.fleet.loop.Dial(conn); err != nil {
		l.fleet.loop.Do(func() { l.fleet.Closed(conn, err) })
	}
}

// awaitAll waits for the last connection, which has its own time limit, and counts what is up.
func (l *connectLoad) awaitAll(ctx context.Context, s *session, at start) error {
	all := int64(s.fleet.share.members())
	if err := l.stream.settle(ctx, 2*l.timeout, func() bool { return l.settled.Load() >= all }); err != nil {
		return err
	}
	if err := s.fleet.ask(ctx, s.fleet.countHeld); err != nil {
		return err
	}
	return s.measureMemory()
}

func (l *connectLoad) counts(s *session) counts {
	c := s.fleet.counts(s.outcome.Scenario)
	c.Sent, c.ToSend, c.Received = l.stream.sent.Load(), int64(s.fleet.share.members()), l.settled.Load()
	c.LatestP99 = l.stream.latest().P99Ns
	return c
}

func (l *connectLoad) conclude(out *outcome) error {
	if err := l.stream.conclude(out); err != nil {
		return err
	}
	out.Histograms[prepared] = l.prepared
	return nil
}

func (l *connectLoad) close() error { return l.stream.end() }
