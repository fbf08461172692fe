package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"chatmonitor/loadgen/pace"
	"chatmonitor/loadgen/sample"
)

// churnCommand lets connections come and go beside a push.
type churnCommand struct {
	ChurnRate float64       `default:"100" help:"Connections that come, and that go, per second; they listen to the same records."`
	ChurnLife time.Duration `default:"1s" help:"Time between a connection's coming and its going."`
	pushFlags
}

func (c *churnCommand) validate() error {
	var own error
	switch {
	case !(c.ChurnRate > 0 && c.ChurnRate <= maxRate):
		own = fmt.Errorf("--churn-rate must be above 0 and at most %d", maxRate)
	case c.ChurnLife <= 0:
		own = errors.New("--churn-life must be above zero")
	}
	return errors.Join(own, c.pushFlags.validate())
}

func (c *churnCommand) run(ctx context.Context, p *program, args []string) (int, error) {
	sc := c.scenario("churn")
	sc.passersBy = int(math.Ceil(c.ChurnRate * c.ChurnLife.Seconds()))
	sc.newLoad = func(ctx context.Context, p *program, held share) (load, error) {
		f, err := c.open(ctx, p, held)
		if err != nil {
			return nil, err
		}
		warmup, total := pace.Count(c.Warmup, c.ChurnRate), pace.Count(c.Warmup+c.Duration, c.ChurnRate)
		return &churnLoad{
			feed: f, comings: newStream(held.part, c.ChurnRate, warmup, total),
			latest: make([]int, held.passersBy), isUp: make([]bool, held.passersBy),
			lag: sample.NewHistogram(), losses: map[string]int{},
		}, nil
	}
	return sc.run(ctx, p, args)
}

// churnLoad is a feed to the members, and a stream of comings. The passers-by take turns: whose turn it is goes, if
// it is there, and comes anew; the number of passers-by is such that a turn lasts --churn-life.
type churnLoad struct {
	*feed
	comings *stream
	fleet   *fleet

	// owned by the loop's goroutine
	latest  []int // by passer-by: the event that is its coming
	lag     *sample.Histogram
	isUp    []bool
	account churn
	losses  map[string]int
	failure error

	settled atomic.Int64 // comings that are up, or have failed
}

func (l *churnLoad) hears() listener {
	return listener{push: l.receive, ready: l.arrived, gone: l.gone}
}

func (l *churnLoad) run(ctx context.Context, s *session) error {
	l.fleet = s.fleet
	if err := l.begin(ctx, s); err != nil {
		return err
	}
	l.comings.startNs = l.stream.startNs
	both, bothContext := errgroup.WithContext(ctx)
	both.Go(func() error { return l.produce(bothContext) })
	both.Go(func() error { return l.comings.run(bothContext, l.turn) })
	if err := both.Wait(); err != nil {
		return err
	}
	if err := l.awaitComings(ctx); err != nil {
		return err
	}
	if err := s.fleet.ask(ctx, l.sendAllAway); err != nil {
		return err
	}
	if err := l.settle(ctx, s); err != nil {
		return err
	}
	return s.fleet.check(ctx)
}

// awaitComings gives the last of those that came the time to be up; each has its own limit.
func (l *churnLoad) awaitComings(ctx context.Context) error {
	all := l.comings.sent.Load()
	return l.comings.settle(ctx, 2*l.fleet.flags.ConnectTimeout, func() bool { return l.settled.Load() >= all })
}

// turn is one passer-by's turn.
func (l *churnLoad) turn(n int) {
	l.fleet.loop.Do(func() {
		passer := n / l.comings.part.of % len(l.latest)
		l.leave(passer)
		l.account.Asked++
		l.latest[passer] = n
		if l.comings.isMeasured(n) {
			l.lag.Record(pace.Now() - l.comings.dueNs(n)) // here, not where it was sent: a busy loop is no fault of the server's
		}
		l.fleet.dial(l.feed.share.members() + passer)
	})
}

// leave ends a passer-by's connection. One that is not up by now has failed.
func (l *churnLoad) leave(passer int) {
	conn := l.feed.share.members() + passer
	switch {
	case l.isUp[passer]:
		l.account.Dropped++
	case l.fleet.phases[conn] != absent:
		l.fail(errors.New("not up when its time was over"))
	default:
		return
	}
	l.isUp[passer] = false
	if err := l.fleet.drop(conn); err != nil {
		l.failure = err
	}
}

// fail counts a coming that came to nothing.
func (l *churnLoad) fail(reason error) {
	l.account.Failed++
	l.settled.Add(1)
	l.blame(reason)
}

func (l *churnLoad) blame(reason error) {
	countText(l.losses, "churn: "+reason.Error())
	countText(l.fleet.tally.Errors, "churn: "+reason.Error())
}

func (l *churnLoad) sendAllAway() error {
	for passer := range l.latest {
		l.leave(passer)
	}
	return l.failure
}

func (l *churnLoad) arrived(conn int, nowNs int64) {
	passer := conn - l.feed.share.members()
	if passer < 0 {
		return
	}
	l.isUp[passer] = true
	l.account.Connected++
	l.settled.Add(1)
	l.comings.receive(l.latest[passer], nowNs)
}

func (l *churnLoad) gone(conn int, reason error) {
	passer := conn - l.feed.share.members()
	switch {
	case passer < 0:
		return
	case l.isUp[passer]:
		l.account.Lost++
		l.blame(reason)
	default:
		l.fail(reason)
	}
	l.isUp[passer] = false
}

func (l *churnLoad) conclude(out *outcome) error {
	if err := l.feed.conclude(out); err != nil {
		return err
	}
	out.Churn = &l.account
	out.Histograms[churned], out.Histograms[churnLag] = l.comings.response, l.lag
	out.Troubles = mergeTexts(out.Troubles, l.losses)
	return nil
}
