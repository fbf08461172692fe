package reactor

import (
	"testing"
	"time"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

// crowd is a loop with so many open connections, all of which were last heard at the same tick. A
// million share one wire, which none of them may close.
func crowd(n int, config app.Config) (*loop, []*conn, *wire) {
	first, w := newEcho(config)
	l := first.loop
	l.server.idleTicks = ticks(config.IdlePing)
	l.server.handshakeTicks = ticks(config.HandshakeTimeout)
	conns := make([]*conn, 0, n)
	for range n - 1 {
		own := w
		if n < 1000 {
			own = &wire{handler: l.server, takes: 1 << 40, fd: -1}
		}
		c := &conn{gc: own, loop: l, place: sessionPlace, marks: echoes}
		own.SetContext(c)
		l.add(c, open)
		conns = append(conns, c)
	}
	w.discards = true
	w.SetContext(first)
	return l, append(conns, first), w
}

// A million connections that came together fall silent together. Their pings must not come together:
// a tick visits what is due of a round, and a round is a quarter of the idle time.
func TestPingsOfAMillionAreSpread(t *testing.T) {
	config := testConfig
	config.IdlePing, config.HandshakeTimeout = time.Minute, time.Minute
	const n = 1_000_000
	l, conns, w := crowd(n, config)
	idle := int(l.server.idleTicks)
	most, allowed := 0, n/(idle/4)+1
	endless := time.Now().Add(time.Hour)
	for tick := range 2*idle - 1 {
		l.tick++
		before := w.writes
		l.pingSilent(endless)
		most = max(most, w.writes-before)
		if tick+1 < idle && w.writes > 0 {
			t.Fatalf("a ping at tick %d; the silence is %d ticks long then", tick+1, idle)
		}
		if tick+1 == idle+idle/4 && w.writes != n {
			t.Errorf("when the round is over, %d of %d have been pinged", w.writes, n)
		}
	}
	if most > allowed {
		t.Errorf("%d pings in one tick, want %d at most", most, allowed)
	}
	if w.writes != n {
		t.Errorf("%d pings in the first silence of %d", w.writes, n)
	}
	t.Logf("%d connections, %d ticks a minute: at most %d pings a tick", n, idle, most)
	for _, c := range conns[:10] {
		if c.pings() != 1 || c.phase != open {
			t.Fatalf("%d pings, phase %d", c.pings(), c.phase)
		}
	}
}

// Two thirds answer, one third does not: those are ended after three idle times, and not before.
func TestSilentPeersEndAfterThreeIdleTimes(t *testing.T) {
	config := testConfig
	config.IdlePing, config.HandshakeTimeout = time.Second, time.Minute
	const n = 300
	l, conns, _ := crowd(n, config)
	idle := int(l.server.idleTicks)
	endless := time.Now().Add(time.Hour)
	for tick := 1; tick <= 4*idle; tick++ {
		l.tick++
		l.pingSilent(endless)
		for i, c := range conns {
			if i%3 > 0 && c.pings() > 0 {
				c.receive(clientFrame(0x8a, ""))
			}
			if c.phase == closed && (i%3 > 0 || tick < 3*idle) {
				t.Fatalf("connection %d ended at tick %d of %d", i, tick, idle)
			}
		}
	}
	if left := len(l.rosters[open]); left != n*2/3 {
		t.Errorf("%d of %d connections are left, want two thirds", left, n)
	}
	if got := l.server.app.Stats.Closed(monitor.PeerSilent).Load(); got != n/3 {
		t.Errorf("%d are counted, want a third", got)
	}
}

func TestTicks(t *testing.T) {
	for d, want := range map[time.Duration]uint32{
		0: 1, 1: 1, tickEvery: 1, tickEvery + 1: 2, time.Minute: 3000, 23861 * time.Hour: mostTicks, 1<<63 - 1: mostTicks,
	} {
		if got := ticks(d); got != want {
			t.Errorf("%v are %d ticks, want %d", d, got, want)
		}
	}
	if idle := uint32(mostTicks); 3*idle < idle {
		t.Error("three idle times are less than one")
	}
}

// A peer whose ping was late, because the walk was, is asked before it is given up.
func TestNobodyIsGivenUpUnasked(t *testing.T) {
	config := testConfig
	config.IdlePing = time.Second
	l, conns, w := crowd(1, config)
	l.tick += 10 * l.server.idleTicks
	l.pingSilent(time.Now().Add(time.Hour))
	if conns[0].phase != open || w.writes != 1 {
		t.Errorf("phase %d after %d pings", conns[0].phase, w.writes)
	}
}

// Whatever there is to walk over, a tick ends when its time is over, and the next one goes on where it
// stopped.
func TestWalksStopAndGoOn(t *testing.T) {
	config := testConfig
	config.HandshakeTimeout, config.IdlePing = time.Millisecond, time.Minute
	l, _, _ := crowd(1, config)
	const n = 10 * visitsPerLook
	for range n {
		w := &wire{handler: l.server, fd: -1}
		c := &conn{gc: w, loop: l}
		w.SetContext(c)
		l.add(c, inHead)
	}
	past := time.Now().Add(-time.Second)
	seen := make(map[*conn]bool)
	for i := 1; i <= 10; i++ {
		l.walk(inHead, n, past, func(c *conn) { seen[c] = true })
		if len(seen) != i*visitsPerLook {
			t.Fatalf("after %d walks without time %d connections were seen, want %d", i, len(seen), i*visitsPerLook)
		}
	}
	l.tick += 100
	l.server.budget = time.Hour
	l.ticked()
	if left := len(l.rosters[inHead]); left != 0 {
		t.Errorf("%d late heads are left after a tick that had the time", left)
	}
}

func TestLateHeadsAreRefused(t *testing.T) {
	config := testConfig
	config.HandshakeTimeout, config.MaxHeadBytes = 100*time.Millisecond, 400
	c, w := newConnInHead(config)
	l := c.loop
	l.server.handshakeTicks = ticks(config.HandshakeTimeout)
	for range 5 { // bytes do not renew the time
		l.ticked()
		c.receive([]byte("G"))
	}
	if c.phase != inHead {
		t.Fatalf("phase %d while there is time", c.phase)
	}
	l.ticked()
	if n := l.server.app.Stats.Refused(monitor.HeadTimeout).Load(); n != 1 || c.phase == inHead {
		t.Errorf("%d counted, phase %d, sent %q", n, c.phase, w.sent.String())
	}
}
