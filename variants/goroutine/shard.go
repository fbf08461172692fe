package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"chatmonitor/server/monitor"
)

const (
	// Between two looks at its connections' calls, a shard works for at most this long.
	budget = 2 * time.Millisecond
	// Calls that may wait for a shard; then the readers wait, and behind them their peers.
	maxCalls = 128
	// The clock of a shard counts ticks that it has lived through. While the process stands still, no
	// tick passes, and between two ticks the readers run: silence is never our own.
	tickEvery = 20 * time.Millisecond
)

// shard is the goroutine that owns sessions: those of its connections, with the index of their rules.
type shard struct {
	// Static after construction.
	server *server
	core   *monitor.Shard
	busy   *atomic.Int64 // nanoseconds
	woken  chan struct{} // asks for a call of core.Work
	calls  chan *call

	tick atomic.Uint32 // written by the shard's goroutine

	// Owned by the shard's goroutine.
	rosters [closed][]*conn // by phase
	hand    int             // where the walk over the open connections is
	leaving *farewell       // nil before the drain
}

// call is a function that a connection wants to have run on the shard's goroutine.
type call struct {
	conn *conn // nil: the server's
	run  func()
	done chan struct{}
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newShard(s *server, number int, core *monitor.Shard) *shard {
	sh := &shard{
		server: s, core: core, busy: s.app.stats.LoopBusy(number),
		woken: make(chan struct{}, 1), calls: make(chan *call, maxCalls),
	}
	core.Bind(sh.wake)
	return sh
}

// nextShard is where the next connection goes.
func (s *server) nextShard() *shard {
	return s.shards[s.opened.Add(1)%uint64(len(s.shards))]
}

func (sh *shard) wake() {
	select {
	case sh.woken <- struct{}{}:
	default: // it will work anyway
	}
}

// do runs f on the shard's goroutine, and returns when that is done. Should f panic, the connection that
// it is for is closed.
func (sh *shard) do(whose *conn, f func()) {
	c := calls.Get().(*call)
	c.conn, c.run = whose, f
	sh.calls <- c
	<-c.done
	c.conn, c.run = nil, nil
	calls.Put(c)
}

// run is the shard's goroutine.
func (sh *shard) run() {
	clock := time.NewTicker(tickEvery)
	defer clock.Stop()
	for {
		select {
		case <-sh.server.stop:
			return
		case c := <-sh.calls:
			sh.account(func() { sh.answer(c) })
		case <-sh.woken:
			sh.work(clock.C)
		case <-clock.C:
			sh.account(sh.ticked)
		}
	}
}

// account runs a part of the shard's work, and counts its time.
func (sh *shard) account(work func()) {
	began := time.Now()
	work()
	sh.busy.Add(int64(time.Since(began)))
}

// work handles the records that wait. Between two parts of them it is the connections' turn: their
// calls, and the writers that have been woken, which on a busy machine only run if the shard lets them.
func (sh *shard) work(clock <-chan time.Time) {
	for more := true; more; runtime.Gosched() {
		sh.account(func() {
			if more = sh.core.Work(budget); more {
				sh.answerSome(time.Now().Add(budget))
			}
		})
		select {
		case <-clock:
			sh.account(sh.ticked)
		default:
		}
	}
}

func (sh *shard) answerSome(deadline time.Time) {
	for time.Now().Before(deadline) {
		select {
		case c := <-sh.calls:
			sh.answer(c)
		default:
			return
		}
	}
}

// answer runs a call. Its caller goes on in any case.
func (sh *shard) answer(c *call) {
	defer func() {
		if cause := recover(); cause != nil {
			sh.server.panicked("call of a connection", cause)
			if c.conn != nil {
				c.conn.Close(monitor.InternalError)
			}
		}
		c.done <- struct{}{}
	}()
	c.run()
}

func (sh *shard) add(c *conn, p phase) {
	c.phase, c.slot, c.since = p, int32(len(sh.rosters[p])), sh.tick.Load()
	sh.rosters[p] = append(sh.rosters[p], c)
}

func (sh *shard) move(c *conn, p phase) {
	sh.remove(c)
	sh.add(c, p)
}

func (sh *shard) remove(c *conn) {
	roster := sh.rosters[c.phase]
	last := len(roster) - 1
	moved := roster[last]
	roster[c.slot], moved.slot = moved, c.slot
	roster[last] = nil
	sh.rosters[c.phase] = roster[:last]
}
