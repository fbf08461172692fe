package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
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
	sc.passersBy = int(math.Ceil(c.ChurnRate * (c.ChurnLife + spareLife).Seconds()))
	sc.newLoad = func(ctx context.Context, p *program, held share) (load, error) {
		f, err := c.open(ctx, p, held)
		if err != nil {
			return nil, err
		}
		warmup, total := pace.Count(c.Warmup, c.ChurnRate), pace.Count(c.Warmup+c.Duration, c.ChurnRate)
		turns := int(math.Ceil(c.ChurnRate * c.ChurnLife.Seconds() / float64(held.part.of)))
		return newChurnLoad(f, newStream(held.part, c.ChurnRate, warmup, total), turns, held.passersBy), nil
	}
	return sc.run(ctx, p, args)
}

// spareLife is for how long the loop may be behind with sending passers-by away before their successors wait for it.
const spareLife = 100 * time.Millisecond

// churnLoad is a feed to the members, and a stream of comings. A coming takes a passer-by that is free. The one that
// came a life before, which is so many turns, is sent away at the same time and is free from then on. More are there
// than a life has turns, so that the thread that paces begins connections itself and need not wait for the loop.
type churnLoad struct {
	*feed
	comings *stream
	fleet   *fleet
	free    chan int       // passers-by
	latest  []atomic.Int64 // by passer-by: the event that is its coming; it changes only while the passer-by is free

	// owned by the goroutine that paces
	there []int // the passers-by of the last life's turns, in the order of those; -1: none yet
	lag   *sample.Histogram

	// owned by the loop's goroutine
	known   []int64 // by passer-by: the last event of which is known what came of it
	isUp    []bool
	account churn
	losses  map[string]int
	failure error

	settled atomic.Int64 // comings that are up, or have failed
}

func newChurnLoad(f *feed, comings *stream, turns, passersBy int) *churnLoad {
	l := &churnLoad{
		feed:    f,
		comings: comings,
		free:    make(chan int, passersBy),
		latest:  make([]atomic.Int64, passersBy),
		there:   slices.Repeat([]int{-1}, turns),
		lag:     sample.NewHistogram(),
		known:   make([]int64, passersBy),
		isUp:    make([]bool, passersBy),
		losses:  map[string]int{},
	}
	for passer := range passersBy {
		l.free <- passer
		l.known[passer] = -1
		l.latest[passer].Store(-1)
	}
	return l
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

// turn is one coming, and the going of who came a life before. It runs on the goroutine that paces, beside the loop's.
func (l *churnLoad) turn(n int) {
	turn := n / l.comings.part.of % len(l.there)
	if before := l.there[turn]; before >= 0 {
		l.fleet.loop.Do(func() {
			l.leave(before)
			l.free <- before
		})
	}
	select {
	case l.there[turn] = <-l.free:
	case <-l.fleet.loop.Done():
		return
	}
	l.come(l.there[turn], n)
}

func (l *churnLoad) come(passer, n int) {
	l.latest[passer].Store(int64(n))
	if l.comings.isMeasured(n) {
		l.lag.Record(pace.Now() - l.comings.dueNs(n)) // here: it may have waited for a passer-by to be free
	}
	conn := l.feed.share.members() + passer
	if err := l.fleet.loop.Dial(conn); err != nil {
		l.fleet.loop.Do(func() { l.fleet.Closed(conn, err) })
	}
}

// leave ends a passer-by's connection. One that is not up by now has failed.
func (l *churnLoad) leave(passer int) {
	switch {
	case l.isUp[passer]:
		l.account.Dropped++
	case l.known[passer] != l.latest[passer].Load():
		l.fail(passer, errors.New("not up when its time was over"))
	}
	l.isUp[passer] = false
	if err := l.fleet.drop(l.feed.share.members() + passer); err != nil {
		l.failure = err
	}
}

// settleComing notes that it is known what came of a passer-by's coming.
func (l *churnLoad) settleComing(passer int) {
	l.known[passer] = l.latest[passer].Load()
	l.settled.Add(1)
}

// fail counts a coming that came to nothing.
func (l *churnLoad) fail(passer int, reason error) {
	l.account.Failed++
	l.settleComing(passer)
	l.blame(reason)
}

func (l *churnLoad) blame(reason error) {
	countText(l.losses, "churn: "+reason.Error())
	countText(l.fleet.tally.Errors, "churn: "+reason.Error())
}

func (l *churnLoad) sendAllAway() error {
	for passer := range l.isUp {
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
	l.settleComing(passer)
	l.comings.receive(int(l.known[passer]), nowNs)
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
		l.fail(passer, reason)
	}
	l.isUp[passer] = false
}

func (l *churnLoad) conclude(out *outcome) error {
	if err := l.feed.conclude(out); err != nil {
		return err
	}
	l.account.Asked = int(l.comings.sent.Load())
	out.Churn = &l.account
	out.Histograms[churned], out.Histograms[churnLag] = l.comings.response, l.lag
	out.Troubles = mergeTexts(out.Troubles, l.losses)
	return nil
}
