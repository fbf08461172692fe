package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
	"chatmonitor/server/web"
)

func TestDrainSendsEverybodyAway(t *testing.T) {
	config := testConfig()
	config.Drain = 2 * time.Second
	bothProfiles(t, config, func(t *testing.T, w *world) {
		clients := []*client{w.session(), w.dial(web.PathEcho)}
		for range 6 {
			clients = append(clients, w.session())
		}
		await(w, "connections", int64(len(clients)), w.stats.Connected.Load)
		from := time.Now()
		w.leave()
		ends := make(chan time.Duration, len(clients))
		for _, c := range clients {
			go func() {
				defer func() { ends <- time.Since(from) }()
				if _, text, err := c.ReadMessage(); err != nil || string(text) != string(chat.AppendNotice(nil, chat.Draining)) {
					t.Errorf("came %q, %v; want the notice", text, err)
				}
				_, _, err := c.ReadMessage() // gorilla's client answers it
				if !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
					t.Errorf("came %v, want Close 1012", err)
				}
			}()
		}
		first, last := <-ends, time.Duration(0)
		for range len(clients) - 1 {
			last = <-ends
		}
		if last < config.Drain/2 || last < first {
			t.Errorf("the first left after %v, the last after %v of %v", first, last, config.Drain)
		}
		w.awaitEnd()
		if n := w.stats.Closed(monitor.Draining).Load(); n != uint64(len(clients)) {
			t.Errorf("%d were sent away", n)
		}
	})
}

func TestDrainEndsAtOnceWhenNobodyIsLeft(t *testing.T) {
	config := testConfig()
	config.Drain = time.Hour
	bothProfiles(t, config, func(t *testing.T, w *world) {
		only := w.session()
		idle, half := w.raw(), w.raw()
		if got := answer(t, idle); got != "HTTP/1.1 200" {
			t.Fatal(got)
		}
		if _, err := io.WriteString(half, "GET / HT"); err != nil {
			t.Fatal(err)
		}
		w.leave()
		if got := only.hear(); got != string(chat.AppendNotice(nil, chat.Draining)) {
			t.Errorf("came %s", got)
		}
		only.wantClose(1012)
		w.awaitEnd()
	})
}

func TestWhileDraining(t *testing.T) {
	config := testConfig()
	config.Drain = time.Hour
	bothProfiles(t, config, func(t *testing.T, w *world) {
		stays := []*client{w.session(), w.session(), w.session()}
		w.leave()
		if status := w.get("/ready"); status != http.StatusServiceUnavailable {
			t.Errorf("/ready: %d", status)
		}
		if got := w.exchange("GET " + web.PathWS + upgradeFields); got[:13] != "HTTP/1.1 503 " {
			t.Errorf("an upgrade: %q", got)
		}
		if n := w.stats.Refused(monitor.Leaving).Load(); n != 1 {
			t.Errorf("%d upgrades are counted as refused", n)
		}
		for _, c := range stays {
			_ = c.Close() // the test's cleanup would, too
		}
		w.awaitEnd()
	})
}

func TestDrainEndsPeersThatDoNotRead(t *testing.T) {
	config := testConfig()
	config.Drain, config.SocketSendBuffer = 300*time.Millisecond, 4<<10
	bothProfiles(t, config, func(t *testing.T, w *world) {
		w.session()
		record := `{"text":"` + strings.Repeat("x", 8<<10) + `"}`
		for peer := w.aConn(); w.stats.QueuedOut.Load() == 0 || peer.wire.writable(); { // until the kernel takes no more
			w.publish(record)
		}
		w.leave()
		w.awaitEnd()
		if n := w.stats.QueuedOut.Load(); n != 0 {
			t.Errorf("%d bytes still wait", n)
		}
	})
}

func TestAnUpgradeThatIsTooLateEndsAtOnce(t *testing.T) {
	config := testConfig()
	config.Drain = time.Hour
	bothProfiles(t, config, func(t *testing.T, w *world) {
		for _, sh := range w.server.shards {
			sh.do(nil, sh.endAll)
		}
		nc := w.dial(web.PathWS).NetConn()
		if _, err := io.ReadAll(nc); err != nil {
			t.Error(err)
		}
		await(w, "ended", 1, closedFor(w, monitor.Shutdown))
	})
}

func TestEveryoneInLineIsDueByTheEndOfTheSpread(t *testing.T) {
	began := time.Unix(0, 0)
	for _, c := range []struct {
		total, before int
		elapsed       time.Duration
		due           int
	}{
		{1, 0, 0, 1},
		{100, 0, 0, 1},
		{100, 50, 0, -49},
		{100, 0, 5 * time.Second, 50},
		{100, 50, 5 * time.Second, 0},
		{100, 50, 9999 * time.Millisecond, 49},
		{0, 0, 0, 1},
	} {
		f := farewell{began: began, spread: 10 * time.Second, total: c.total, before: c.before}
		if got := f.due(began.Add(c.elapsed)); got != c.due {
			t.Errorf("%+v: due %d", c, got)
		}
	}
	f := farewell{began: began, spread: 10 * time.Second, total: 3, before: 1, sent: 1}
	if got := f.due(began.Add(f.spread)); got < 2 {
		t.Errorf("at the end of the spread: due %d", got)
	}
}
