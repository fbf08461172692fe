package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"chatmonitor/server/monitor"
	"chatmonitor/server/web"
)

func TestPushesComeInOrder(t *testing.T) {
	bothProfiles(t, testConfig(), func(t *testing.T, w *world) {
		clients := []*client{w.session(), w.session(), w.session(), w.session(), w.session()}
		const records, batch = 2000, 100 // a batch is less than may wait
		for offset := range int64(records) {
			if offset%batch == 0 {
				for range batch {
					w.publish(`{"app_id":1,"text":"hello"}`)
				}
			}
			for _, c := range clients {
				c.wantPush(offset)
			}
		}
		if n := w.stats.Written.Load(); n != uint64(len(clients)*records) {
			t.Errorf("%d pushes are counted", n)
		}
		await(w, "bytes that wait", 0, w.stats.QueuedOut.Load)
	})
}

func TestRequestsOfOneConnectionAreAnsweredInOrder(t *testing.T) {
	bothProfiles(t, testConfig(), func(t *testing.T, w *world) {
		c := w.dial(web.PathWS)
		for i := range 500 {
			c.say(fmt.Sprintf(`{"path":"/ping","id":%d}`, i))
		}
		for i := range 500 {
			if got := c.hear(); !strings.Contains(got, fmt.Sprintf(`"id":%d,`, i)) {
				t.Fatalf("answer %d is %s", i, got)
			}
		}
	})
}

func TestASlowConsumerGoesAndDisturbsNobody(t *testing.T) {
	config := testConfig()
	config.Shards, config.SocketSendBuffer, config.OutboundBudgetBytes = 1, 8<<10, 128<<10
	bothProfiles(t, config, func(t *testing.T, w *world) {
		slow, fast := w.session(), w.session()
		record := `{"text":"` + strings.Repeat("x", 8<<10) + `"}`
		for ; w.stats.Dropped(monitor.SlowConsumer).Load() == 0; w.offset++ {
			if w.offset > 4000 {
				t.Fatalf("after %d records the slow consumer is still there", w.offset)
			}
			offset := w.offset
			w.publish(record)
			w.offset = offset
			fast.wantPush(offset) // it gets each record while the slow one's wait
			// Besides the budget there may be the message being written, for each of the two.
			if n := int(w.stats.QueuedOut.Load()); n > config.OutboundBudgetBytes+3*len(record) {
				t.Fatalf("%d bytes wait", n)
			}
		}
		for offset := int64(0); ; offset++ { // everything before the Close is there, in order
			_, text, err := slow.ReadMessage()
			if websocket.IsCloseError(err, websocket.CloseTryAgainLater) {
				break
			}
			if err != nil || pushOffset(t, string(text)) != offset {
				t.Fatalf("offset %d: %.100s, %v", offset, text, err)
			}
		}
		_ = slow.Close() // the test's cleanup would, too
		await(w, "slow consumers", 1, closedFor(w, monitor.SlowConsumer))
		await(w, "bytes that wait", 0, w.stats.QueuedOut.Load)
	})
}

// The peer reads nothing, but the kernel has room for everything: what the budget counts is what waits
// for the peer, not for the writer.
func TestABurstThatTheKernelTakesIsNotOverTheBudget(t *testing.T) {
	config := testConfig()
	config.Shards, config.SocketSendBuffer, config.OutboundBudgetBytes = 1, 1<<20, 4<<10
	bothProfiles(t, config, func(t *testing.T, w *world) {
		c := w.session()
		const records = 100
		for range records {
			w.publish(`{"text":"` + strings.Repeat("x", 100) + `"}`)
		}
		await(w, "pushes", records, w.stats.Written.Load)
		for offset := range int64(records) {
			c.wantPush(offset)
		}
	})
}

