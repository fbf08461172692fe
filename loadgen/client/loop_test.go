package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"chatmonitor/loadgen/pace"
)

const patience = 30 * time.Second

// bell tells a test what its handler heard, in order.
type bell struct {
	events chan string
	opened func(i int)
	heard  func(i int, payload []byte)
}

func newBell() *bell { return &bell{events: make(chan string, 10_000)} }

func (b *bell) Opened(i int, dialledNs, nowNs int64) {
	if dialledNs <= 0 || nowNs < dialledNs {
		b.events <- fmt.Sprintf("opened at %d before it was dialled at %d", nowNs, dialledNs)
	}
	if b.opened != nil {
		b.opened(i)
		return
	}
	b.events <- fmt.Sprintf("%d opened", i)
}

func (b *bell) Received(i int, _ bool, payload []byte, _ int64) {
	if b.heard != nil {
		b.heard(i, payload)
		return
	}
	b.events <- fmt.Sprintf("%d received %s", i, payload)
}

func (b *bell) Closed(i int, err error) { b.events <- fmt.Sprintf("%d closed: %v", i, err) }

func (b *bell) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-b.events:
		if !strings.HasPrefix(got, want) {
			t.Fatalf("heard %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("heard nothing, want %q", want)
	}
}

// startLoop runs a loop against a listener until the test ends.
func startLoop(t *testing.T, address net.Addr, handler Handler, change func(*Config)) *Loop {
	t.Helper()
	config := Config{
		Servers:     []Server{{Address: netip.MustParseAddrPort(address.String()), Host: address.String(), Path: "/ws"}},
		Connections: 4, Timeout: patience, MaxMessageBytes: testLimit, Seed: 1,
	}
	if change != nil {
		change(&config)
	}
	loop, err := New(config, handler)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("loop ended with %v", err)
		}
	})
	return loop
}

func mustDial(t *testing.T, l *Loop, i int) {
	t.Helper()
	if err := l.Dial(i); err != nil {
		t.Fatal(err)
	}
}

// serve runs a WebSocket server that hands every connection to use.
func serve(t *testing.T, use func(*websocket.Conn)) net.Addr {
	t.Helper()
	var handlers sync.WaitGroup
	upgrader := websocket.Upgrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // the test sees what the client makes of it
		}
		defer func() { _ = c.Close() }()
		use(c)
	}))
	t.Cleanup(func() { server.Close(); handlers.Wait() })
	return server.Listener.Addr()
}

func echo(c *websocket.Conn) {
	for {
		kind, payload, err := c.ReadMessage()
		if err != nil {
			return
		}
		if err := c.WriteMessage(kind, payload); err != nil {
			return
		}
	}
}

// listen gives a TCP server that hands every connection to use.
func listen(t *testing.T, use func(net.Conn)) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var users sync.WaitGroup
	users.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			users.Go(func() { use(c) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); users.Wait() })
	return listener.Addr()
}

func TestEchoOnManyConnections(t *testing.T) {
	const connections = 300
	b := newBell()
	loop := startLoop(t, serve(t, echo), b, func(c *Config) {
		c.Connections = connections
		c.Servers[0].Sources = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	})
	b.opened = func(i int) {
		if err := loop.Send(i, fmt.Appendf(nil, "hello %d", i)); err != nil {
			t.Error(err)
		}
	}
	for i := range connections {
		mustDial(t, loop, i)
	}
	seen := map[string]bool{}
	for range connections {
		select {
		case event := <-b.events:
			seen[event] = true
		case <-time.After(patience):
			t.Fatalf("%d of %d answers", len(seen), connections)
		}
	}
	for i := range connections {
		if !seen[fmt.Sprintf("%d received hello %d", i, i)] {
			t.Errorf("connection %d did not get its own answer", i)
		}
	}
}

func TestConnectionsLeaveFromTheirSources(t *testing.T) {
	from := make(chan string, 4)
	address := serve(t, func(c *websocket.Conn) {
		from <- c.RemoteAddr().(*net.TCPAddr).IP.String()
		echo(c)
	})
	loop := startLoop(t, address, newBell(), func(c *Config) {
		c.Servers[0].Sources = []netip.Addr{netip.MustParseAddr("127.0.0.7"), netip.MustParseAddr("127.0.0.8")}
	})
	for i, want := range []string{"127.0.0.7", "127.0.0.8", "127.0.0.7"} {
		mustDial(t, loop, i)
		if got := <-from; got != want {
			t.Errorf("connection %d came from %s, want %s", i, got, want)
		}
	}
}

