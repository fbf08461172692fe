package reactor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

// Everything at once, for the race detector and for goroutines that are left: several loops, plain
// requests, upgrades of both kinds, requests, pushes, resets, and a drain under all of it.
func TestAWholeLife(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { // when the server's own cleanup is done
		if err := goleak.Find(append(pools, before)...); err != nil {
			t.Error(err)
		}
	})
	config := liveConfig()
	config.Shards = 3
	w := start(t, config)
	var clients, publisher sync.WaitGroup
	ended := make(chan struct{})
	publisher.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			default:
				w.publish(fmt.Sprintf(`{"app_id":%d,"text":"hello"}`, i%4))
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	for i := range 12 {
		clients.Go(func() { w.live(rand.New(rand.NewPCG(uint64(i), 0)), 25) })
	}
	clients.Wait()
	var stay []*client
	for i := range 30 {
		stay = append(stay, w.session(fmt.Sprintf(`{"app_id":%d}`, i%4)))
	}
	w.leave()
	for _, c := range stay {
		c.wantClose(1012)
		_ = c.Close() // the test's cleanup would, too
	}
	close(ended)
	publisher.Wait()
	w.awaitEnd()
	if n := w.app.Stats.Connected.Load(); n != 0 {
		t.Errorf("%d WebSockets are counted after the end", n)
	}
	if n := w.app.Stats.QueuedOut.Load(); n != 0 {
		t.Errorf("%d bytes wait after the end", n)
	}
	if n := w.app.Stats.Written.Load(); n == 0 {
		t.Error("nothing was pushed")
	}
}

// live is a few short lives of clients, one after the other.
func (w *world) live(random *rand.Rand, lives int) {
	for range lives {
		switch random.IntN(4) {
		case 0:
			if got := w.get("/live"); !strings.HasPrefix(got, "HTTP/1.1 200") {
				w.Errorf("/live: %.100q", got)
			}
		case 1:
			c := w.connect()
			c.say([]byte("GET /live HTTP/1.1\r\nHost: x\r\n\r\nGET /echo" + upgradeFields))
			for line := ""; !strings.HasPrefix(line, "HTTP/1.1 101"); line, _ = c.in.ReadString('\n') {
			}
			for line := "x"; line != "\r\n"; line, _ = c.in.ReadString('\n') {
			}
			c.say(clientFrame(0x81, "back again"))
			c.want(1, "back again")
			c.reset()
		case 2:
			c := w.session(fmt.Sprintf(`{"app_id":%d}`, random.IntN(4)))
			for range random.IntN(20) {
				c.frame() // a push
			}
			c.reset()
		default:
			c := w.open(app.PathEcho)
			payload := strings.Repeat("x", random.IntN(60_000))
			c.say(clientFrame(0x82, payload))
			c.want(2, payload)
			c.say(clientFrame(0x88, "\x03\xe8"))
			c.want(8, "\x03\xe8")
			_ = c.Close() // the test's cleanup would, too
		}
	}
}

// wantClose passes over frames until the Close, which must have the code.
func (c *client) wantClose(code uint16) {
	c.Helper()
	for {
		op, payload := c.frame()
		if op != 8 {
			continue
		}
		if len(payload) < 2 || uint16(payload[0])<<8|uint16(payload[1]) != code {
			c.Errorf("Close %q, want %d", payload, code)
		}
		return
	}
}

// A peer goes, another gets its descriptor, and only then comes what was meant for the first.
func TestNothingForAClosedConnectionReachesAStranger(t *testing.T) {
	config := liveConfig()
	config.Shards = 1
	w := start(t, config)
	for range 5 {
		first := w.session(`{}`)
		var gone *conn
		var fd int
		w.onLoops(func(l *loop) { gone = l.rosters[open][len(l.rosters[open])-1]; fd = gone.gc.Fd() })
		first.reset()
		await(t, "the end of the first connection", 0, func() int { return int(w.app.Stats.Connected.Load()) })

		stranger, found := w.withDescriptor(fd)
		if !found {
			t.Fatal("nobody got the descriptor")
		}
		push := monitor.NewPush([]byte("secret"))
		w.onLoops(func(*loop) {
			if o, _ := gone.Push(push); o != monitor.Dropped {
				t.Error("a push to a closed connection is said to be taken")
			}
			gone.write(pingFrame, nil)
			gone.reply(1, []byte("secret"))
			gone.send([]byte("secret"))
			gone.Close(monitor.Draining)
			gone.receive(clientFrame(0x81, "secret"))
			gone.end()
		})
		stranger.ping("is it me?") // fails if anything else came before
		_ = stranger.Close()       // the test's cleanup would, too
		await(t, "the end of the stranger", 0, func() int { return int(w.app.Stats.Connected.Load()) })
	}
}

// withDescriptor opens WebSockets until one of them has the descriptor in the server.
func (w *world) withDescriptor(fd int) (c *client, found bool) {
	for range 100 {
		c := w.open(app.PathEcho)
		w.onLoops(func(l *loop) {
			newest := l.rosters[open][len(l.rosters[open])-1]
			found = newest.gc.Fd() == fd
		})
		if found {
			return c, true
		}
	}
	return nil, false
}

