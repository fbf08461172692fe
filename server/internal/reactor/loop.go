package reactor

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"

	"chatmonitor/server/monitor"
)

const (
	// A loop is never held longer than this by work that is not a socket's.
	budget = 2 * time.Millisecond
	// The clock of a loop counts ticks that it has lived through. While the process stands still, no
	// tick passes, and between two ticks the sockets are read: silence is never our own.
	tickEvery = 20 * time.Millisecond
	// After a Close, the time to get what is written out, and the peer's time to read it.
	flushWithin  = 8 * time.Second
	lingerWithin = 2 * time.Second
)

// loop is what belongs to one event loop: a shard, its connections and their clock.
type loop struct {
	// Static after construction.
	server *server
	events gnet.EventLoop
	shard  *monitor.Shard
	busy   *atomic.Int64
	rearm  chan struct{} // asks the driver for another call of work

	conns atomic.Int64 // open sockets of the loop, for the driver and the drain

	// Owned by the loop's goroutine.
	tick       uint32
	rosters    [closed][]*conn // by phase
	hand       int             // where the walk over the open connections is
	backlogged map[*conn]struct{}
	reported   int64 // bytes that waited for their peers when the metric was last told
	upgrader   *upgrader
	cork       cork
}

// drain paces the leaving of all loops' WebSockets: the first goes at once, the last when spread is over.
type drain struct {
	from   time.Time
	spread time.Duration
	total  int64        // WebSockets at the begin
	sent   atomic.Int64 // away
}

// take reports whether another WebSocket is due to be sent away, and counts it.
func (d *drain) take(now time.Time) bool {
	elapsed := now.Sub(d.from)
	if elapsed >= d.spread {
		return true
	}
	due := 1 + int64(float64(d.total-1)*elapsed.Seconds()/d.spread.Seconds())
	for sent := d.sent.Load(); sent < due; sent = d.sent.Load() {
		if d.sent.CompareAndSwap(sent, sent+1) {
			return true
		}
	}
	return false
}

func newLoop(s *server, events gnet.EventLoop, number int) *loop {
	l := &loop{
		server: s, events: events, shard: s.app.Hub.Shards()[number], busy: s.app.Stats.LoopBusy(number),
		rearm: make(chan struct{}, 1), backlogged: make(map[*conn]struct{}),
		upgrader: newUpgrader(s.app.Config.Echo),
	}
	work := gnet.RunnableFunc(func(context.Context) error { l.work(); return nil })
	l.shard.Bind(func() { l.execute(work) })
	s.drivers.Go(func() { l.drive(work) })
	return l
}

// execute has the loop run r. After the engine's end there is nothing to run it for.
func (l *loop) execute(r gnet.Runnable) {
	if err := l.events.Execute(context.Background(), r); err != nil && !l.server.stopping.Load() {
		l.server.app.Stats.NetErrors.Add(1)
		l.server.app.Log.Error("reactor: a task was not taken", "err", err)
	}
}

// drive is the goroutine beside a loop: it makes the clock tick, and arms work again from outside. A
// task that armed itself would run again before any socket is polled, because gnet runs its queue
// empty first.
func (l *loop) drive(work gnet.Runnable) {
	clock := time.NewTicker(tickEvery)
	defer clock.Stop()
	ticking := make(chan struct{}, 1) // one tick is under way at most
	tick := gnet.RunnableFunc(func(context.Context) error { l.ticked(); <-ticking; return nil })
	for {
		select {
		case <-l.server.stopped:
			return
		case <-l.rearm:
			l.execute(work)
		case <-clock.C:
			if l.conns.Load() == 0 {
				continue
			}
			select {
			case ticking <- struct{}{}:
				l.execute(tick)
			default:
			}
		}
	}
}

func (l *loop) work() {
	began := time.Now()
	if l.shard.Work(budget) {
		l.rearm <- struct{}{} // never full: a call of work follows each
	}
	l.busy.Add(int64(time.Since(began)))
}