// TestServersShareConnections: each connection goes to its server, and each server sees all sources.
func TestServersShareConnections(t *testing.T) {
	came := make(chan string, 1)
	var servers []Server
	for _, path := range []string{"/a", "/b"} {
		address := serve(t, func(c *websocket.Conn) {
			came <- path + " from " + c.RemoteAddr().(*net.TCPAddr).IP.String()
			echo(c)
		})
		servers = append(servers, Server{
			Address: netip.MustParseAddrPort(address.String()), Host: "x", Path: path,
			Sources: []netip.Addr{netip.MustParseAddr("127.0.0.7"), netip.MustParseAddr("127.0.0.8")},
		})
	}
	loop := startLoop(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, newBell(), func(c *Config) {
		c.Servers = servers
		c.Number = func(conn int) int { return conn + 3 }
	})
	for i, want := range []string{"/b from 127.0.0.8", "/a from 127.0.0.7", "/b from 127.0.0.7", "/a from 127.0.0.8"} {
		mustDial(t, loop, i)
		if got := <-came; got != want {
			t.Errorf("connection %d: %s, want %s", i, got, want)
		}
	}
}

func TestRedialAfterClose(t *testing.T) {
	b := newBell()
	loop := startLoop(t, serve(t, echo), b, nil)
	for range 3 {
		mustDial(t, loop, 2)
		b.expect(t, "2 opened")
		if err := loop.Dial(2); err == nil {
			t.Error("dialled an open connection again")
		}
		closed := make(chan error)
		loop.Do(func() { closed <- loop.Close(2) })
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
}

func TestCloseLeavesNoTimeWait(t *testing.T) {
	ended := make(chan error, 1)
	address := serve(t, func(c *websocket.Conn) {
		_, _, err := c.ReadMessage()
		ended <- err
	})
	b := newBell()
	loop := startLoop(t, address, b, nil)
	mustDial(t, loop, 0)
	b.expect(t, "0 opened")
	loop.Do(func() { _ = loop.Close(0) })
	if err := <-ended; !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the server saw %v, want a reset: anything else leaves TIME_WAIT behind", err)
	}
}

func TestCloseFrameIsToldAndAnswered(t *testing.T) {
	answered := make(chan error, 1)
	address := serve(t, func(c *websocket.Conn) {
		message := websocket.FormatCloseMessage(1013, "slow consumer")
		if err := c.WriteControl(websocket.CloseMessage, message, time.Now().Add(patience)); err != nil {
			answered <- err
			return
		}
		_, _, err := c.ReadMessage()
		answered <- err
	})
	b := newBell()
	loop := startLoop(t, address, b, nil)
	mustDial(t, loop, 0)
	b.expect(t, "0 opened")
	b.expect(t, `0 closed: closed by the server with 1013 "slow consumer"`)
	if err := <-answered; !websocket.IsCloseError(err, 1013) {
		t.Errorf("the server got %v, want the same close code back", err)
	}
}

func TestTimeouts(t *testing.T) {
	silent := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c); _ = c.Close() })
	b := newBell()
	loop := startLoop(t, silent, b, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	mustDial(t, loop, 0)
	b.expect(t, "0 closed: "+ErrUpgradeTimeout.Error())

	loop = startLoop(t, serve(t, echo), b, nil)
	mustDial(t, loop, 1)
	b.expect(t, "1 opened")
	loop.Deadline(1, pace.Now())
	b.expect(t, "1 closed: "+ErrAnswerTimeout.Error())
}

func TestLiftedDeadlineClosesNothing(t *testing.T) {
	b := newBell()
	loop := startLoop(t, serve(t, echo), b, nil)
	mustDial(t, loop, 0)
	b.expect(t, "0 opened")
	loop.Deadline(0, NoDeadline)
	mustDial(t, loop, 1)
	b.expect(t, "1 opened")
	loop.Deadline(1, pace.Now()) // a later look at all connections ends this one only
	b.expect(t, "1 closed: ")
	if err := loop.Send(0, []byte("still here")); err != nil {
		t.Error(err)
	}
	b.expect(t, "0 received still here")
}

