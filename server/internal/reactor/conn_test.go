package reactor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"chatmonitor/server/app"
	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

// wire is gnet's side of a connection, without a socket: it keeps what is written.
type wire struct {
	gnet.Conn
	handler  *server
	context  any
	sent     bytes.Buffer
	takes    int // bytes that the kernel takes before it is full
	buffered int
	fd       int // -1: shutting our end fails, as when the peer has gone
	gone     bool
	writes   int
	written  int
	discards bool // what is written is not kept
	onWrite  func()
}

func (w *wire) Context() any              { return w.context }
func (w *wire) SetContext(c any)          { w.context = c }
func (w *wire) EventLoop() gnet.EventLoop { return wireLoop{wire: w} }
func (w *wire) Fd() int                   { return w.fd }
func (w *wire) OutboundBuffered() int     { return w.buffered }
func (w *wire) Dup() (int, error)         { return 0, errHandedOver }
func (w *wire) Write(b []byte) (int, error) {
	if w.gone {
		panic("a write after close reaches a stranger")
	}
	if w.onWrite != nil {
		w.onWrite()
	}
	w.writes++
	w.written += len(b)
	if !w.discards {
		w.sent.Write(b)
	}
	taken := min(w.takes, len(b))
	w.takes -= taken
	w.buffered += len(b) - taken
	return len(b), nil
}

// errHandedOver shows in the log of a connection that was to be handed to net/http.
var errHandedOver = errors.New("handed over")

// wireLoop is the event loop of a wire.
type wireLoop struct {
	gnet.EventLoop
	wire *wire
}

func (l wireLoop) Close(c gnet.Conn) error {
	l.wire.gone = true
	l.wire.handler.OnClose(c, nil)
	return nil
}

// wired is an application that was wired once, for its parts that nobody can set.
var wired = sync.OnceValue(func() app.App {
	a, err := app.New(context.Background(), app.Config{Shards: 1, MetricsMaxSeries: 10, Kafka: []string{"127.0.0.1:1"}}, "", monitor.NewStats(10), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		panic(err)
	}
	return *a
})

// newConn is a WebSocket of the chat protocol.
func newConn(config app.Config) (*conn, *wire) {
	c, w := newConnInHead(config)
	c.upgraded(false)
	return c, w
}

// newConnInHead is a connection that was accepted, and has a session's place.
func newConnInHead(config app.Config) (*conn, *wire) {
	stats := monitor.NewStats(10)
	log := slog.New(slog.DiscardHandler)
	a := wired() // and then everything that is counted is the connection's own
	a.Config, a.Stats, a.Log, a.Sessions, a.Plain = config, stats, log, app.NewSlots(1), app.NewSlots(1)
	a.Peers, a.Pace = app.NewPeers(config.MaxPerAddress), app.NewPace(config.MaxMessageRate)
	a.Hub = monitor.NewHub(monitor.Options{Shards: 1, InFlight: 1, Router: monitor.NewRouter(), Stats: stats, Log: log, Now: func() time.Time { return time.Unix(1, 0) },
		Limits: monitor.Limits{MaxRules: 10, MaxRulesBytes: 1 << 20, Rule: chat.RuleLimits{MaxEntries: 10, MaxKeywords: 10}}})
	s := &server{app: &a, budget: time.Hour, excess: app.NewSlots(1), loops: make(map[gnet.EventLoop]*loop)}
	l := &loop{server: s, shard: a.Hub.Shards()[0], busy: stats.LoopBusy(0), backlogged: make(map[*conn]struct{}), upgrader: newUpgrader(&config)}
	w := &wire{handler: s, takes: 1 << 40, fd: -1}
	a.Sessions.Take()
	c := &conn{gc: w, loop: l, place: sessionPlace}
	w.SetContext(c)
	l.add(c, inHead)
	return c, w
}

var testConfig = app.Config{MaxMessageBytes: 1000, OutboundBudgetBytes: 1 << 20}

