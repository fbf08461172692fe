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
	loopBudget = 2 * time.Millisecond
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
	goOn   chan struct{} // asks it for another part of the drain

	conns atomic.Int64 // open sockets of the loop, for the driver and the drain

	// Owned by the loop's goroutine.
	tick       uint32
	rosters    [closed][]*conn // by phase
	hands      [closed]int     // where the walk over each is
	looked     uint            // connections looked at by displace
	backlogged map[*conn]struct{}
	queued     int64 // bytes that wait for the peers of those
	reported   int64 // of queued, when the metric was last told
	goingOn    bool  // another part of the drain has been asked for
	upgrader   *upgrader
	cork       cork
	reply      []byte // the answer that is being framed
}

// drain paces the leaving of all loops' WebSockets: the first goes at once, the last when spread is over.
type drain struct {
	from   time.Time
	spread time.Duration
	total  int64        // WebSockets at the begin
	sent   atomic.Int64 // away
}

// spreadOf is the part of a drain's time in which sessions are sent away. The rest is the peers', to read and
// to answer.
func spreadOf(drain time.Duration) time.Duration { return drain / 10 * 6 }

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
		rearm: make(chan struct{}, 1), goOn: make(chan struct{}, 1), backlogged: make(map[*conn]struct{}),
		upgrader: newUpgrader(&s.app.Config),
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
	drain := gnet.RunnableFunc(func(context.Context) error { l.drainOn(); return nil })
	for {
		select {
		case <-l.server.stopped:
			return
		case <-l.rearm:
			l.execute(work)
		case <-l.goOn:
			l.execute(drain)
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
	more := true // should it panic, the next call goes on
	defer func() {
		if more {
			l.rearm <- struct{}{} // never full: a call of work follows each
		}
		l.busy.Add(int64(time.Since(began)))
	}()
	defer l.server.survive("shard")
	more = l.shard.Work(l.server.budget)
}

// ticked is the loop's clock. Each part of it may take a quarter of the budget, and what the parts
// before have left.
func (l *loop) ticked() {
	began := time.Now()
	defer func() { l.busy.Add(int64(time.Since(began))) }()
	defer l.server.survive("clock")
	quarter := l.server.budget / 4
	l.tick++
	l.walk(inHead, len(l.rosters[inHead]), began.Add(quarter), l.endLateHead)
	l.walk(closing, len(l.rosters[closing]), began.Add(2*quarter), l.endLateClose)
	l.drainSome(began.Add(3 * quarter))
	l.pingSilent(began.Add(4 * quarter))
	l.reportQueued(began.Add(4 * quarter))
}

// walk visits so many connections of a phase, from where the last walk ended, or as many as it can
// before the deadline.
func (l *loop) walk(p phase, most int, deadline time.Time, visit func(*conn)) {
	for n := 1; n <= most && len(l.rosters[p]) > 0; n++ {
		hand := &l.hands[p]
		if *hand--; *hand < 0 || *hand >= len(l.rosters[p]) {
			*hand = len(l.rosters[p]) - 1
		}
		visit(l.rosters[p][*hand])
		if n%visitsPerLook == 0 && time.Now().After(deadline) {
			return
		}
	}
}

// visitsPerLook is how many connections are visited between two looks at the clock.
const visitsPerLook = 16

// reportQueued looks at the connections whose peers are slow, or at some of them if there are many, and
// tells the metric how much waits for them.
func (l *loop) reportQueued(deadline time.Time) {
	visits := 0
	for c := range l.backlogged {
		c.account(c.gc.OutboundBuffered())
		if visits++; visits%visitsPerLook == 0 && time.Now().After(deadline) {
			break
		}
	}
	l.tellQueued()
}

func (l *loop) tellQueued() {
	l.server.app.Stats.QueuedOut.Add(l.queued - l.reported)
	l.reported = l.queued
}

// mostTicks is eight months, and as good as never; three times as much can still be counted.
const mostTicks = 1 << 30

func ticks(d time.Duration) uint32 { return uint32(min(max(0, d-1)/tickEvery+1, mostTicks)) }

func (l *loop) endLateHead(c *conn) {
	if l.tick-c.heard > l.server.handshakeTicks {
		c.refuse(monitor.HeadTimeout, requestTimeout)
	}
}

// endLateClose shuts our end of a connection whose last bytes have been written, and ends one whose
// peer does not, or does not read them.
func (l *loop) endLateClose(c *conn) {
	wasFlushed := c.is(flushed)
	c.shut()
	late := ticks(flushWithin + lingerWithin)
	switch {
	case c.phase != closing:
		return
	case !wasFlushed && c.is(flushed):
		c.heard = l.tick
	case c.is(flushed):
		late = ticks(lingerWithin)
	}
	if l.tick-c.heard > late {
		c.end()
	}
}

// pingSilent walks over the open connections, a part of them at each tick, so that pings spread: the
// hand goes round four times in an idle time, or as fast as the budget lets it.
func (l *loop) pingSilent(deadline time.Time) {
	if idle := int(l.server.idleTicks); idle > 0 {
		round := max(1, idle/4)
		l.walk(open, (len(l.rosters[open])+round-1)/round, deadline, l.pingIfSilent)
	}
}

// pingIfSilent pings a peer once for each idle time of its silence. Where the walk is late, the peer is
// asked before it is given up.
func (l *loop) pingIfSilent(c *conn) {
	idle := l.server.idleTicks
	silent := l.tick - c.heard
	switch {
	case silent >= 3*idle && c.pings() > 0:
		c.Close(monitor.PeerSilent)
	case silent >= idle*(1+c.pings()):
		c.marks += onePing
		c.write(pingFrame, nil)
	}
}

var pingFrame = frame(ws.OpPing, nil)

// drainSome sends the notice and the Close to those whose turn it is. Where the time for that is over before
// all are told, it goes on as soon as the sockets have been looked after.
func (l *loop) drainSome(deadline time.Time) {
	d := l.server.drain.Load()
	if d == nil {
		return
	}
	for len(l.rosters[open]) > 0 {
		now := time.Now()
		if !now.Before(deadline) {
			l.drainMore()
			return
		}
		if !d.take(now) {
			return
		}
		c := l.rosters[open][len(l.rosters[open])-1]
		c.write(drainingFrame, nil)
		c.Close(monitor.Draining)
	}
}

// drainMore asks for another part of the drain, once.
func (l *loop) drainMore() {
	if !l.goingOn {
		l.goingOn = true
		l.goOn <- struct{}{} // never full: drainOn follows each
	}
}

func (l *loop) drainOn() {
	began := time.Now()
	defer func() { l.busy.Add(int64(time.Since(began))) }()
	defer l.server.survive("drain")
	l.goingOn = false
	l.drainSome(began.Add(l.server.budget))
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
