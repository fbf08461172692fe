package reactor

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"chatmonitor/server/monitor"
)

// reference reads a whole stream as RFC 6455 says it, one byte after the other and without a thought
// for speed, and tells what an echoing server sends and how the connection ends. It is the twin of
// conn.frames and shares nothing with it.
type reference struct {
	rest    []byte
	limit   int
	binary  bool // binary messages are understood
	message []byte
	op      byte // of the message under way, 0 for none
	sent    bytes.Buffer
	reason  monitor.Reason
	ended   bool
}

func (r *reference) run() {
	for !r.ended && r.step() {
	}
}

func (r *reference) fail(reason monitor.Reason) bool {
	r.reason, r.ended = reason, true
	r.send(8, string(binary.BigEndian.AppendUint16(nil, reason.CloseCode()))+reason.CloseText())
	return false
}

func (r *reference) send(op byte, payload string) {
	r.sent.WriteByte(0x80 | op)
	switch {
	case len(payload) < 126:
		r.sent.WriteByte(byte(len(payload)))
	default:
		r.sent.Write([]byte{126, byte(len(payload) >> 8), byte(len(payload))})
	}
	r.sent.WriteString(payload)
}

// take gives the next n bytes, or as many as there are.
func (r *reference) take(n uint64) (b []byte, all bool) {
	if n > uint64(len(r.rest)) {
		b, r.rest = r.rest, nil
		return b, false
	}
	b, r.rest = r.rest[:n], r.rest[n:]
	return b, true
}

// step reads one frame, and reports false at the end of the stream or of the connection.
func (r *reference) step() bool {
	first, ok := r.take(1)
	if !ok {
		return false
	}
	fin, op := first[0] >= 128, first[0]%16
	isControl, known := op >= 8, op <= 2 || op >= 8 && op <= 10
	if first[0]/16%8 != 0 || !known || isControl && !fin {
		return r.fail(monitor.ProtocolError)
	}
	second, ok := r.take(1)
	if !ok {
		return false
	}
	if second[0] < 128 || isControl && second[0]%128 > 125 {
		return r.fail(monitor.ProtocolError)
	}
	length, ok := r.length(second[0] % 128)
	if !ok || r.ended {
		return false
	}
	if !isControl && !r.mayBegin(op, length) {
		return false
	}
	mask, ok := r.take(4)
	if !ok {
		return false
	}
	masked, whole := r.take(length)
	payload := make([]byte, len(masked))
	for i, b := range masked {
		payload[i] = b ^ mask[i%4]
	}
	if isControl {
		return whole && r.control(op, payload)
	}
	return r.data(op, payload, fin, whole)
}

// length reads what follows a length of seven bits.
func (r *reference) length(short byte) (uint64, bool) {
	if short < 126 {
		return uint64(short), true
	}
	size, least := uint64(2), uint64(126)
	if short == 127 {
		size, least = 8, 1<<16
	}
	b, ok := r.take(size)
	if size == 8 && len(b) > 0 && b[0] >= 128 {
		return 0, r.fail(monitor.ProtocolError)
	}
	if !ok {
		return 0, false
	}
	length := uint64(0)
	for _, x := range b {
		length = length<<8 + uint64(x)
	}
	if length < least {
		return 0, r.fail(monitor.ProtocolError)
	}
	return length, true
}

func (r *reference) mayBegin(op byte, length uint64) bool {
	switch {
	case (op == 0) != (r.op != 0):
		return r.fail(monitor.ProtocolError)
	case op == 2 && !r.binary:
		return r.fail(monitor.Unsupported)
	case uint64(len(r.message))+length > uint64(r.limit):
		return r.fail(monitor.TooBig)
	}
	return true
}

func (r *reference) control(op byte, payload []byte) bool {
	switch {
	case op == 9:
		r.send(10, string(payload))
	case op == 10:
	case len(payload) == 1 || len(payload) > 1 && !mayClose(int(payload[0])<<8+int(payload[1])):
		return r.fail(monitor.ProtocolError)
	case len(payload) > 1 && !utf8.Valid(payload[2:]):
		return r.fail(monitor.InvalidPayload)
	default:
		r.reason, r.ended = monitor.ClientClosed, true
		r.send(8, string(payload[:min(2, len(payload))]))
	}
	return true
}

// mayClose lists the codes of RFC 6455 7.4 and of the registry.
func mayClose(code int) bool {
	for _, known := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} {
		if code == known {
			return true
		}
	}
	return code >= 3000 && code < 5000
}

func (r *reference) data(op byte, payload []byte, fin, whole bool) bool {
	if op != 0 {
		r.op = op
	}
	r.message = append(r.message, payload...)
	last := fin && whole
	if r.op == 1 && !isText(r.message, last) {
		return r.fail(monitor.InvalidPayload)
	}
	if last {
		r.send(r.op, string(r.message))
		r.message, r.op = nil, 0
	}
	return whole
}

// isText reads character by character; the last may be cut short if more is to come.
func isText(b []byte, all bool) bool {
	for len(b) > 0 {
		char, size := utf8.DecodeRune(b)
		if char == utf8.RuneError && size == 1 {
			return !all && !utf8.FullRune(b)
		}
		b = b[size:]
	}
	return true
}