// clientFrame is a masked frame.
func clientFrame(first byte, payload string) []byte {
	f := ws.MaskFrameWith(ws.NewFrame(ws.OpCode(first&0x0f), first&0x80 != 0, []byte(payload)), [4]byte{9, 8, 7, 6})
	f.Header.Rsv = first >> 4 & 7
	return ws.MustCompileFrame(f)
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// outcome is what a stream leads to: what was sent, and why the connection ended.
func outcome(stream []byte, echo bool, cut func(rest int) int) (sent string, phase phase, reason monitor.Reason) {
	c, w := newConn(testConfig)
	if echo {
		c.endSession()
		c.marks |= echoes
	}
	stream = bytes.Clone(stream) // it is unmasked in place
	for len(stream) > 0 && c.phase == open {
		n := cut(len(stream))
		part := bytes.Clone(stream[:n])
		c.receive(part)
		clear(part) // the loop reads the next packet into the same buffer
		stream = stream[n:]
	}
	if c.phase == open {
		return w.sent.String(), open, 0
	}
	return w.sent.String(), c.phase, c.reason
}

func whole(rest int) int { return rest }

func TestFrames(t *testing.T) {
	const text, binary, ping, pong, cont = 0x81, 0x82, 0x89, 0x8a, 0x80
	closed := func(r monitor.Reason) string { return string(closeFrame(r)) }
	long := string(bytes.Repeat([]byte("x"), 1000))
	for _, c := range []struct {
		name   string
		stream []byte
		want   string
		reason monitor.Reason // if it ends
		ends   bool
	}{
		{"a text comes back", clientFrame(text, "hi"), "\x81\x02hi", 0, false},
		{"a binary message comes back", clientFrame(binary, "\xff"), "\x82\x01\xff", 0, false},
		{"an empty text", clientFrame(text, ""), "\x81\x00", 0, false},
		{"exactly the limit", clientFrame(text, long), "\x81\x7e\x03\xe8" + long, 0, false},
		{"over the limit", clientFrame(text, long+"x"), closed(monitor.TooBig), monitor.TooBig, true},
		{"over the limit, known from the header", clientFrame(text, long+"x")[:4], closed(monitor.TooBig), monitor.TooBig, true},
		{"over the limit together", join(clientFrame(1, long), clientFrame(cont, "x")), closed(monitor.TooBig), monitor.TooBig, true},
		{"fragments with a ping between", join(clientFrame(1, "a"), clientFrame(ping, "p"), clientFrame(0, "b"), clientFrame(cont, "c")), "\x8a\x01p\x81\x03abc", 0, false},
		{"a rune across fragments", join(clientFrame(1, "\xe4\xbb"), clientFrame(cont, "\xa3")), "\x81\x03代", 0, false},
		{"empty fragments", join(clientFrame(1, ""), clientFrame(0, ""), clientFrame(cont, "")), "\x81\x00", 0, false},
		{"text that is not UTF-8", clientFrame(text, "\xff"), closed(monitor.InvalidPayload), monitor.InvalidPayload, true},
		{"a continuation of nothing", clientFrame(cont, "a"), closed(monitor.ProtocolError), monitor.ProtocolError, true},
		{"a text inside a fragmented one", join(clientFrame(1, "a"), clientFrame(text, "b")), closed(monitor.ProtocolError), monitor.ProtocolError, true},
		{"a pong nobody asked for", join(clientFrame(pong, "x"), clientFrame(text, "y")), "\x81\x01y", 0, false},
		{"a close with a code", clientFrame(0x88, "\x03\xe8bye"), "\x88\x02\x03\xe8", monitor.ClientClosed, true},
		{"a close without", clientFrame(0x88, ""), "\x88\x00", monitor.ClientClosed, true},
		{"nothing after a close", join(clientFrame(0x88, ""), clientFrame(text, "x")), "\x88\x00", monitor.ClientClosed, true},
		{"a reserved bit", clientFrame(0xc1, "x"), closed(monitor.ProtocolError), monitor.ProtocolError, true},
		{"no mask", []byte("\x81\x01x"), closed(monitor.ProtocolError), monitor.ProtocolError, true},
	} {
		for at := range len(c.stream) + 1 { // cut in two at every byte; 0: byte by byte
			cut := func(rest int) int { return max(1, rest-(len(c.stream)-at)) }
			if at == 0 {
				cut = func(int) int { return 1 }
			}
			sent, phase, reason := outcome(c.stream, true, cut)
			if sent != c.want || (phase != open) != c.ends || reason != c.reason {
				t.Errorf("%s, cut at %d: sent %q, phase %d, reason %v", c.name, at, sent, phase, reason)
			}
		}
	}
	if _, _, reason := outcome(clientFrame(binary, "x"), false, whole); reason != monitor.Unsupported {
		t.Errorf("a binary message to the chat protocol ended with %v", reason)
	}
}

func TestNoBufferWhileIdle(t *testing.T) {
	c, _ := newConn(testConfig)
	stream := join(clientFrame(1, "a"), clientFrame(0x80, "b"), clientFrame(0x81, `{"path":"/ping"}`))
	for i := range stream {
		c.receive(bytes.Clone(stream[i : i+1]))
	}
	if c.in != nil || c.out != nil {
		t.Errorf("in %+v, out %+v", c.in, c.out)
	}
}

func TestTheAnswerToOurCloseEndsTheConnection(t *testing.T) {
	for _, split := range []int{1, 3, 1000} {
		c, w := newConn(testConfig)
		w.fd = liveSocket(t)
		stream := join(clientFrame(0x81, `{"path":"/ping"}`), clientFrame(1, "half a message"), clientFrame(0x88, "\x03\xf4"), []byte("junk"))
		c.receive(bytes.Clone(stream[:5])) // half a frame waits when we close
		c.Close(monitor.Draining)
		if c.phase != closing {
			t.Fatalf("phase %d after our Close", c.phase)
		}
		if said := w.sent.Len(); c.write(pingFrame, nil) || w.sent.Len() != said {
			t.Error("something is written behind our Close")
		}
		for rest := stream[5:]; len(rest) > 0 && c.phase == closing; {
			n := min(split, len(rest))
			c.receive(bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		if c.phase != closed || c.reason != monitor.Draining {
			t.Errorf("in parts of %d: phase %d, reason %v", split, c.phase, c.reason)
		}
		if n := bytes.Count(w.sent.Bytes(), []byte("/ping")); n != 0 {
			t.Errorf("a request was answered after our Close")
		}
	}
}

func liveSocket(t *testing.T) int {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) })
	return pair[0]
}