func TestAnswersAndPongsCountAgainstTheBudget(t *testing.T) {
	config := testConfig()
	config.SocketSendBuffer, config.OutboundBudgetBytes = 4<<10, 64<<10
	for name, message := range map[string]string{
		"answers": masked(0x81, `{"path":"/ping","params":"`+strings.Repeat("x", 4<<10)+`"}`),
		"pongs":   strings.Repeat(masked(0x89, strings.Repeat("x", 125)), 32),
	} {
		t.Run(name, func(t *testing.T) {
			bothProfiles(t, config, func(t *testing.T, w *world) {
				nc := w.raw()
				if _, err := io.WriteString(nc, "GET "+web.PathWS+upgradeFields); err != nil {
					t.Fatal(err)
				}
				for open := int64(0); open == 0; open = w.stats.Connected.Load() {
				}
				for w.server.waitsFor(monitor.SlowConsumer) == 0 {
					if _, err := io.WriteString(nc, message); err != nil {
						break // it was so slow that it is gone
					}
				}
				_ = nc.Close() // the test's cleanup would, too
				await(w, "slow consumers", 1, closedFor(w, monitor.SlowConsumer))
			})
		})
	}
}

// waitsFor counts the connections that are closing for a reason.
func (s *server) waitsFor(reason monitor.Reason) (n int) {
	for _, sh := range s.shards {
		sh.do(nil, func() {
			for _, c := range sh.rosters[closing] {
				if c.reason == reason {
					n++
				}
			}
		})
	}
	return n
}

