package reactor

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

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
