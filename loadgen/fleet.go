package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"chatmonitor/loadgen/client"
	"chatmonitor/loadgen/pace"
	"chatmonitor/loadgen/protocol"
)

// phase is how far the protocol has come on a connection.
type phase uint8

const (
	absent    phase = iota
	dialling        // until the upgrade is verified
	listening       // until the rule is confirmed
	pinging         // until the first ping is answered
	ready
	checking // until a later ping is answered
)

// listener is what a load wants to hear, always on the loop's goroutine. Any field may be nil.
type listener struct {
	push    func(conn int, text []byte, nowNs int64)
	opened  func(conn int, dialledNs, nowNs int64)
	ready   func(conn int, nowNs int64)
	gone    func(conn int, reason error)                    // did not come up, or dropped
	pong    func(conn int, m protocol.Message, nowNs int64) // to a ping of the load's own
	echo    func(conn int, text []byte, nowNs int64)        // to a message of the load's own
	excused func(conn int) bool                             // may be closed by the server

	receiveBytes func(conn int) int // size of the receive buffer; 0 is the kernel's choice
}

// fleet is the connections of this process, and the protocol's state on each.
//
// Work that concerns every connection (connecting, checking) is a round: it goes through the connections in
// order with a bounded number under way.
type fleet struct {
	// static
	loop        *client.Loop
	flags       targetFlags
	servers     []client.Server
	share       share
	echoes      bool
	heard       listener
	faults      *faults
	stop        context.CancelFunc
	loopFailure chan error

	// owned by the loop's goroutine
	phases  []phase
	reader  protocol.Reader
	scratch []byte
	pingID  int
	round   *round
	tally   connections
	startNs int64 // when members began to connect; 0 while they do not

	// written by the loop's goroutine, read by others
	up   atomic.Int64
	lost atomic.Int64 // failed or dropped
}

// round is one pass over connections next to end-1.
type round struct {
	begin     func(i int) // must lead to one call of finish, then or later
	next, end int
	working   int
	advancing bool
	done      chan struct{}
}

// newFleet starts the loop; close ends it.
func newFleet(ctx context.Context, flags targetFlags, held share, echoes bool, heard listener, found *faults) (*fleet, error) {
	if err := reserveDescriptors(held.connections()); err != nil {
		return nil, err
	}
	config, err := flags.clientConfig(ctx, held)
	if err != nil {
		return nil, err
	}
	config.ReceiveBytes = heard.receiveBytes
	f := &fleet{
		flags:       flags,
		servers:     config.Servers,
		share:       held,
		echoes:      echoes,
		heard:       heard,
		faults:      found,
		loopFailure: make(chan error, 1),
		phases:      make([]phase, held.connections()),
		pingID:      firstPingID,
		tally:       connections{Asked: held.members(), Errors: map[string]int{}},
	}
	if f.loop, err = client.New(config, f); err != nil {
		return nil, err
	}
	loopContext, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	go func() { f.loopFailure <- f.loop.Run(loopContext) }()
	return f, nil
}

// close resets all connections. What the loop owned may be read afterwards.
func (f *fleet) close() error {
	f.stop()
	if err := <-f.loopFailure; err != nil {
		return fmt.Errorf("hold connections: %w", err)
	}
	return nil
}

// connect brings all members up: upgrade, rule, one ping answered. Those that fail are counted. Those that get records
// come first; then is called before any other begins.
func (f *fleet) connect(ctx context.Context, then func() error) error {
	fed := f.share.fed.members
	if err := f.ask(ctx, func() error { f.startNs = pace.Now(); return nil }); err != nil {
		return err
	}
	if err := f.runRound(ctx, 0, fed, f.dial); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := then(); err != nil {
		return err
	}
	if err := f.runRound(ctx, fed, f.share.members(), f.dial); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return f.ask(ctx, f.countHeld)
}

// countHeld ends the time in which connections come up.
func (f *fleet) countHeld() error {
	f.tally.ConnectSeconds = time.Duration(pace.Now() - f.startNs).Seconds()
	f.startNs = 0
	f.tally.Held = int(f.up.Load())
	if f.tally.Held == 0 {
		return f.noneUp()
	}
	return nil
}

// noneUp tells why there is nothing to go on with, which may be the server's fault.
func (f *fleet) noneUp() error {
	none := fmt.Sprintf("none of %d connections to %s came up", f.share.members(), strings.Join(f.flags.URL, ","))
	if wrongs := f.faults.texts(); len(wrongs) > 0 {
		return wrongError{fmt.Errorf("%s; the server was WRONG: %s", none, strings.Join(wrongs, "; "))}
	}
	return fmt.Errorf("%s: %s", none, commonest(f.tally.Errors))
}

