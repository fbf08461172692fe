package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"chatmonitor/server/chat"
)

func TestMain(m *testing.M) {
	// The Kafka client counts, on a goroutine that it starts once and never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// patience is for what takes no time on a machine that has any.
const patience = 30 * time.Second

const testDescriptors = 10_000

// start runs a server, without a feed, until the test ends.
func start(t testing.TB, c config) *server {
	t.Helper()
	s := newTestServer(t, c, testDescriptors)
	startServer(t, s)
	return s
}

func newTestServer(t testing.TB, c config, descriptors int) *server {
	t.Helper()
	c.Listen, c.SocketSendBuffer = "127.0.0.1:0", 64<<10
	s, err := newServer(c, descriptors, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// startServer runs a server until the test ends, or stop is called: then what the loops own may be looked at.
func startServer(t testing.TB, s *server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, s.close()); err != nil {
			t.Error(err)
		}
		for _, l := range s.loops {
			checkAccount(t, l)
		}
	})
	t.Cleanup(stop)
	return stop
}

// checkAccount compares what a loop counts with what it has.
func checkAccount(t testing.TB, l *loop) {
	t.Helper()
	held := 0
	for _, kept := range []map[int][]byte{l.unfinished, l.unsent} {
		for _, b := range kept {
			held += len(b)
		}
	}
	if l.heldBytes != held || int(l.receiving.Load()) != len(l.receivers) {
		t.Errorf("%d bytes are held and %d counted, %d receivers and %d counted", held, l.heldBytes, len(l.receivers), l.receiving.Load())
	}
}

// peer is a client that speaks in bytes.
type peer struct {
	net.Conn
	t      testing.TB
	reader *bufio.Reader
}

func dial(t testing.TB, s *server) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // tests close it too
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &peer{Conn: conn, t: t, reader: bufio.NewReader(conn)}
}

// The example of RFC 6455, section 1.3.
const (
	exampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	exampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func upgradeRequest(path string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: x\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + exampleKey + endOfHead)
}

var upgradeAnswer = []byte(upgradeHead + exampleAccept + endOfHead)

// open gives an upgraded connection.
func open(t testing.TB, s *server, path string) *peer {
	t.Helper()
	p := dial(t, s)
	p.write(upgradeRequest(path))
	p.wantBytes(upgradeAnswer)
	return p
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.Conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) wantBytes(want []byte) {
	p.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(p.reader, got); err != nil || !bytes.Equal(got, want) {
		p.t.Fatalf("got %.200q (%v), want %.200q", got[:n], err, want)
	}
}

// wantEnd wants the connection to end; a reset is an end too.
func (p *peer) wantEnd() {
	p.t.Helper()
	b, err := io.ReadAll(p.reader)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		p.t.Fatal("the connection does not end")
	}
	if len(b) > 0 {
		p.t.Fatalf("got %.200q, want the end", b)
	}
}

// wantClose wants a Close frame with a code, and the end.
func (p *peer) wantClose(code closeCode) {
	p.t.Helper()
	p.wantBytes(appendClose(nil, code))
	p.wantEnd()
}

// masked is a client's frame.
func masked(first byte, payload []byte) []byte {
	mask := [4]byte{0x11, 0x82, 0xa3, 0x74}
	b := appendFrameHead(nil, 0, len(payload))
	b[0], b[1] = first, b[1]|0x80
	b = append(b, mask[:]...)
	for i, x := range payload {
		b = append(b, x^mask[i%4])
	}
	return b
}

// plainFrame is a server's frame.
func plainFrame(first byte, payload []byte) []byte {
	b := appendFrameHead(nil, 0, len(payload))
	b[0] = first
	return append(b, payload...)
}

const (
	final     = 0x80
	textFrame = final | opText
)

// message reads the payload of one short or medium frame.
func (p *peer) message() string {
	p.t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(p.reader, head[:2]); err != nil {
		p.t.Fatal(err)
	}
	length := int(head[1])
	if length == 126 {
		if _, err := io.ReadFull(p.reader, head[2:]); err != nil {
			p.t.Fatal(err)
		}
		length = int(binary.BigEndian.Uint16(head[2:]))
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(p.reader, payload); err != nil || head[0] != textFrame || head[1] > 126 {
		p.t.Fatalf("frame % x: %v", head, err)
	}
	return string(payload)
}

// sync returns when the server has answered all that it was sent, with nothing in between.
func (p *peer) sync() {
	p.t.Helper()
	p.write(masked(final|opPing, []byte("sync")))
	p.wantBytes(plainFrame(final|opPong, []byte("sync")))
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// awaitRead returns when the server has read all that its one connection was sent.
func awaitRead(t testing.TB, s *server) {
	t.Helper()
	eventually(t, "one connection, and all read", func() bool {
		connections, unreadBytes := 0, 0
		for fd := range s.conns {
			if state(s.conns[fd].Load()) == absent {
				continue
			}
			n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
			if err != nil {
				t.Fatal(err)
			}
			connections, unreadBytes = connections+1, unreadBytes+n
		}
		return connections == 1 && unreadBytes == 0
	})
}

func awaitConnections(t testing.TB, s *server, want int) {
	t.Helper()
	eventually(t, "the expected number of connections", func() bool {
		connections := 0
		for fd := range s.conns {
			if state(s.conns[fd].Load()) != absent {
				connections++
			}
		}
		return connections == want
	})
}

func publish(t testing.TB, s *server, offset int64, value string) (pushed string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at := chat.Cursor{Partition: 3, Offset: offset}
	if err := s.Publish(ctx, at, time.Time{}, []byte(value), chat.Record{}); err != nil {
		t.Fatal(err)
	}
	return string(chat.AppendPush(nil, at, []byte(value)))
}

func TestTheTableLeavesDescriptorsToOthers(t *testing.T) {
	if _, err := newServer(config{}, 2*reservedDescriptors, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "ulimit") {
		t.Errorf("a limit of %d: %v", 2*reservedDescriptors, err)
	}
}