func TestEcho(t *testing.T) {
	bothProfiles(t, testConfig(), func(t *testing.T, w *world) {
		c := w.dial(web.PathEcho)
		for _, size := range []int{0, 1, 125, 126, 1000, 5000, 65535, 65536} {
			for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
				sent := strings.Repeat("e", size)
				if err := c.WriteMessage(kind, []byte(sent)); err != nil {
					t.Fatal(err)
				}
				got, text, err := c.ReadMessage()
				if err != nil || got != kind || string(text) != sent {
					t.Fatalf("%d bytes: kind %d, %d bytes, %v", size, got, len(text), err)
				}
			}
		}
		if n := w.stats.Sessions.Load(); n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestThePeersCloseIsAnswered(t *testing.T) {
	bothProfiles(t, testConfig(), func(t *testing.T, w *world) {
		for _, code := range []int{1000, 1001, 3000, 4999} {
			c := w.session()
			if err := c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, "bye")); err != nil {
				t.Fatal(err)
			}
			c.wantClose(code)
			_ = c.Close() // the test's cleanup would, too
		}
		await(w, "closed by clients", 4, closedFor(w, monitor.ClientClosed))
		await(w, "connections", 0, w.stats.Connected.Load)
		if n := w.stats.Sessions.Load(); n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestAPeerThatHangsUp(t *testing.T) {
	bothProfiles(t, testConfig(), func(t *testing.T, w *world) {
		c := w.session()
		if err := c.NetConn().Close(); err != nil {
			t.Fatal(err)
		}
		await(w, "peers gone", 1, closedFor(w, monitor.PeerGone))
		await(w, "connections", 0, w.stats.Connected.Load)
	})
}

// The shard's clock is turned forward: the first of these peers has read our Close and stays, the second
// does not read.
func TestPeersThatDoNotGoAreEnded(t *testing.T) {
	config := testConfig()
	config.Shards, config.SocketSendBuffer = 1, 4<<10
	bothProfiles(t, config, func(t *testing.T, w *world) {
		stays := w.raw()
		if _, err := io.WriteString(stays, "GET "+web.PathWS+upgradeFields+"\xff"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(stays); err != nil {
			t.Fatal(err)
		}
		w.session()
		deaf := w.aConn()
		for w.stats.QueuedOut.Load() == 0 || deaf.wire.writable() {
			w.publish(`{"text":"` + strings.Repeat("x", 8<<10) + `"}`)
		}
		deaf.do(func() { deaf.Close(monitor.Backlogged) })
		w.forward(lingerWithin, closing)
		await(w, "ended", 1, closedFor(w, monitor.ProtocolError))
		if n := w.stats.Closed(monitor.Backlogged).Load(); n != 0 {
			t.Errorf("the one that does not read has not had its time")
		}
		w.forward(flushWithin, closing)
		await(w, "ended", 1, closedFor(w, monitor.Backlogged))
		await(w, "bytes that wait", 0, w.stats.QueuedOut.Load)
	})
}

// forward lets time pass for the connections of a phase.
func (w *world) forward(d time.Duration, p phase) {
	for _, sh := range w.server.shards {
		sh.do(nil, func() {
			sh.endLate(sh.tick.Load()) // has seen who lingers
			for _, c := range sh.rosters[p] {
				c.since -= ticks(d)
			}
		})
	}
}

// The answer to a good request comes before the Close for what is behind it in the same packet.
func TestWhatBreaksAConnection(t *testing.T) {
	text := masked(0x81, `{"path":"/ping"}`)
	for name, row := range map[string]struct {
		reason monitor.Reason
		frames string
	}{
		"binary":             {monitor.Unsupported, masked(0x82, "x")},
		"not UTF-8":          {monitor.InvalidPayload, masked(0x81, "\xff")},
		"too long":           {monitor.TooBig, "\x81\xff\x00\x00\x00\x00\x00\x01\x00\x01"},
		"reserved opcode":    {monitor.ProtocolError, masked(0x83, "")},
		"unmasked":           {monitor.ProtocolError, "\x81\x00"},
		"half a close code":  {monitor.ProtocolError, masked(0x88, "\x03")},
		"impossible code":    {monitor.ProtocolError, masked(0x88, "\x03\xee")},
		"stray continuation": {monitor.ProtocolError, masked(0x80, "x")},
	} {
		t.Run(name, func(t *testing.T) {
			bothProfiles(t, testConfig(), func(t *testing.T, w *world) {
				got := w.exchange("GET " + web.PathWS + upgradeFields + text + row.frames)
				_, got, ok := strings.Cut(got, "\r\n\r\n")
				answer := strings.Index(got, `"path":"/ping","result"`)
				code := row.reason.CloseCode()
				last := strings.Index(got, string([]byte{byte(code >> 8), byte(code)}))
				if !ok || last < 2 || got[last-2] != 0x88 || answer > last || answer < 0 && name != "impossible code" {
					t.Errorf("came %q", got)
				}
				await(w, "closed", 1, closedFor(w, row.reason))
			})
		})
	}
}

func TestSilentPeersArePingedAndEnded(t *testing.T) {
	config := testConfig()
	config.IdlePing = 100 * time.Millisecond
	bothProfiles(t, config, func(t *testing.T, w *world) {
		alive := w.dial(web.PathWS) // gorilla's client answers pings while it reads
		silent := w.dial(web.PathWS)
		pings := 0
		silent.SetPingHandler(func(string) error { pings++; return nil })
		aliveEnded := make(chan error, 1)
		go func() {
			_, _, err := alive.ReadMessage()
			aliveEnded <- err
		}()
		if _, _, err := silent.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseAbnormalClosure) {
			t.Errorf("the silent one's end: %v", err)
		}
		if pings < 1 || pings > silences {
			t.Errorf("%d pings", pings)
		}
		await(w, "silent peers", 1, closedFor(w, monitor.PeerSilent))
		select {
		case err := <-aliveEnded:
			t.Errorf("the one that answers was ended: %v", err)
		default:
		}
		_ = alive.Close() // the test's cleanup would, too
		<-aliveEnded
	})
}

func TestPlaces(t *testing.T) {
	config := testConfig()
	config.MaxConnections, config.MaxHTTPConnections = 1, 1
	bothProfiles(t, config, func(t *testing.T, w *world) {
		c := w.dial(web.PathWS)
		await(w, "connections", 1, w.stats.Connected.Load)
		if got := w.exchange("GET " + web.PathWS + upgradeFields); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "Connection: close\r\n") {
			t.Errorf("the second WebSocket: %q", got)
		}
		if n := w.stats.Refused(monitor.SessionsFull).Load(); n != 1 {
			t.Errorf("%d refused", n)
		}
		await(w, "/live while sessions are full", http.StatusOK, func() int { return w.get("/live") })
		await(w, "an idle connection", "HTTP/1.1 200", func() string { return answer(t, w.raw()) })
		if got := w.exchange("GET /live HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
			t.Errorf("beyond all places: %q", got)
		}
		_ = c.Close() // the test's cleanup would, too
		await(w, "connections", 0, w.stats.Connected.Load)
		w.dial(web.PathWS) // the idle HTTP client does not keep it out
	})
}

// answer makes a request on a connection, and reads the beginning of the answer, which has the status.
func answer(t *testing.T, nc io.ReadWriter) string {
	t.Helper()
	if _, err := io.WriteString(nc, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1000)
	n, err := nc.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:min(n, len("HTTP/1.1 200"))])
}

