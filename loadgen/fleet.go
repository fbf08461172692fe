package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"chatmonitor/loadgen/client"
	"chatmonitor/loadgen/pace"
	"chatmonitor/loadgen/protocol"
)

// phase is how far the chat protocol has come on a connection.
type phase uint8

const (
	absent    phase = iota
	dialling        // until the upgrade is verified
	listening       // until the rule is confirmed
	pinging         // until the first ping is answered
	ready
	checking // until a later ping is answered
)

const (
	listenID    = 1
	firstPingID = 2
)

// fleet is the connections of this process, and the chat protocol's state on each.
//
// Work that concerns every connection (connecting, checking) is a round: it goes through the connections in
// order with a bounded number under way.
type fleet struct {
	// static
	loop        *client.Loop
	flags       targetFlags
	firstGroup  int
	onPush      func(conn int, text []byte, nowNs int64)
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

	// written by the loop's goroutine, read by others
	up   atomic.Int64
	lost atomic.Int64 // failed or dropped
}

// round is one pass over all connections.
type round struct {
	begin     func(i int) // must lead to one call of finish, then or later
	next      int
	working   int
	advancing bool
	done      chan struct{}
}

// newFleet starts the loop; close ends it.
func newFleet(ctx context.Context, flags targetFlags, found *faults, onPush func(conn int, text []byte, nowNs int64)) (*fleet, error) {
	if err := raiseDescriptorLimit(flags.Connections); err != nil {
		return nil, err
	}
	config, err := flags.clientConfig(ctx)
	if err != nil {
		return nil, err
	}
	f := &fleet{
		flags:       flags,
		onPush:      onPush,
		faults:      found,
		loopFailure: make(chan error, 1),
		phases:      make([]phase, flags.Connections),
		pingID:      firstPingID,
		tally:       connections{Asked: flags.Connections, Errors: map[string]int{}},
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

// connect brings all connections up: upgrade, rule, one ping answered. Those that fail are counted.
func (f *fleet) connect(ctx context.Context) error {
	startNs := pace.Now()
	if err := f.runRound(ctx, f.beginDial); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return f.ask(ctx, func() error {
		f.tally.ConnectSeconds = time.Duration(pace.Now() - startNs).Seconds()
		f.tally.Held = int(f.up.Load())
		if f.tally.Held == 0 {
			return fmt.Errorf("none of %d connections to %s came up: %s", f.flags.Connections, f.flags.URL, commonest(f.tally.Errors))
		}
		return nil
	})
}

// check pings every connection. Answers keep the order of what was sent, so when the round ends everything that the
// server had written before has been received.
func (f *fleet) check(ctx context.Context) error {
	if err := f.ask(ctx, func() error { f.pingID++; return nil }); err != nil {
		return err
	}
	if err := f.runRound(ctx, f.beginCheck); err != nil {
		return fmt.Errorf("check connections: %w", err)
	}
	return nil
}

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
		return errors.New("the connection loop has ended")
	}
}

func (f *fleet) runRound(ctx context.Context, begin func(i int)) error {
	r := &round{begin: begin, done: make(chan struct{})}
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
		return errors.New("the connection loop has ended")
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
	for r.working < f.flags.ConnectConcurrency && r.next < len(f.phases) {
		r.next++
		r.working++
		r.begin(r.next - 1)
	}
	r.advancing = false
	if r.working == 0 && r.next == len(f.phases) {
		f.round = nil
		close(r.done)
	}
}

func (f *fleet) finish() {
	f.round.working--
	f.advance()
}

func (f *fleet) beginDial(i int) {
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

// Opened implements client.Handler.
func (f *fleet) Opened(i int, _, _ int64) {
	f.phases[i] = listening
	f.scratch = protocol.AppendListen(f.scratch[:0], listenID, f.group(i))
	f.send(i)
}

// group gives the group of a connection, among those of all processes.
func (f *fleet) group(i int) int { return f.firstGroup + i/f.flags.Receivers }

func (f *fleet) sendPing(i int) {
	var params [40]byte
	f.scratch = protocol.AppendPing(f.scratch[:0], f.pingID, pingParams(params[:0], i))
	f.send(i)
}

func pingParams(b []byte, i int) []byte {
	b = append(b, `{"connection":`...)
	return append(strconv.AppendInt(b, int64(i), 10), '}')
}

func (f *fleet) send(i int) {
	if err := f.loop.Send(i, f.scratch); err != nil {
		f.giveUp(i, err)
	}
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
	f.count(reason)
	f.lost.Add(1)
	if was == ready || was == checking {
		f.tally.Dropped++
		f.up.Add(-1)
	} else {
		f.tally.Failed++
	}
	var violation client.ProtocolError
	if errors.As(reason, &violation) {
		f.faults.add(violation.Error())
	}
	if was != ready {
		f.finish()
	}
}

func (f *fleet) count(reason error) { countText(f.tally.Errors, reason.Error()) }

// Received implements client.Handler.
func (f *fleet) Received(i int, isText bool, payload []byte, nowNs int64) {
	switch {
	case !isText:
		f.faults.add("a binary message, where the protocol has text only")
	case protocol.IsPush(payload):
		f.onPush(i, payload, nowNs)
	default:
		f.receiveOther(i, payload, nowNs)
	}
}

func (f *fleet) receiveOther(i int, payload []byte, nowNs int64) {
	m, err := f.reader.Message(payload)
	switch {
	case err != nil:
		f.faults.add("a message that is not the protocol's JSON")
	case m.Path == protocol.PathChat:
		f.onPush(i, payload, nowNs)
	case m.Path == protocol.PathNotice:
		// may come at any time, and asks for nothing
	case m.Path == protocol.PathListen && f.phases[i] == listening:
		f.receiveListen(i, m)
	case m.Path == protocol.PathPing && (f.phases[i] == pinging || f.phases[i] == checking):
		f.receivePong(i, m)
	default:
		f.faults.add("an answer that nobody asked for")
	}
}

func (f *fleet) receiveListen(i int, m protocol.Message) {
	switch {
	case m.Error != nil:
		f.giveUp(i, fmt.Errorf("rule refused: %s", f.reader.ErrorCode(m.Error)))
	case !isNumber(m.ID, listenID) || !f.reader.HasRuleID(m.Result):
		f.faults.add("a wrong answer to /listen")
		f.giveUp(i, errors.New("wrong answer to /listen"))
	default:
		f.phases[i] = pinging
		f.sendPing(i)
	}
}

func (f *fleet) receivePong(i int, m protocol.Message) {
	if m.Error != nil {
		f.giveUp(i, fmt.Errorf("ping refused: %s", f.reader.ErrorCode(m.Error)))
		return
	}
	var params [40]byte
	echo, err := f.reader.Pong(m.Result)
	if err != nil || !isNumber(m.ID, f.pingID) || !sameJSON(echo, pingParams(params[:0], i)) {
		f.faults.add("a wrong answer to /ping")
		f.giveUp(i, errors.New("wrong answer to /ping"))
		return
	}
	if f.phases[i] == pinging {
		f.up.Add(1)
	}
	f.phases[i] = ready
	f.loop.Deadline(i, client.NoDeadline)
	f.finish()
}

func isNumber(text []byte, want int) bool {
	var digits [20]byte
	return bytes.Equal(text, strconv.AppendInt(digits[:0], int64(want), 10))
}

// sameJSON compares texts of which want has no spaces.
func sameJSON(text, want []byte) bool {
	if bytes.Equal(text, want) {
		return true
	}
	compact := jsontext.Value(bytes.Clone(text))
	return compact.Compact() == nil && bytes.Equal(compact, want)
}
