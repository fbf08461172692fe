package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"chatmonitor/loadgen/protocol"
	"chatmonitor/loadgen/sample"
)

// requestCommand sends requests on a schedule.
type requestCommand struct {
	targetFlags
	echoFlags
	Pace      paceFlags `embed:"" set:"rate=1000"`
	TextBytes int       `default:"0" help:"Least length of a request's text; 0: as people write."`
	outputFlags
	fileFlags
}

func (c *requestCommand) validate() error {
	var own error
	if c.TextBytes < 0 || c.TextBytes > maxTextBytes {
		own = fmt.Errorf("--text-bytes must be between 0 and %d", maxTextBytes)
	}
	return errors.Join(own, c.targetFlags.validate(), c.Pace.validate(), c.outputFlags.validate())
}

func (c *requestCommand) run(ctx context.Context, p *program, args []string) (int, error) {
	return scenario{
		name: "request", target: c.targetFlags, output: c.outputFlags, files: c.fileFlags, echoes: c.Echo,
		newLoad: func(_ context.Context, _ *program, held share) (load, error) {
			return &requestLoad{
				flags: c.Pace, echoes: c.Echo, stream: c.Pace.stream(held.part),
				script: protocol.Script{Seed: c.Seed, TextBytes: c.TextBytes}, refusals: map[string]int{},
			}, nil
		},
	}.run(ctx, p, args)
}

// requestLoad sends pings, or plain messages to a server that echoes. What a request says follows from its number,
// so an answer is checked by writing it again.
type requestLoad struct {
	// static once begun
	flags  paceFlags
	echoes bool
	stream *stream
	script protocol.Script
	fleet  *fleet
	conns  []uint32 // requests go round these

	// owned by the goroutine that paces
	params, request []byte

	// owned by the loop's goroutine
	ledger   *sample.Ledger
	reader   protocol.Reader
	scratch  []byte
	wrong    int
	refusals map[string]int

	// atomics
	written  atomic.Int64
	answered atomic.Int64
}

func (l *requestLoad) hears() listener { return listener{pong: l.receivePong, echo: l.receiveEcho} }

func (l *requestLoad) run(ctx context.Context, s *session) error {
	at, err := s.open(ctx)
	if err != nil {
		return err
	}
	if err := s.fleet.ask(ctx, func() error { return l.prepare(s, at) }); err != nil {
		return err
	}
	s.progress.now(func() counts { return l.counts(s) })
	if err := l.stream.run(ctx, l.send); err != nil {
		return err
	}
	done := func() bool { return l.answered.Load() >= l.written.Load() }
	if err := l.stream.settle(ctx, l.flags.Settle, done); err != nil {
		return err
	}
	return s.fleet.check(ctx)
}

func (l *requestLoad) prepare(s *session, at start) error {
	l.fleet = s.fleet
	for _, i := range shuffled(len(s.fleet.phases), l.script.Seed) {
		if s.fleet.phases[i] == ready {
			l.conns = append(l.conns, i)
		}
	}
	l.script.StartNs, l.script.StartUnixMs = at.Ns, at.UnixMs
	l.ledger = sample.NewLedger(l.stream.total, 1, func(int) int { return 1 })
	return l.stream.begin(at, s.files)
}

// conn gives the connection that request n goes by.
func (l *requestLoad) conn(n int) int { return int(l.conns[n/l.stream.part.of%len(l.conns)]) }

func (l *requestLoad) write(b []byte, n int) []byte {
	return l.script.AppendRecord(b, n, l.conn(n), l.stream.dueNs(n))
}

// send runs on the goroutine that paces, beside the loop's.
func (l *requestLoad) send(n int) {
	l.params = l.write(l.params[:0], n)
	text := l.params
	if !l.echoes {
		l.request = protocol.AppendPing(l.request[:0], firstLoadID+n, l.params)
		text = l.request
	}
	if err := l.fleet.loop.Send(l.conn(n), text); err != nil {
		l.fleet.loop.Do(func() { countText(l.refusals, "request not sent: "+err.Error()) })
		return
	}
	l.written.Add(1)
}

func (l *requestLoad) receiveEcho(conn int, text []byte, nowNs int64) {
	n, ok := protocol.NumberOf(text)
	l.receive(conn, n, ok, nowNs, func(want []byte) bool { return bytes.Equal(text, want) })
}

func (l *requestLoad) receivePong(conn int, m protocol.Message, nowNs int64) {
	id, err := strconv.Atoi(string(m.ID))
	n := id - firstLoadID
	if m.Error != nil {
		l.receiveRefusal(conn, n, err == nil, l.reader.ErrorCode(m.Error))
		return
	}
	l.receive(conn, n, err == nil, nowNs, func(want []byte) bool {
		echo, err := l.reader.Pong(m.Result)
		return err == nil && sameJSON(echo, want)
	})
}

// wasAsked tells whether there is a number and it is that of a request made on this connection; if not, the server
// is to blame.
func (l *requestLoad) wasAsked(conn, n int, isNumber bool) bool {
	if isNumber && n >= 0 && n < l.stream.total && l.stream.part.owns(n) && l.conn(n) == conn {
		if _, sent := l.stream.wasSent(n); sent {
			return true
		}
	}
	l.wrong++
	l.fleet.faults.add("an answer to a request that was not made")
	return false
}

// receiveRefusal takes an answer that says no: it is one, and there is nothing to measure in it.
func (l *requestLoad) receiveRefusal(conn, n int, isNumber bool, code string) {
	if l.wasAsked(conn, n, isNumber) && l.ledger.Deliver(n, 0) {
		countText(l.refusals, "ping refused: "+code)
		l.answered.Add(1)
	}
}

func (l *requestLoad) receive(conn, n int, isNumber bool, nowNs int64, says func(want []byte) bool) {
	if !l.wasAsked(conn, n, isNumber) {
		return
	}
	l.scratch = l.write(l.scratch[:0], n)
	if !says(l.scratch) {
		l.wrong++
		l.fleet.faults.add("an answer that differs from the request")
	}
	if l.ledger.Deliver(n, 0) {
		l.answered.Add(1)
		l.stream.receive(n, nowNs)
	}
}

func (l *requestLoad) counts(s *session) counts {
	c := s.fleet.counts(s.outcome.Scenario)
	c.Sent, c.ToSend, c.Received = l.stream.sent.Load(), int64(l.stream.part.events(l.stream.total)), l.answered.Load()
	c.LatestP99 = l.stream.latest().P99Ns
	c.Seconds = int64((l.flags.Warmup + l.flags.Duration).Seconds())
	return c
}

func (l *requestLoad) conclude(out *outcome) error {
	written, answered := int(l.written.Load()), int(l.answered.Load())
	out.Requests = &requests{
		Asked:      l.stream.part.events(l.stream.total),
		Sent:       written,
		Answered:   answered,
		Lost:       max(0, written-answered),
		Duplicated: l.ledger.Duplicated(),
		Wrong:      l.wrong,
	}
	out.Troubles = l.refusals
	return l.stream.conclude(out)
}

func (l *requestLoad) close() error { return l.stream.end() }