func (l *loop) ticked() {
	began := time.Now()
	deadline := began.Add(budget)
	l.tick++
	l.endLate(inHead, l.server.handshakeTicks, func(c *conn) { c.refuse(monitor.HeadTimeout, requestTimeout) })
	l.endLate(closing, ticks(flushWithin+lingerWithin), (*conn).end)
	l.flushClosing()
	l.drainSome(deadline)
	l.pingSilent(deadline)
	l.reportQueued()
	l.busy.Add(int64(time.Since(began)))
}

func (l *loop) reportQueued() {
	var waiting int64
	for c := range l.backlogged {
		n := c.gc.OutboundBuffered()
		waiting += int64(n)
		c.account(n)
	}
	l.server.app.Stats.QueuedOut.Add(waiting - l.reported)
	l.reported = waiting
}

func ticks(d time.Duration) uint32 { return uint32(max(1, (d+tickEvery-1)/tickEvery)) }

// endLate ends the connections that have been in a phase for too long.
func (l *loop) endLate(p phase, after uint32, end func(*conn)) {
	for i := len(l.rosters[p]) - 1; i >= 0; i-- { // ending swaps the last into its place
		if c := l.rosters[p][i]; l.tick-c.heard > after {
			end(c)
		}
	}
}

// flushClosing shuts our end of the connections whose last bytes have been written, and ends those
// whose peers do not.
func (l *loop) flushClosing() {
	for i := len(l.rosters[closing]) - 1; i >= 0; i-- {
		c := l.rosters[closing][i]
		wasFlushed := c.flushed
		c.shut()
		switch {
		case c.phase != closing:
		case !wasFlushed && c.flushed:
			c.heard = l.tick
		case c.flushed && l.tick-c.heard > ticks(lingerWithin):
			c.end()
		}
	}
}

// pingSilent walks over the open connections, a part of them at each tick, so that pings spread: the
// hand goes round four times in an idle time, or as fast as the budget lets it.
func (l *loop) pingSilent(deadline time.Time) {
	idle := l.server.idleTicks
	n := len(l.rosters[open])
	if idle == 0 || n == 0 {
		return
	}
	round := max(1, int(idle)/4)
	for visits := (n + round - 1) / round; visits > 0; visits-- {
		l.hand--
		if l.hand < 0 || l.hand >= len(l.rosters[open]) {
			l.hand = len(l.rosters[open]) - 1
		}
		if l.hand < 0 {
			return
		}
		c := l.rosters[open][l.hand]
		silent := l.tick - c.heard
		switch {
		case silent >= 3*idle:
			c.Close(monitor.PeerSilent)
		case silent >= idle*(1+uint32(c.pings)):
			c.pings++
			c.write(pingFrame)
		}
		if visits%16 == 0 && time.Now().After(deadline) {
			return
		}
	}
}

var pingFrame = frame(ws.OpPing, nil)

// drainSome sends the notice and the Close to those whose turn it is.
func (l *loop) drainSome(deadline time.Time) {
	d := l.server.drain.Load()
	if d == nil {
		return
	}
	for now := time.Now(); len(l.rosters[open]) > 0 && now.Before(deadline) && d.take(now); now = time.Now() {
		c := l.rosters[open][len(l.rosters[open])-1]
		c.write(drainingFrame)
		c.Close(monitor.Draining)
	}
}

func (l *loop) add(c *conn, p phase) {
	c.phase, c.slot, c.heard = p, int32(len(l.rosters[p])), l.tick
	l.rosters[p] = append(l.rosters[p], c)
}

func (l *loop) move(c *conn, p phase) {
	l.remove(c)
	if p != closed {
		l.add(c, p)
	}
	c.phase = p
}

func (l *loop) remove(c *conn) {
	roster := l.rosters[c.phase]
	last := len(roster) - 1
	moved := roster[last]
	roster[c.slot], moved.slot = moved, c.slot
	roster[last] = nil
	l.rosters[c.phase] = roster[:last]
}