func TestOutboundBudget(t *testing.T) {
	config := testConfig
	config.OutboundBudgetBytes = 250
	c, w := newConn(config)
	push := monitor.NewPush(bytes.Repeat([]byte("x"), 98)) // a frame of 100 bytes
	w.takes = 130
	for i, want := range []monitor.Outcome{monitor.Handed, monitor.Buffered, monitor.Buffered, monitor.Buffered, monitor.Dropped} {
		// the first is taken, the second is being written, two wait, the fifth is too much
		if got, _ := c.Push(push); got != want {
			t.Fatalf("push %d: got %v", i, got)
		}
	}
	if c.reason != monitor.SlowConsumer {
		t.Errorf("closed with %v", c.reason)
	}

	c, w = newConn(config)
	w.takes = 10
	if got, _ := c.Push(monitor.NewPush(make([]byte, 5000))); got != monitor.Buffered {
		t.Error("one message over the budget was refused though nothing else waited")
	}
	w.buffered = 0 // the kernel has taken it
	w.takes = 0
	var got [3]monitor.Outcome
	for i, p := range []*monitor.Push{push, push, monitor.NewPush(make([]byte, 200))} {
		got[i], _ = c.Push(p)
	}
	if got != [3]monitor.Outcome{monitor.Buffered, monitor.Buffered, monitor.Dropped} {
		t.Error("the account does not begin anew when all is written")
	}
}

// checkServerFrames reads what the server sent as a strict client would.
func checkServerFrames(t *testing.T, sent []byte) {
	t.Helper()
	for len(sent) > 0 {
		length, head := uint64(sent[1]), 2
		switch length {
		case 126:
			length, head = uint64(binary.BigEndian.Uint16(sent[2:])), 4
		case 127:
			length, head = binary.BigEndian.Uint64(sent[2:]), 10
		}
		if sent[0]&0x70 != 0 || length > uint64(len(sent)-head) {
			t.Fatalf("a broken frame: %q", sent)
		}
		sent = sent[head+int(length):]
	}
}