// wantReference fails the test unless the stream comes to the same end in the reactor, whole and in
// parts, as in the reference.
func wantReference(t *testing.T, stream []byte, seed uint64) {
	t.Helper()
	r := &reference{rest: stream, limit: testConfig.MaxMessageBytes, binary: true}
	r.run()
	random := rand.New(rand.NewPCG(seed, 0))
	for name, cut := range map[string]func(rest int) int{
		"whole":        whole,
		"byte by byte": func(int) int { return 1 },
		"cut":          func(rest int) int { return 1 + random.IntN(rest) },
		"cut small":    func(rest int) int { return 1 + random.IntN(min(rest, 12)) },
	} {
		sent, phase, reason := outcome(stream, true, cut)
		if sent != r.sent.String() || (phase != open) != r.ended || reason != r.reason {
			t.Fatalf("%s: sent %q, phase %d, %v; the reference: %q, ended %v, %v", name, sent, phase, reason, r.sent.String(), r.ended, r.reason)
		}
		checkServerFrames(t, []byte(sent))
	}
}

func FuzzFrames(f *testing.F) {
	for i, stream := range [][]byte{
		join(clientFrame(1, "a"), clientFrame(0x89, "p"), clientFrame(0x80, "b")), clientFrame(0x88, "\x03\xe8"), clientFrame(0x88, "\x03"),
		clientFrame(0x81, "\xe4\xbb\xa3"), join(clientFrame(1, "\xe4"), clientFrame(0, ""), clientFrame(0x80, "\xbb\xa3")), clientFrame(0x82, "\xff"),
		claim(0x81, 1<<62), claim(0x81, 1<<63), append(claim(0x82, 1<<16), "x"...), clientFrame(0x82, strings.Repeat("x", 1000)), clientFrame(0xc1, ""),
		join(clientFrame(0x81, "\xff\xfe"), clientFrame(0x81, "x")), []byte("\x81\x00"), clientFrame(0x81, strings.Repeat("代", 300))[:500],
	} {
		f.Add(stream, uint64(i))
	}
	f.Fuzz(wantReference)
}

// FuzzFrameSequences makes streams that are mostly in order, which chance seldom brings about: each
// byte of the script is a frame.
func FuzzFrameSequences(f *testing.F) {
	f.Add([]byte("\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99"), uint64(1))
	f.Add([]byte("abcdefgh"), uint64(2))
	f.Add([]byte{0x10, 0x20, 0x30, 0x40, 0x04, 0x50}, uint64(3))
	f.Fuzz(func(t *testing.T, script []byte, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 1))
		var stream []byte
		for _, b := range script[:min(len(script), 40)] {
			stream = append(stream, scripted(b, random)...)
		}
		wantReference(t, stream, seed)
	})
}

var texts = []string{"", "gold", "代练", "\xe4", "\xbb\xa3", "\xff", "a\xf0\x9f", "\x98\x80b", strings.Repeat("代", 50), strings.Repeat("x", 126), strings.Repeat("y", 400), "\xed\xa0\x80"}

// scripted is a frame: the high half of b chooses its kind, the low half its payload.
func scripted(b byte, random *rand.Rand) []byte {
	payload := texts[int(b&0x0f)%len(texts)]
	switch b >> 4 {
	case 0, 1:
		return clientFrame(0x81, payload)
	case 2, 3:
		return clientFrame(0x01, payload)
	case 4, 5, 6:
		return clientFrame(0x00, payload)
	case 7, 8:
		return clientFrame(0x80, payload)
	case 9:
		return clientFrame(0x82, payload)
	case 10:
		return clientFrame(0x02, payload)
	case 11:
		return clientFrame(0x89, payload[:min(len(payload), 125)])
	case 12:
		return clientFrame(0x8a, payload[:min(len(payload), 125)])
	case 13:
		return clientFrame(0x88, string(binary.BigEndian.AppendUint16(nil, uint16(995+random.IntN(30))))+payload[:min(len(payload), 100)])
	}
	broken := clientFrame(0x81, payload)
	broken[random.IntN(len(broken))] ^= 1 << random.IntN(8)
	return broken
}

// FuzzMessages has a text come in one frame, and in fragments between which other frames come, and
// which are cut anywhere: the application must not see a difference.
func FuzzMessages(f *testing.F) {
	for i, text := range []string{
		`{"path":"/ping","id":1,"params":"代练"}`, `{"path":"/listen","params":{"rule":{"app_id":[1,2],"keywords":["gold"]}}}`, `{"path":"/unlisten","params":{"rule_id":"r1"}}`,
		`{"path":"/rules"}`, `{"path":7}`, `no JSON`, "", "\xff", `{"path":"/nope","id":null}`,
	} {
		f.Add(text, uint64(i))
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		if len(text) > testConfig.MaxMessageBytes {
			return
		}
		const listen = `{"path":"/listen","params":{"rule_id":"r1","rule":{}}}`
		random := rand.New(rand.NewPCG(seed, 2))
		sent, phase, reason := outcome(join(clientFrame(0x81, listen), clientFrame(0x81, text)), false, whole)
		stream := clientFrame(0x81, listen)
		first := byte(ws.OpText)
		rest := text
		for random.IntN(4) > 0 {
			n := random.IntN(len(rest) + 1)
			stream = append(stream, clientFrame(first, rest[:n])...)
			rest, first = rest[n:], byte(ws.OpContinuation)
			stream = append(stream, clientFrame(0x8a, "a pong among them")...)
		}
		stream = append(stream, clientFrame(first|0x80, rest)...)
		sent2, phase2, reason2 := outcome(stream, false, func(rest int) int { return 1 + random.IntN(rest) })
		if sent != sent2 || phase != phase2 || reason != reason2 {
			t.Fatalf("in one frame: %q %d %v; in fragments: %q %d %v", sent, phase, reason, sent2, phase2, reason2)
		}
		if phase == open && strings.Count(sent, `"path"`) < 2 && !strings.Contains(sent, "bad_request") {
			t.Fatalf("%q is not answered: %q", text, sent)
		}
	})
}