// A session whose Close is on its way gets nothing behind it, and those beside it get theirs.
func TestNothingComesBehindAClose(t *testing.T) {
	config := liveConfig()
	config.Shards = 1
	w := start(t, config)
	one, other := w.session(`{"app_id":1}`), w.session(`{"app_id":1}`)
	w.onLoops(func(l *loop) {
		for _, c := range slices.Clone(l.rosters[open]) {
			if c.gc.RemoteAddr().String() == one.LocalAddr().String() {
				c.Close(monitor.Draining)
				if o, _ := c.Push(monitor.NewPush([]byte("late"))); c.write(pingFrame, nil) || o != monitor.Dropped {
					t.Error("something is taken behind a Close")
				}
			}
		}
	})
	w.publish(`{"app_id":1}`)
	one.want(8, string(closeFrame(monitor.Draining)[2:]))
	if op, _, err := one.tryFrame(); err == nil {
		t.Errorf("after the Close came a frame with opcode %d", op)
	}
	if op, text := other.frame(); op != 1 || !strings.Contains(text, `"/chat"`) {
		t.Errorf("the other session got %d %q", op, text)
	}
	await(t, "pushes", 1, w.app.Stats.Written.Load)
}

// What gnet says when accept fails for good must be the server's last word.
func TestTheServerSaysWhyAcceptEndedIt(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EMFILE} {
		w := start(t, liveConfig())
		w.open(app.PathWS).ping("x")
		gnetLog{w.server}.Errorf("Accept() failed due to error: %v", errno)
		if err := w.engine.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-w.served:
			if err == nil || !strings.Contains(err.Error(), errno.Error()) {
				t.Errorf("serve returned %v, which does not say %q", err, errno.Error())
			}
		case <-time.After(patience):
			t.Fatal("the server goes on without its event loops")
		}
		w.served <- nil
	}
}

// Whatever panics on a loop ends a connection at most.
func TestPanicsOnALoop(t *testing.T) {
	config := liveConfig()
	config.Shards = 1
	w := start(t, config)
	stays := w.session(`{"app_id":7}`)
	breaks, ends := w.session(`{"app_id":7}`), w.session(`{"app_id":7}`)
	w.onLoops(func(l *loop) {
		for _, c := range l.rosters[open] {
			if c.gc.RemoteAddr().String() == breaks.LocalAddr().String() {
				c.session = &monitor.Session{} // serving it panics
			}
			if c.gc.RemoteAddr().String() == ends.LocalAddr().String() {
				c.session = w.unendable(c)
			}
		}
	})
	ends.say(clientFrame(0x88, "\x03\xe8"))
	ends.wantClose(1000)
	_ = ends.Close() // the test's cleanup would, too
	await(t, "connections closed by their clients", 1, w.closedFor(monitor.ClientClosed))
	breaks.say(clientFrame(0x81, `{"path":"/ping"}`))
	breaks.wantClose(1011)
	_ = breaks.Close() // the test's cleanup would, too
	await(t, "connections closed with 1011", 1, w.closedFor(monitor.InternalError))
	w.onLoops(func(l *loop) { // in the clock and in the shard's work
		shard := l.shard
		l.shard = nil
		l.work()
		l.shard = shard
		l.rosters[inHead] = append(l.rosters[inHead], nil)
		l.ticked()
		l.rosters[inHead] = l.rosters[inHead][:len(l.rosters[inHead])-1]
	})
	stays.ping("still there")
	w.publish(`{"app_id":7}`)
	if _, text := stays.frame(); !strings.Contains(text, `"/chat"`) {
		t.Errorf("got %q", text)
	}
	if n := w.app.Stats.AppErrors.Load(); n < 4 {
		t.Errorf("%d panics are counted", n)
	}
}

// unendable is a session whose end panics: its shard does not know it.
func (w *world) unendable(c *conn) *monitor.Session {
	hub := monitor.NewHub(monitor.Options{Shards: 1, InFlight: 1, Router: monitor.NewRouter(), Stats: w.app.Stats, Log: w.app.Log, Now: time.Now})
	known := hub.Shards()[0].Open(c)
	unknown := *known
	known.Closed()
	return &unknown
}

// A message of 16 MiB, there and back, beside as many bytes in messages of 1 MiB. If its time grew with the
// square of its length, it would take more than sixteen times as long; caches alone make it three. The
// times are the best of interleaved rounds of one run.
func TestLongMessagesTakeLinearTime(t *testing.T) {
	const long, short = 16 << 20, 1 << 20
	config := liveConfig()
	config.MaxMessageBytes = long
	w := start(t, config)
	c := w.open(app.PathEcho)
	best := make(map[int]time.Duration)
	for range 5 {
		for _, size := range []int{short, long} {
			payload := strings.Repeat("0123456789abcdef", size/16)
			message := clientFrame(0x81, payload)
			began := time.Now()
			for range long / size {
				sent := make(chan error, 1)
				go func() { _, err := c.Write(message); sent <- err }()
				c.want(1, payload)
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(began); best[size] == 0 || took < best[size] {
				best[size] = took
			}
		}
	}
	ratio := float64(best[long]) / float64(best[short])
	t.Logf("16 x 1 MiB: %v, 16 MiB: %v, ratio %.1f", best[short], best[long], ratio)
	if ratio > 8 {
		t.Errorf("16 MiB take %.1f times as long as 16 times 1 MiB", ratio)
	}
}
