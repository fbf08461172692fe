package reactor

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

func TestAnIdleConnectionIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(conn{}); n > 64 {
		t.Errorf("conn has %d bytes; beyond 64 the allocator takes 80", n)
	}
}

// newEcho is a connection that echoes.
func newEcho(config app.Config) (*conn, *wire) {
	c, w := newConn(config)
	c.endSession()
	c.marks |= echoes
	return c, w
}

// Text ends at its first bad byte, whatever has still to come of the frame or the message, and not
// before.
func TestTextIsJudgedAtTheFirstBadByte(t *testing.T) {
	for _, c := range []struct {
		name string
		text string // its last byte is the first bad one
	}{
		{"a byte that never occurs", "ab\xff"},
		{"a lone continuation", "\x80"},
		{"behind a character of two bytes", "é\x80"},
		{"behind a character of three bytes", "代\x80"},
		{"behind a character of four bytes", "😀\x80"},
		{"cut short", "\xe4\xbbx"},
		{"cut short by another character", "\xf0\x9f\x98é"[:4]},
		{"overlong, two bytes", "\xc0"},
		{"overlong, three bytes", "\xe0\x80"},
		{"overlong, four bytes", "\xf0\x80"},
		{"a surrogate", "\xed\xa0"},
		{"beyond the last character", "\xf4\x90"},
		{"far beyond", "\xf5"},
		{"after a long good part", strings.Repeat("代", 200) + "\xff"},
	} {
		for fragment := 0; fragment <= 1; fragment++ { // in one unfinished frame; each byte a frame
			conn, w := newEcho(testConfig)
			for i := range len(c.text) {
				if conn.phase != open {
					t.Errorf("%s: ended before byte %d of %q", c.name, i, c.text)
					break
				}
				conn.receive(textPiece(c.text, i, fragment == 1))
			}
			if conn.reason != monitor.InvalidPayload || w.sent.String() != string(closeFrame(monitor.InvalidPayload)) {
				t.Errorf("%s: after %q (fragmented: %v) reason %v, sent %q", c.name, c.text, fragment == 1, conn.reason, w.sent.String())
			}
		}
	}
}

// textPiece is byte i of a text: as a fragment, or in a frame of 900 bytes that does not come whole.
func textPiece(text string, i int, fragmented bool) []byte {
	if fragmented {
		first := byte(ws.OpContinuation)
		if i == 0 {
			first = byte(ws.OpText)
		}
		return clientFrame(first, text[i:i+1])
	}
	const head = 8
	frame := clientFrame(0x81, text+strings.Repeat("x", 900-len(text)))
	if i == 0 {
		return frame[:head+1]
	}
	return frame[head+i : head+i+1]
}

// claim is the head of a frame that promises so many bytes.
func claim(op byte, length uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{op, 0xff}, length), 1, 2, 3, 4)
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestAClaimAllocatesNothing(t *testing.T) {
	config := testConfig
	config.MaxMessageBytes = 1 << 30
	for name, stream := range map[string][]byte{
		"only the head":                 claim(0x82, 1<<30),
		"the head and some bytes":       append(claim(0x82, 1<<30), "some bytes"...),
		"text":                          append(claim(0x81, 1<<30), "some bytes"...),
		"a fragment":                    append(claim(0x02, 1<<30), "some bytes"...),
		"a continuation":                append(clientFrame(0x02, "x"), append(claim(0x00, 1<<30-1), "some bytes"...)...),
		"a continuation after a Close":  append(clientFrame(0x02, "x"), claim(0x80, 1<<30-1)...),
		"a whole message, then a claim": append(clientFrame(0x82, "x"), claim(0x82, 1<<30)...),
	} {
		conns := make([]*conn, 100)
		for i := range conns {
			conns[i], _ = newEcho(config)
		}
		each := allocated(func() {
			for _, c := range conns {
				c.receive(bytes.Clone(stream))
			}
		}) / uint64(len(conns))
		if each > 4096 {
			t.Errorf("%s: %d bytes a connection", name, each)
		}
		if conns[0].phase != open {
			t.Errorf("%s: the connection ended with %v", name, conns[0].reason)
		}
	}
}

// The memory that a message passes through grows with its length, not with its square: twice the
// doubling buffer, and the answer.
func TestLongMessagesTakeLinearMemory(t *testing.T) {
	config := testConfig
	config.MaxMessageBytes = 16 << 20
	for name, fragment := range map[string]int{"one frame": 16 << 20, "fragments": 100_000, "small fragments": 500} {
		for _, size := range []int{1 << 20, 16 << 20} {
			stream := inFragments(bytes.Repeat([]byte("x"), size), fragment)
			c, w := newEcho(config)
			w.discards = true
			n := allocated(func() {
				for part := range parts(stream, 64<<10) {
					c.receive(part)
				}
			})
			if w.written < size {
				t.Fatalf("%s: %d bytes: %d came back; ended with %v", name, size, w.written, c.reason)
			}
			if n > uint64(5*size) {
				t.Errorf("%s: a message of %d bytes takes %d", name, size, n)
			}
		}
	}
}