// rampPoints is how many points of the ramp are kept, about.
const rampPoints = 64

// climb notes how far the members have come up.
func (f *fleet) climb(up int, nowNs int64) {
	members := f.share.members()
	if f.startNs == 0 || up%max(1, members/rampPoints) != 0 && up != members {
		return
	}
	f.tally.Ramp = append(f.tally.Ramp, rampPoint{up, time.Duration(nowNs - f.startNs).Seconds()})
}

// check pings every connection. Answers keep the order of what was sent, so when the round ends everything that the
// server had written before has been received.
func (f *fleet) check(ctx context.Context) error {
	if err := f.ask(ctx, func() error { f.pingID++; return nil }); err != nil {
		return err
	}
	if err := f.runRound(ctx, 0, f.share.connections(), f.beginCheck); err != nil {
		return fmt.Errorf("check connections: %w", err)
	}
	return nil
}

var errLoopEnded = errors.New("the connection loop has ended")

// ask runs a question on the loop's goroutine and waits for the answer.
func (f *fleet) ask(ctx context.Context, question func() error) error {
	answer := make(chan error, 1)
	f.loop.Do(func() { answer <- question() })
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.loop.Done():
		return errLoopEnded
	}
}

func (f *fleet) runRound(ctx context.Context, first, end int, begin func(i int)) error {
	r := &round{begin: begin, next: first, end: end, done: make(chan struct{})}
	f.loop.Do(func() {
		f.round = r
		f.advance()
	})
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.loop.Done():
		return errLoopEnded
	}
}

// advance keeps the agreed number of connections under way. A connection that is finished as soon as it is begun
// calls it from within itself, which must not nest.
func (f *fleet) advance() {
	r := f.round
	if r.advancing {
		return
	}
	r.advancing = true
	for r.working < f.flags.ConnectConcurrency && r.next < r.end {
		r.next++
		r.working++
		r.begin(r.next - 1)
	}
	r.advancing = false
	if r.working == 0 && r.next == r.end {
		f.round = nil
		close(r.done)
	}
}

// finish ends one connection's work in a round. Outside of rounds, a load dials for itself.
func (f *fleet) finish() {
	if f.round == nil {
		return
	}
	f.round.working--
	f.advance()
}

// dial brings one connection up, on the loop's goroutine.
func (f *fleet) dial(i int) {
	f.phases[i] = dialling
	if err := f.loop.Dial(i); err != nil {
		f.Closed(i, err)
	}
}

func (f *fleet) beginCheck(i int) {
	if f.phases[i] != ready {
		f.finish()
		return
	}
	f.phases[i] = checking
	f.loop.Deadline(i, pace.Now()+f.flags.ConnectTimeout.Nanoseconds())
	f.sendPing(i)
}

// drop ends a connection on purpose, on the loop's goroutine and outside of rounds.
func (f *fleet) drop(i int) error {
	if f.phases[i] == ready {
		f.up.Add(-1)
	}
	f.phases[i] = absent
	return f.loop.Close(i)
}

// giveUp ends a connection that is of no use.
func (f *fleet) giveUp(i int, reason error) {
	if err := f.loop.Close(i); err != nil {
		reason = errors.Join(reason, err)
	}
	f.Closed(i, reason)
}

// Closed implements client.Handler.
func (f *fleet) Closed(i int, reason error) {
	was := f.phases[i]
	f.phases[i] = absent
	f.blame(i, was, reason)
	if f.heard.gone != nil {
		f.heard.gone(i, reason)
	}
	if was != ready {
		f.finish()
	}
}

// blame counts a loss. That of a passer-by, or of one that is excused, is its load's to count.
func (f *fleet) blame(i int, was phase, reason error) {
	var violation client.ProtocolError
	if errors.As(reason, &violation) {
		f.faults.add(violation.Error())
	}
	wasUp := was == ready || was == checking
	if wasUp {
		f.up.Add(-1)
	}
	if i >= f.share.members() || f.heard.excused != nil && f.heard.excused(i) {
		return
	}
	countText(f.tally.Errors, f.at(i)+reason.Error())
	f.lost.Add(1)
	if wasUp {
		f.tally.Dropped++
	} else {
		f.tally.Failed++
	}
}

// at names a connection's server, if there are several.
func (f *fleet) at(i int) string {
	if len(f.servers) == 1 {
		return ""
	}
	return f.servers[f.share.number(i)%len(f.servers)].Host + ": "
}

// counts tells how many connections are up.
func (f *fleet) counts(doing string) counts {
	return counts{Doing: doing, Up: f.up.Load(), Asked: int64(f.share.connections()), Lost: f.lost.Load()}
}
