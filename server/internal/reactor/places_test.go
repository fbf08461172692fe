package reactor

import (
	"bufio"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

func fewPlaces() app.Config {
	config := liveConfig()
	config.Shards, config.MaxConnections, config.MaxHTTPConnections = 1, 4, 2
	return config
}

// wantPlaces checks that as many places are free as there should be.
func (w *world) wantPlaces(sessions, plain int) {
	w.Helper()
	for _, c := range []struct {
		name  string
		slots *app.Slots
		want  int
	}{{"sessions", w.app.Sessions, sessions}, {"plain", w.app.Plain, plain}} {
		await(w, "free places of "+c.name, c.want, func() int {
			free := 0
			for c.slots.Take() {
				free++
			}
			for range free {
				c.slots.Give()
			}
			return free
		})
	}
}

// Clients that say nothing, far more than there are places, keep out neither WebSockets nor pages, long
// before their time is up.
func TestSilentClientsKeepNobodyOut(t *testing.T) {
	w := start(t, fewPlaces())
	stays := w.open(app.PathWS)
	var silent []*client
	for range 20 {
		silent = append(silent, w.connect())
	}
	for range 3 {
		if got := w.get("/live"); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("/live: %q", got)
		}
		c := w.open(app.PathWS)
		c.ping("served")
		c.reset()
		silent = append(silent, w.connect(), w.connect())
	}
	stays.ping("still there")
	if w.app.Stats.Refused(monitor.Displaced).Load() == 0 {
		t.Error("nobody was displaced")
	}
	for _, c := range append(silent, stays) {
		_ = c.Close() // the test's cleanup would, too
	}
	w.wantPlaces(4, 2)
}

// A plain client that rests gives its place to one that asks. Nobody displaces a WebSocket.
func TestRestingClientsKeepNobodyOut(t *testing.T) {
	w := start(t, fewPlaces())
	var sessions, resting []*client
	for range 4 {
		sessions = append(sessions, w.open(app.PathWS))
	}
	for i := range 10 {
		c := w.connect()
		c.say([]byte("GET /live HTTP/1.1\r\nHost: x\r\n\r\n"))
		if answer, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("client %d: %+v, %v", i, answer, err)
		}
		resting = append(resting, c)
		c.restsIn(w)
	}
	over := w.connect()
	over.say([]byte("GET /ws" + upgradeFields))
	if answer, err := http.ReadResponse(over.in, nil); err != nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a fifth WebSocket of four: %+v, %v", answer, err)
	}
	for _, c := range sessions {
		c.ping("still there")
	}
	for _, c := range append(resting, append(sessions, over)...) {
		_ = c.Close() // the test's cleanup would, too
	}
	w.wantPlaces(4, 2)
}

// The same, for an upgrade that comes behind a request.
func TestSilentClientsKeepNoLaterUpgradeOut(t *testing.T) {
	w := start(t, fewPlaces())
	c := w.connect()
	c.say([]byte("GET /live HTTP/1.1\r\nHost: x\r\n\r\n"))
	if answer, err := http.ReadResponse(c.in, nil); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%+v, %v", answer, err)
	} else if _, err := c.in.Discard(int(answer.ContentLength)); err != nil {
		t.Fatal(err)
	}
	for range w.app.Config.MaxConnections {
		w.connect() // the test's cleanup ends it
	}
	w.wantPlaces(0, 1)
	c.say([]byte("GET /echo" + upgradeFields))
	c.upgraded()
	c.ping("x")
	if n := w.app.Stats.Refused(monitor.Displaced).Load(); n != 1 {
		t.Errorf("%d silent clients have given way", n)
	}
}

// Clients whose requests do not get on keep out neither other requests nor, in their turn, each other.
func TestRequestsThatTakeLongKeepNobodyOut(t *testing.T) {
	w := start(t, fewPlaces(), func(s *server) { s.handed.service = 20 * time.Millisecond })
	var slow []*client
	for range 20 {
		c := w.connect()
		c.say([]byte("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"))
		if answer, err := http.ReadResponse(c.in, nil); err != nil || answer.StatusCode != http.StatusContinue {
			t.Fatalf("%+v, %v", answer, err)
		}
		slow = append(slow, c)
		time.Sleep(2 * w.handed.service) // those of before have had their time
	}
	if got := w.get("/live"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("/live: %.100q", got)
	}
	last := slow[len(slow)-1]
	last.say([]byte("hello"))
	if answer, err := http.ReadResponse(last.in, nil); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("the latest of them: %+v, %v", answer, err)
	}
	for _, c := range slow {
		_ = c.Close() // the test's cleanup would, too
	}
	w.wantPlaces(4, 2)
	await(t, "requests under way", 0, w.handed.active.Load)
}

// restsIn waits until net/http has told that the client's request is over.
func (c *client) restsIn(w *world) {
	await(w, "requests under way", 0, w.handed.active.Load)
}