func TestAPlainConnectionMayBecomeAWebSocket(t *testing.T) {
	config := testConfig()
	config.MaxConnections, config.MaxHTTPConnections = 1, 1
	bothProfiles(t, config, func(t *testing.T, w *world) {
		nc := w.raw()
		if got := answer(t, nc); got != "HTTP/1.1 200" {
			t.Fatal(got)
		}
		if _, err := io.WriteString(nc, "GET "+web.PathWS+upgradeFields); err != nil {
			t.Fatal(err)
		}
		await(w, "connections", 1, w.stats.Connected.Load)
		if status := w.get("/live"); status != http.StatusOK {
			t.Errorf("the place of a plain connection is not free again: %d", status)
		}
	})
}

func TestStrangersAreRefused(t *testing.T) {
	for _, row := range []struct {
		reason      monitor.Reason
		sent, start string
	}{
		{monitor.TLSHello, "\x16\x03\x01\x00\x05hello", "HTTP/1.1 400 "},
		{monitor.HTTP2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505 "},
		{monitor.NotHTTP, "\x00junk\r\n\r\n", "HTTP/1.1 400 "},
		{monitor.HeadTooLong, "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 2<<20), "HTTP/1.1 431 "},
		{monitor.HeadTimeout, "GET / HTTP/1.1\r\nX: ", "HTTP/1.1 408 "},
	} {
		t.Run(row.reason.String(), func(t *testing.T) {
			config := testConfig()
			if row.reason == monitor.HeadTimeout {
				config.HandshakeTimeout = 50 * time.Millisecond
			}
			bothProfiles(t, config, func(t *testing.T, w *world) {
				nc := w.raw()
				go func() { _, _ = io.WriteString(nc, row.sent) }() // the server need not read all of it
				start := make([]byte, len(row.start))
				if _, err := io.ReadFull(nc, start); err != nil || string(start) != row.start {
					t.Errorf("answered with %q, %v", start, err)
				}
				await(w, "refused", 1, func() uint64 { return w.stats.Refused(row.reason).Load() })
				_ = nc.Close() // the test's cleanup would, too
			})
		})
	}
}

func TestAPanicEndsItsConnection(t *testing.T) {
	for name, provoke := range map[string]func(*world, *client){
		"reader": func(w *world, c *client) { c.say(`{"path":"/ping"}`) },
		"writer": func(w *world, c *client) {
			w.aConn().out.add(&message{kind: websocket.TextMessage, prepared: &websocket.PreparedMessage{}, bytes: 2})
		},
		"call": func(w *world, c *client) { w.aConn().do(func() { panic("in a call") }) },
	} {
		for profileName := range profiles {
			t.Run(name+"/"+profileName, func(t *testing.T) {
				w := start(t, profileName, testConfig(), func(s *server) {
					if name == "reader" {
						s.profile.takeBuffer = func() []byte { panic("in the reader") }
					}
				})
				c := w.dial(web.PathWS)
				await(w, "connections", 1, w.stats.Connected.Load)
				provoke(w, c)
				_, _, err := c.ReadMessage()
				want := websocket.CloseInternalServerErr
				if name == "writer" { // nobody is left to write it
					want = websocket.CloseAbnormalClosure
				}
				if !websocket.IsCloseError(err, want) {
					t.Errorf("the connection ends with %v, want %d", err, want)
				}
				_ = c.Close() // the test's cleanup would, too
				await(w, "panics", 1, closedFor(w, monitor.InternalError))
				if n := w.stats.AppErrors.Load(); n != 1 || !strings.Contains(w.logged(), "panic") {
					t.Errorf("%d panics are counted; log:\n%s", n, w.logged())
				}
			})
		}
	}
}

func TestTheSendBufferIsThatOfTheConfiguration(t *testing.T) {
	config := testConfig()
	config.SocketSendBuffer = 40_000
	bothProfiles(t, config, func(t *testing.T, w *world) {
		w.session()
		raw, err := w.aConn().wire.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		if controlErr := raw.Control(func(fd uintptr) {
			size, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		}); controlErr != nil || err != nil {
			t.Fatal(controlErr, err)
		}
		if size != 2*config.SocketSendBuffer { // the kernel doubles it, for its own share
			t.Errorf("the send buffer is of %d bytes", size)
		}
	})
}