func TestFailuresAreTold(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = refusing.Close()
	notFound := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(notFound.Close)
	for _, row := range []struct {
		sentence string
		address  net.Addr
		want     string
	}{
		{"nobody listens", refusing.Addr(), "0 closed: connect: connection refused"},
		{"no such endpoint", notFound.Listener.Addr(), "0 closed: upgrade refused: 404 Not Found"},
		{"another protocol", listen(t, func(c net.Conn) { _, _ = c.Write([]byte("220 mail\r\n\r\n")); drain(c) }), "0 closed: the answer to the upgrade is not HTTP/1.1"},
		{"end without a word", listen(t, func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite(); drain(c) }), "0 closed: " + ErrEnd.Error()},
		{"a reset", listen(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() }), "0 closed: "},
		{"a wrong accept", listen(t, func(c net.Conn) { _, _ = c.Write([]byte(goodAnswer)); drain(c) }), "0 closed: protocol error: 101 whose Sec-WebSocket-Accept"},
	} {
		b := newBell()
		loop := startLoop(t, row.address, b, nil)
		if err := loop.Dial(0); err != nil {
			b.Closed(0, err) // loopback may refuse at once
		}
		t.Log(row.sentence)
		b.expect(t, row.want)
	}
}

func drain(c net.Conn) {
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
}

// TestServerThatDoesNotRead: nothing is lost or mixed up while the server looks away, and there is an end to
// what is kept for it.
func TestServerThatDoesNotRead(t *testing.T) {
	look := make(chan struct{})
	type count struct {
		messages int
		err      error
	}
	counted := make(chan count, 1)
	payload := strings.Repeat("x", 32<<10)
	address := serve(t, func(c *websocket.Conn) {
		<-look
		for n := 0; ; n++ {
			_, got, err := c.ReadMessage()
			if err == nil && string(got) != fmt.Sprintf("%d %s", n, payload) && string(got) != "end" {
				err = fmt.Errorf("message %d came out wrong", n)
			}
			if err != nil || string(got) == "end" {
				counted <- count{n, err}
				return
			}
		}
	})
	b := newBell()
	loop := startLoop(t, address, b, nil)
	mustDial(t, loop, 0)
	b.expect(t, "0 opened")
	// A small buffer, so that what is kept goes out in many pieces.
	if err := unix.SetsockoptInt(int(loop.snapshot(0).fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for {
		err := loop.Send(0, fmt.Appendf(nil, "%d %s", sent, payload))
		if errors.Is(err, ErrNotReading) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sent++
	}
	close(look)
	for deadline := time.Now().Add(patience); loop.Send(0, []byte("end")) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was kept did not go out")
		}
	}
	if got := <-counted; got.err != nil || got.messages != sent {
		t.Errorf("the server read %d of %d messages, error %v", got.messages, sent, got.err)
	}
}

func TestPausedConnectionIsNotRead(t *testing.T) {
	push := make(chan string)
	address := serve(t, func(c *websocket.Conn) {
		for text := range push {
			if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
				return
			}
		}
	})
	b := newBell()
	loop := startLoop(t, address, b, nil)
	turn := func(f func(int) error) {
		t.Helper()
		turned := make(chan error)
		loop.Do(func() { turned <- f(0) })
		if err := <-turned; err != nil {
			t.Fatal(err)
		}
	}
	mustDial(t, loop, 0)
	b.expect(t, "0 opened")
	turn(loop.Pause)
	push <- "unheard"
	push <- "still unheard" // taken only when the first was written, so it is in the socket by now
	for range 3 {
		turn(func(int) error { return nil }) // the loop goes round and round
	}
	if n := len(b.events); n != 0 {
		t.Errorf("heard %d events of a paused connection", n)
	}
	turn(loop.Resume)
	b.expect(t, "0 received unheard")
	b.expect(t, "0 received still unheard")
	close(push)
}

func TestDialAfterTheEnd(t *testing.T) {
	address := serve(t, echo)
	loop, err := New(Config{Servers: []Server{{Address: netip.MustParseAddrPort(address.String())}}, Connections: 1, Timeout: patience}, newBell())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := loop.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := loop.Dial(0); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Dial after Run: %v", err)
	}
	loop.Do(func() { t.Error("a command ran after Run") })
	loop.Deadline(0, 1)
	if err := loop.Send(0, nil); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Send after Run: %v", err)
	}
}
