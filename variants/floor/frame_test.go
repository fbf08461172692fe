package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/gorilla/websocket"

	"chatmonitor/loadgen/protocol"
)

// TestEcho has another implementation of RFC 6455 as the client.
func TestEcho(t *testing.T) {
	s := start(t, config{Loops: 2})
	dialer := websocket.Dialer{WriteBufferSize: maxEchoBytes + 100} // it sends in fragments what does not fit
	client, _, err := dialer.Dial("ws://"+s.address+"/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, size := range []int{0, 1, 7, 8, 9, 125, 126, 65535, 65536, 300_000, maxEchoBytes} {
		for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
			message := make([]byte, size)
			for i := range message {
				message[i] = byte('a' + i%26)
			}
			sent := make(chan error, 1)
			go func() { sent <- client.WriteMessage(kind, message) }()
			gotKind, got, err := client.ReadMessage()
			if err != nil || gotKind != kind || !bytes.Equal(got, message) {
				t.Fatalf("%d bytes of kind %d: got %d of kind %d (%v)", size, kind, len(got), gotKind, err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestEchoToAClientThatReadsLate sends many messages before it reads: the server stops to read, and nothing is lost.
func TestEchoToAClientThatReadsLate(t *testing.T) {
	s := start(t, config{Loops: 1})
	p := open(t, s, "/echo")
	const messages = 600
	payload := bytes.Repeat([]byte("0123456789abcdef"), 3000)
	sent := make(chan error, 1)
	go func() {
		for range messages {
			if _, err := p.Conn.Write(masked(textFrame, payload)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	other := open(t, s, "/ws")
	for range 100 {
		other.sync()
	}
	for range messages {
		p.wantBytes(plainFrame(textFrame, payload))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	p.sync()
}

// TestTooMuchUnfinished has two clients begin more than a loop keeps: the one that came first goes on.
func TestTooMuchUnfinished(t *testing.T) {
	s := newTestServer(t, config{Loops: 1}, testDescriptors)
	s.heldBytesLimit = 1 << 20
	startServer(t, s)
	payload := bytes.Repeat([]byte("x"), 700_000)
	frame := masked(textFrame, payload)
	first := open(t, s, "/echo")
	first.write(frame[:600_000])
	awaitRead(t, s)
	second := open(t, s, "/echo")
	_, _ = second.Conn.Write(frame[:600_000]) // it may be cut off on the way
	second.wantEnd()
	first.write(frame[600_000:])
	first.wantBytes(plainFrame(textFrame, payload))
}

func TestControlFrames(t *testing.T) {
	s := start(t, config{Loops: 1})
	for _, path := range []string{"/ws", "/echo"} {
		p := open(t, s, path)
		longest := bytes.Repeat([]byte("p"), maxControlBytes)
		p.write(masked(final|opPing, longest))
		p.wantBytes(plainFrame(final|opPong, longest))
		p.write(masked(final|opPong, []byte("nobody asked")))
		p.sync()
		p.write(append(masked(final|opClose, []byte("\x03\xe8bye")), masked(final|opPing, nil)...))
		p.wantBytes(plainFrame(final|opClose, []byte("\x03\xe8bye")))
		p.wantEnd()
	}
}

func TestBrokenFrames(t *testing.T) {
	s := start(t, config{Loops: 2})
	tests := []struct {
		name, path string
		frame      []byte
		want       closeCode
	}{
		{"unmasked", "/echo", plainFrame(textFrame, []byte("x")), protocolError},
		{"reserved bit", "/echo", masked(textFrame|0x40, []byte("x")), protocolError},
		{"reserved opcode", "/echo", masked(final|0x3, nil), protocolError},
		{"reserved control opcode", "/echo", masked(final|0xb, nil), protocolError},
		{"fragmented ping", "/echo", masked(opPing, nil), protocolError},
		{"long ping", "/echo", masked(final|opPing, make([]byte, 126)), protocolError},
		{"close of one byte", "/echo", masked(final|opClose, []byte("x")), protocolError},
		{"fragment", "/echo", masked(opText, []byte("x")), unsupported},
		{"continuation", "/echo", masked(final|opContinuation, []byte("x")), unsupported},
		{"too long for an echo", "/echo", []byte{final | opBinary, 0xff, 0, 0, 0, 0, 1, 0, 0, 1}, tooBig},
		{"length of 2^64-1", "/echo", []byte{final | opBinary, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4, 5}, tooBig},
		{"too long for the chat", "/ws", []byte{textFrame, 0xff, 0, 0, 0, 0, 0, 1, 0, 1}, tooBig},
		{"binary on /ws", "/ws", masked(final|opBinary, nil), unsupported},
		{"empty text on /ws", "/ws", masked(textFrame, nil), unsupported},
		{"unknown text on /ws", "/ws", masked(textFrame, []byte(`{"path":"/rules"}`)), unsupported},
		{"begun ping on /ws", "/ws", masked(textFrame, pingRequest), unsupported},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := open(t, s, test.path)
			p.write(test.frame)
			p.wantClose(test.want)
		})
	}
}

// TestAnswers asks as the load generator asks, and reads as it reads.
func TestAnswers(t *testing.T) {
	s := start(t, config{Loops: 1})
	p := open(t, s, "/ws")
	var reader protocol.Reader
	answer := func(request []byte) protocol.Message {
		t.Helper()
		p.write(masked(textFrame, request))
		text := p.message()
		m, err := reader.Message([]byte(text))
		if err != nil {
			t.Fatalf("%s: %s: %v", request, text, err)
		}
		return m
	}
	if m := answer(protocol.AppendListen(nil, 1, 17)); m.Path != protocol.PathListen || string(m.ID) != "1" || !reader.HasRuleID(m.Result) {
		t.Errorf("listen is answered %+v", m)
	}
	params := []byte(`{"connection":18999}`)
	m := answer(protocol.AppendPing(nil, 2345, params))
	if echo, err := reader.Pong(m.Result); err != nil || m.Path != protocol.PathPing || string(m.ID) != "2345" || !bytes.Equal(echo, params) {
		t.Errorf("ping is answered %+v, echo %s (%v)", m, echo, err)
	}
	if m := answer([]byte(`{"path":"/ping"}`)); m.ID != nil || string(m.Result) != `{"time":0,"echo":null}` {
		t.Errorf("a ping without anything is answered %+v, result %s", m, m.Result)
	}
}

// TestGarbage throws bytes at the server, whole and after an upgrade, and wants it to go on.
func TestGarbage(t *testing.T) {
	s := start(t, config{Loops: 2, Receivers: 5})
	dice := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		p := dial(t, s)
		begin := [][]byte{nil, []byte("GET /"), upgradeRequest("/ws"), upgradeRequest("/echo")}[round%4]
		junk := make([]byte, dice.IntN(3000))
		for i := range junk {
			junk[i] = byte(dice.Uint32())
		}
		if round%8 > 3 && len(junk) > 1 {
			junk[0], junk[1] = textFrame, junk[1]|0x80 // gets as far as the length
		}
		_, _ = p.Conn.Write(append(begin, junk...)) // the server may have had enough
		_ = p.Conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, p.reader)
		_ = p.Close()
	}
	awaitConnections(t, s, 0)
	if taken := s.placesTaken.Load(); taken != 0 {
		t.Errorf("%d places are taken, and nobody is there", taken)
	}
	open(t, s, "/echo").sync()
}

// FuzzConsume cuts what a client sends at any place: the answers are the same as to the whole.
func FuzzConsume(f *testing.F) {
	for _, path := range []string{"/ws", "/echo", "/live"} {
		whole := append(upgradeRequest(path), masked(textFrame, protocol.AppendPing(nil, 7, []byte("null")))...)
		whole = append(append(whole, masked(final|opPing, []byte("p"))...), masked(textFrame, bytes.Repeat([]byte("x"), 300))...)
		f.Add(append(whole, masked(final|opClose, nil)...), uint16(len(whole)/2))
	}
	f.Add([]byte("GET /ws HTTP/1.1\r\n\r\n"), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		at := min(int(cut), len(b))
		if whole, parts := consumed(b), consumed(bytes.Clone(b[:at]), bytes.Clone(b[at:])); whole != parts {
			t.Errorf("cut at %d:\n got %s\nwant %s", at, parts, whole)
		}
	})
}

// consumed gives what a loop without sockets makes of the pieces.
func consumed(pieces ...[]byte) string {
	s := newBareServer(config{Receivers: 1})
	l := s.loops[0]
	const fd = 0
	l.setState(fd, inHead)
	var b []byte
	for _, piece := range pieces {
		rest, over := l.consume(fd, append(b, piece...))
		if over {
			return fmt.Sprintf("%q, over", l.out)
		}
		b = bytes.Clone(rest)
	}
	return fmt.Sprintf("%q, left %d, state %d", l.out, len(b), l.state(fd))
}