func TestConnectionsOfAnAddressAreCountedOnce(t *testing.T) {
	config := liveConfig()
	config.MaxPerAddress = 2
	w := start(t, config)
	for range 5 {
		first := w.connect()
		first.say([]byte("GET /live HTTP/1.1\r\nHost: x\r\n\r\n"))
		if answer, err := http.ReadResponse(first.in, nil); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%+v, %v", answer, err)
		} else if _, err := first.in.Discard(int(answer.ContentLength)); err != nil {
			t.Fatal(err)
		}
		first.say([]byte("GET /echo" + upgradeFields))
		first.upgraded()
		first.ping("x")
		second := w.open(app.PathWS)
		refused := w.connect()
		if answer, err := http.ReadResponse(refused.in, nil); err != nil || answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a third connection of two: %+v, %v", answer, err)
		}
		for _, c := range []*client{first, second, refused} {
			c.reset()
		}
		address := first.LocalAddr()
		await(t, "what is counted of the address", true, func() bool {
			one, two, three := w.app.Peers.Take(address), w.app.Peers.Take(address), w.app.Peers.Take(address)
			for _, taken := range []bool{one, two, three} {
				if taken {
					w.app.Peers.Give(address)
				}
			}
			return one && two && !three
		})
	}
	if n := w.app.Stats.Refused(monitor.AddressFull).Load(); n != 5 {
		t.Errorf("%d refusals are counted", n)
	}
}

// Each of these refusals needs a server that is full in a way of its own.
func TestRefusalsOfAFullServerAreCounted(t *testing.T) {
	w := start(t, fewPlaces(), func(s *server) { s.handed.service = time.Hour })
	refused := func(r monitor.Reason) func() uint64 {
		return func() uint64 { return w.app.Stats.Refused(r).Load() }
	}
	ask := func(request string, status int) {
		t.Helper()
		c := w.connect()
		c.say([]byte(request))
		if answer, err := http.ReadResponse(c.in, nil); err != nil || answer.StatusCode != status {
			t.Errorf("%.20q: %+v, %v; want %d", request, answer, err, status)
		}
		_ = c.Close() // the test's cleanup would, too
	}
	ask("GET /ws"+strings.Replace(upgradeFields, "13", "8", 1), http.StatusUpgradeRequired)
	await(t, "bad handshakes", 1, refused(monitor.BadHandshake))
	w.wantPlaces(4, 2) // that one had a plain place
	var busy []*client
	for range 2 { // requests under way have both plain places
		c := w.connect()
		c.say([]byte("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"))
		if answer, err := http.ReadResponse(c.in, nil); err != nil || answer.StatusCode != http.StatusContinue {
			t.Fatalf("%+v, %v", answer, err)
		}
		busy = append(busy, c)
	}
	ask("GET /live HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusServiceUnavailable)
	await(t, "refused for want of a plain place", 1, refused(monitor.HTTPFull))
	for range 4 {
		busy = append(busy, w.open(app.PathWS))
	}
	ask("", http.StatusServiceUnavailable) // refused before it has said anything
	await(t, "refused for want of a session's place", 1, refused(monitor.SessionsFull))
	for _, c := range busy {
		_ = c.Close() // the test's cleanup would, too
	}
	w.wantPlaces(4, 2)
}

// A loop without connections has no ticks that would tell.
func TestNothingIsQueuedForNobody(t *testing.T) {
	w := start(t, liveConfig())
	c := w.open(app.PathEcho)
	for range 8 { // more than the kernel takes
		c.say(clientFrame(0x82, strings.Repeat("x", 60_000)))
	}
	await(t, "that something waits", true, func() bool { return w.app.Stats.QueuedOut.Load() > 0 })
	c.reset()
	await(t, "bytes that wait", 0, w.app.Stats.QueuedOut.Load)
}

// With hardly a descriptor left, the server refuses before accept fails.
func TestFewDescriptorsAreKept(t *testing.T) {
	w := start(t, liveConfig())
	stays := w.open(app.PathWS)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("/dev/null") // what it gets is the lowest that is free
	if err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: uint64(file.Fd()) + spareDescriptors - 2, Max: limit.Max}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		c := w.connect()
		if answer, err := http.ReadResponse(c.in, nil); err != nil || answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%+v, %v", answer, err)
		}
		c.reset()
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if n := w.app.Stats.Refused(monitor.NoDescriptors).Load(); n != 50 {
		t.Errorf("%d refusals are counted", n)
	}
	stays.ping("still there")
	w.open(app.PathWS).ping("and others again")
}

// Whoever is there when the time to leave is over is counted as such.
func TestShutdownIsCounted(t *testing.T) {
	config := liveConfig()
	config.Drain = 0
	for try := 0; ; try++ {
		w := start(t, config)
		w.open(app.PathWS).ping("x")
		w.leave()
		w.awaitEnd()
		shutdown, draining := w.closedFor(monitor.Shutdown)(), w.closedFor(monitor.Draining)()
		if shutdown+draining != 1 {
			t.Fatalf("%d are counted as cut off, %d as sent away; one was there", shutdown, draining)
		}
		if shutdown == 1 {
			return
		}
		if try == 50 { // the clock ticked before the end, each time
			t.Fatal("nobody was ever cut off")
		}
	}
}
