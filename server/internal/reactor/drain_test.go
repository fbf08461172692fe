package reactor

import (
	"context"
	"testing"
	"time"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

// A client may have the 101 before it counts as connected, and end the server at once: the drain waits
// for it all the same.
func TestDrainWaitsForAnUpgrade(t *testing.T) {
	config := testConfig
	config.MaxHeadBytes = 8 << 10
	c, w := newConnInHead(config)
	s := c.loop.server
	s.handed = newHandedOver(1)
	quiet := func() bool {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // it does not wait
		s.awaitQuiet(ctx)
		return s.arriving.Load() == 0 && s.app.Stats.Connected.Load() == 0
	}
	if !quiet() {
		t.Error("somebody is there at the start")
	}
	w.onWrite = func() {
		if s.arriving.Load() != 1 {
			t.Errorf("%d upgrades are under way while the 101 is written, want 1", s.arriving.Load())
		}
		if quiet() {
			t.Error("the drain would be over")
		}
	}
	c.receive([]byte("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	if c.phase != open || s.arriving.Load() != 0 || s.app.Stats.Connected.Load() != 1 {
		t.Errorf("phase %v, %d under way, %d connected", c.phase, s.arriving.Load(), s.app.Stats.Connected.Load())
	}
}

// In the ticks of this drain there is time for a third of the sessions at most.
func TestDrainTellsMoreThanTicksHaveTimeFor(t *testing.T) {
	config := liveConfig()
	config.Shards = 1
	sessions := 3 * int(ticks(config.Drain))
	w := start(t, config, func(s *server) { s.budget = 10 * time.Microsecond }) // a notice and a Close take longer
	clients := make([]*client, sessions)
	for i := range clients {
		clients[i] = w.open(app.PathWS)
	}
	w.leave()
	for _, c := range clients {
		c.wantClose(1012)
		_ = c.Close() // the test's cleanup would, too
	}
	w.awaitEnd()
	if n := w.closedFor(monitor.Draining)(); n != uint64(sessions) {
		t.Errorf("%d of %d sessions were sent away", n, sessions)
	}
}

func TestTheSpreadOfALongDrain(t *testing.T) {
	for drain, want := range map[time.Duration]time.Duration{0: 0, 10 * time.Second: 6 * time.Second, 500_000 * time.Hour: 300_000 * time.Hour} {
		if got := spreadOf(drain); got != want {
			t.Errorf("%v are spread over %v, want %v", drain, got, want)
		}
	}
}

func TestDrainIsSpread(t *testing.T) {
	for _, c := range []struct {
		total   int64
		elapsed time.Duration
		want    int
	}{
		{1, 0, 1}, {2, 0, 1}, {2, 5 * time.Second, 1}, {11, 0, 1}, {11, 3 * time.Second, 6}, {11, 5999 * time.Millisecond, 10},
	} {
		d := &drain{from: time.Unix(0, 0), spread: 6 * time.Second, total: c.total}
		sent := 0
		for d.take(d.from.Add(c.elapsed)) {
			sent++
		}
		if sent != c.want {
			t.Errorf("%d WebSockets, after %v: %d sent away, want %d", c.total, c.elapsed, sent, c.want)
		}
	}
	d := &drain{from: time.Unix(0, 0), spread: 0, total: 5}
	for range 10 { // also those that came since
		if !d.take(d.from) {
			t.Fatal("after the spread somebody may stay")
		}
	}
}
