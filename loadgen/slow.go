package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"chatmonitor/loadgen/pace"
)

// slowCommand has a share of the connections stop reading.
type slowCommand struct {
	SlowShare float64 `default:"0.1" help:"Share of the connections that read nothing from the start of the load to its end."`
	pushFlags `embed:"" set:"receivers=100"`
}

func (c *slowCommand) validate() error {
	var own error
	if !(c.SlowShare > 0 && c.SlowShare < 1) {
		own = errors.New("--slow-share must be above 0 and below 1")
	}
	return errors.Join(own, c.pushFlags.validate())
}

func (c *slowCommand) run(ctx context.Context, p *program, args []string) (int, error) {
	sc := c.scenario("slow")
	sc.newLoad = func(ctx context.Context, p *program, held share) (load, error) {
		f, err := c.open(ctx, p, held)
		if err != nil {
			return nil, err
		}
		l := &slowLoad{feed: f, slowShare: c.SlowShare, account: slowReaders{Closes: map[string]int{}}}
		f.excluded = l.isSlow
		return l, nil
	}
	return sc.run(ctx, p, args)
}

const (
	// slowReceiveBytes keeps the kernel from reading in a slow reader's place.
	slowReceiveBytes = 4 << 10
	// backlogSilence ends the wait for what slow readers find when they read again.
	backlogSilence = 2 * time.Second
)

// slowLoad is a feed to those who read. What the others get when they read again at the end is checked, not
// expected: the server may have left out all that exceeds its budget for them, and them with it.
type slowLoad struct {
	*feed
	slowShare float64

	// owned by the loop's goroutine
	account slowReaders

	open    atomic.Int64 // slow readers that the server has not closed
	heardNs atomic.Int64 // when a slow reader last read anything
}

func (l *slowLoad) hears() listener {
	return listener{push: l.hear, gone: l.gone, excused: l.isExcused, receiveBytes: func(conn int) int {
		if l.isSlow(conn) {
			return slowReceiveBytes
		}
		return 0
	}}
}

// isSlow spreads the slow ones evenly.
func (l *slowLoad) isSlow(conn int) bool {
	return int(float64(conn+1)*l.slowShare) > int(float64(conn)*l.slowShare)
}

// isExcused tells slow readers from when they have stopped reading: until then they are lost like any other.
func (l *slowLoad) isExcused(conn int) bool { return l.account.Paused > 0 && l.isSlow(conn) }

func (l *slowLoad) hear(conn int, text []byte, nowNs int64) {
	if l.isSlow(conn) {
		l.heardNs.Store(nowNs)
	}
	l.receive(conn, text, nowNs)
}

func (l *slowLoad) gone(conn int, reason error) {
	if !l.isExcused(conn) {
		return
	}
	l.account.ClosedByServer++
	countText(l.account.Closes, reason.Error())
	l.open.Add(-1)
}

func (l *slowLoad) run(ctx context.Context, s *session) error {
	if err := l.begin(ctx, s); err != nil {
		return err
	}
	if err := s.fleet.ask(ctx, func() error { return l.pause(s.fleet) }); err != nil {
		return err
	}
	if err := l.produce(ctx); err != nil {
		return err
	}
	if err := l.settle(ctx, s); err != nil {
		return err
	}
	if err := l.readAgain(ctx, s.fleet); err != nil {
		return err
	}
	return s.fleet.check(ctx)
}

func (l *slowLoad) pause(f *fleet) error {
	for i := range f.share.members() {
		if f.phases[i] == ready && l.isSlow(i) {
			if err := f.loop.Pause(i); err != nil {
				return err
			}
			l.account.Paused++
			l.open.Add(1)
		}
	}
	return nil
}

// readAgain has the slow readers find what is left for them, until they are closed or nothing more comes.
func (l *slowLoad) readAgain(ctx context.Context, f *fleet) error {
	l.heardNs.Store(pace.Now())
	err := f.ask(ctx, func() error {
		for i := range f.share.members() {
			if f.phases[i] == ready && l.isSlow(i) {
				if err := f.loop.Resume(i); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for err == nil && l.open.Load() > 0 && pace.Now()-l.heardNs.Load() < backlogSilence.Nanoseconds() {
		err = sleep(ctx, lookInterval)
	}
	return err
}

func (l *slowLoad) conclude(out *outcome) error {
	out.Slow = &l.account
	return l.feed.conclude(out)
}
