package reactor

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"chatmonitor/server/monitor"
)

func push(n int) *monitor.Push { return monitor.NewPush([]byte(strings.Repeat("x", n))) }

func framed(sizes ...int) string {
	var all []byte
	for _, n := range sizes {
		all = append(all, frame(ws.OpText, []byte(strings.Repeat("x", n)))...)
	}
	return string(all)
}

func TestCorkJoinsWrites(t *testing.T) {
	for _, c := range []struct {
		name   string
		sizes  []int
		writes int
	}{
		{"one", []int{5}, 1},
		{"several", []int{5, 0, 300, 5}, 1},
		{"none", nil, 0},
		{"more than is held back", []int{10_000, 10_000, 5}, 2},
		{"one that is too long to hold back", []int{5, corkBytes + 1, 5, 5}, 3},
	} {
		conn, w := newConn(testConfig)
		w.takes = 1 << 40
		for range 2 { // and again
			w.sent.Reset()
			w.writes = 0
			conn.Cork()
			for _, n := range c.sizes {
				if o, _ := conn.Push(push(n)); o == monitor.Dropped {
					t.Fatalf("%s: a push was not taken", c.name)
				}
			}
			conn.Uncork()
			if w.sent.String() != framed(c.sizes...) || w.writes != c.writes {
				t.Errorf("%s: %d bytes in %d writes, want %d in %d", c.name, w.sent.Len(), w.writes, len(framed(c.sizes...)), c.writes)
			}
		}
		conn.Push(push(7))
		if w.writes != c.writes+1 {
			t.Errorf("%s: a push after Uncork was held back", c.name)
		}
	}
}

func TestCloseComesAfterWhatIsHeldBack(t *testing.T) {
	conn, w := newConn(testConfig)
	conn.Cork()
	conn.Push(push(5))
	conn.Close(monitor.Draining)
	if o, _ := conn.Push(push(6)); o != monitor.Dropped {
		t.Error("a push was taken after Close")
	}
	conn.Uncork()
	if want := framed(5) + string(closeFrame(monitor.Draining)); w.sent.String() != want {
		t.Errorf("sent %q, want %q", w.sent.String(), want)
	}
}

func TestWhatIsHeldBackGoesWithItsConnection(t *testing.T) {
	conn, w := newConn(testConfig)
	conn.Cork()
	conn.Push(push(5))
	if err := w.EventLoop().Close(w); err != nil {
		t.Fatal(err)
	}
	conn.Uncork() // a write would panic
	other, otherWire := newConn(testConfig)
	other.loop = conn.loop
	other.Push(push(1))
	if otherWire.sent.String() != framed(1) {
		t.Errorf("another connection was sent %q", otherWire.sent.String())
	}
}

func TestBudgetHoldsForJoinedWrites(t *testing.T) {
	config := testConfig
	config.OutboundBudgetBytes = 1000
	conn, w := newConn(config)
	w.takes = 0
	conn.Cork()
	for range 5 {
		conn.Push(push(500))
	}
	conn.Uncork()
	if conn.phase == open || conn.reason != monitor.SlowConsumer {
		t.Errorf("2,000 bytes wait behind the first of 500, the budget is 1,000; phase %d, reason %v", conn.phase, conn.reason)
	}
	conn, w = newConn(config)
	w.takes = 1600 // three, and a part of the fourth
	conn.Cork()
	for range 5 {
		conn.Push(push(500))
	}
	conn.Uncork()
	if conn.phase != open || conn.out == nil || len(conn.out.messages) != 2 {
		t.Errorf("two messages wait within the budget; phase %d, %+v", conn.phase, conn.out)
	}
}