// inFragments is a binary message in fragments of the given size.
func inFragments(message []byte, size int) []byte {
	var stream []byte
	first := byte(ws.OpBinary)
	for len(message) > size {
		stream = append(stream, clientFrame(first, string(message[:size]))...)
		message, first = message[size:], byte(ws.OpContinuation)
	}
	return append(stream, clientFrame(first|0x80, string(message))...)
}

// parts cuts a stream into parts of the given size.
func parts(stream []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(stream) > 0 {
			n := min(size, len(stream))
			if !yield(stream[:n]) {
				return
			}
			stream = stream[n:]
		}
	}
}

// A small whole message passes the frame layer where it lies, and nothing is allocated for it.
func TestASmallMessageAllocatesNothing(t *testing.T) {
	c, w := newEcho(testConfig)
	w.discards = true
	for name, stream := range map[string][]byte{
		"text":            clientFrame(0x81, "a small message, 代练"),
		"binary":          clientFrame(0x82, strings.Repeat("\x00\xff", 60)),
		"ping":            clientFrame(0x89, "ping"),
		"pong":            clientFrame(0x8a, "pong"),
		"several at once": join(clientFrame(0x81, "one"), clientFrame(0x89, "two"), clientFrame(0x82, "three")),
	} {
		packet := make([]byte, len(stream))
		c.receive(bytes.Clone(stream)) // the loop's buffers come into being
		if n := testing.AllocsPerRun(100, func() { copy(packet, stream); c.receive(packet) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if c.in != nil || c.out != nil || c.phase != open {
			t.Errorf("%s: left behind are in %+v, out %+v, phase %d", name, c.in, c.out, c.phase)
		}
	}
	packet := clientFrame(0x81, "in place")
	c.receive(packet)
	if !bytes.HasSuffix(packet, []byte("in place")) {
		t.Errorf("the message was not unmasked where it lies: %q", packet)
	}
}

// Ten thousand pings in one packet are ten thousand pongs in a few writes: a write for each would hold
// the loop up for far more than its budget.
func TestAPacketIsAnsweredInFewWrites(t *testing.T) {
	c, w := newEcho(testConfig)
	const pings = 10_000
	packet := bytes.Repeat(clientFrame(0x89, ""), pings)
	c.receive(packet)
	if want := bytes.Repeat([]byte("\x8a\x00"), pings); !bytes.Equal(w.sent.Bytes(), want) {
		t.Errorf("%d bytes were sent, want %d", w.sent.Len(), len(want))
	}
	if w.writes > 10 {
		t.Errorf("%d writes", w.writes)
	}
	// What was gathered comes out before the end, and in its order.
	c.receive(join(clientFrame(0x89, "a"), clientFrame(0x82, strings.Repeat("x", 900)), clientFrame(0x89, "b"), clientFrame(0x88, "\x03\xe8")))
	got := w.sent.String()[2*pings:]
	if want := "\x8a\x01a\x82\x7e\x03\x84" + strings.Repeat("x", 900) + "\x8a\x01b\x88\x02\x03\xe8"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// A packet full of requests from a peer that reads nothing is over the budget, although its answers
// are written together.
func TestAPacketOverTheBudget(t *testing.T) {
	config := testConfig
	config.OutboundBudgetBytes = 500
	c, w := newEcho(config)
	w.takes, w.fd = 0, liveSocket(t)
	c.receive(bytes.Repeat(clientFrame(0x89, strings.Repeat("p", 98)), 20))
	if c.reason != monitor.SlowConsumer {
		t.Errorf("phase %d, reason %v", c.phase, c.reason)
	}
	if n := bytes.Count(w.sent.Bytes(), []byte("\x88")); n != 1 {
		t.Errorf("%d Close frames", n)
	}
}

func TestMessageRate(t *testing.T) {
	config := testConfig
	config.MaxMessageRate = 3
	one := clientFrame(0x81, "x")
	for name, c := range map[string]struct {
		stream []byte
		over   bool
	}{
		"as many as may be":        {join(one, one, one), false},
		"one more":                 {join(one, one, one, one), true},
		"pings count":              {join(one, one, one, clientFrame(0x89, "")), true},
		"pongs do not":             {join(one, one, one, clientFrame(0x8a, ""), clientFrame(0x8a, "")), false},
		"a fragment is no message": {join(clientFrame(1, "a"), clientFrame(0, "b"), clientFrame(0, "c"), clientFrame(0, "d"), clientFrame(0x80, "e")), false},
		"nor without its last one": {join(one, one, one, clientFrame(1, "a")), false},
		"a fragmented message is":  {join(one, one, one, clientFrame(1, "a"), clientFrame(0x80, "b")), true},
	} {
		conn, w := newEcho(config)
		w.fd = liveSocket(t)
		conn.receive(bytes.Clone(c.stream))
		if over := conn.reason == monitor.TooFast && conn.phase == closing; over != c.over {
			t.Errorf("%s: phase %d, reason %v", name, conn.phase, conn.reason)
		}
	}
	conn, _ := newEcho(config)
	conn.pace = app.PaceNow() + 900_000 // used up; and then there is silence
	conn.loop.tick += 1000
	conn.receive(join(one, one, one))
	if conn.phase != open {
		t.Errorf("after a silence, ended with %v", conn.reason)
	}
}
