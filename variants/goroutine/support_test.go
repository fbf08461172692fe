package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"chatmonitor/server/app"
	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
	"chatmonitor/server/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is a hang, not a slow machine.
const patience = 30 * time.Second

// bothProfiles runs a test on a server of each profile.
func bothProfiles(t *testing.T, config app.Config, test func(*testing.T, *world)) {
	for name := range profiles {
		t.Run(name, func(t *testing.T) {
			test(t, start(t, name, config))
		})
	}
}

// world is a server that runs, without Kafka: the test publishes.
type world struct {
	t       *testing.T
	server  *server
	stats   *monitor.Stats
	address string
	offset  int64
	leave   func()        // as SIGTERM does
	served  chan struct{} // closed when Serve has returned
	err     error         // set before

	mu  sync.Mutex
	log bytes.Buffer
}

func testConfig() app.Config {
	return app.Config{
		HandshakeTimeout: patience, MaxMessageBytes: 64 << 10, OutboundBudgetBytes: 1 << 20, SocketSendBuffer: 64 << 10,
		MaxConnections: 1000, MaxHTTPConnections: 100, Shards: 2, Echo: true,
	}
}

// start serves until the end of the test, or until it leaves. prepare may change the server before.
func start(t *testing.T, profileName string, config app.Config, prepare ...func(*server)) *world {
	w := &world{t: t, stats: monitor.NewStats(10), served: make(chan struct{})}
	before := goleak.IgnoreCurrent()
	ctx, leave := context.WithCancel(context.Background())
	w.leave = leave
	pool := monitor.NewPool(1, 1)
	log := slog.New(slog.NewTextHandler(w, nil))
	hub := monitor.NewHub(monitor.Options{
		Shards: config.Shards, InFlight: 16, Router: monitor.NewRouter(), Pool: pool, Stats: w.stats, Log: log, Now: time.Now,
		Limits: monitor.Limits{MaxRules: 10, MaxRulesBytes: 1 << 20, Rule: chat.RuleLimits{MaxEntries: 10, MaxKeywords: 10}},
	})
	w.server = newServer(profileName, application{
		config: config, log: log, stats: w.stats, hub: hub,
		sessions: app.NewSlots(config.MaxConnections), plain: app.NewSlots(config.MaxHTTPConnections),
		peers: app.NewPeers(config.MaxPerAddress), pace: app.NewPace(config.MaxMessageRate),
		draining: func() bool { return ctx.Err() != nil },
		httpServer: func(upgrade http.Handler) *http.Server {
			return &http.Server{ReadHeaderTimeout: config.HandshakeTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
				Handler: web.NewHandler(web.Options{
					Metrics: http.NotFoundHandler(), Ready: func() web.Readiness { return web.Readiness{Ready: ctx.Err() == nil} }, Upgrade: upgrade, Log: log,
					Refused: func(int) { w.stats.Refused(monitor.BadHandshake).Add(1) }, Echo: config.Echo, MaxBodyBytes: 1 << 20,
				})}
		},
	})
	for _, p := range prepare {
		p(w.server)
	}
	l, err := w.server.listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = l.Addr().String()
	go func() {
		defer close(w.served)
		w.err = w.server.serve(ctx, l)
	}()
	t.Cleanup(func() {
		leave()
		w.awaitEnd()
		pool.Close()
		// After some refusals net/http waits longer than goleak does.
		await(w, "goroutines that are left", nil, func() error { return goleak.Find(before) })
	})
	return w
}

// Write keeps the log.
func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *world) awaitEnd() {
	w.t.Helper()
	select {
	case <-w.served:
	case <-time.After(patience):
		w.t.Fatalf("the server has not ended within %v", patience)
	}
	if w.err != nil {
		w.t.Errorf("serve: %v", w.err)
	}
}

// await waits until the probe gives want.
func await[T comparable](w *world, what string, want T, probe func() T) {
	w.t.Helper()
	var got T
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got = probe(); got == want {
			return
		}
	}
	w.t.Fatalf("%s: %v, want %v; log:\n%s", what, got, want, w.logged())
}

func (w *world) publish(value string) {
	w.t.Helper()
	record, err := chat.DecodeRecord([]byte(value), 1<<20)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err = w.server.app.hub.Publish(ctx, chat.Cursor{Offset: w.offset}, time.Now(), []byte(value), record)
	}
	w.offset++
	if err != nil {
		w.t.Fatal(err)
	}
}

// client is a gorilla client.
type client struct {
	*websocket.Conn
	w *world
}

func (w *world) dial(path string) *client {
	w.t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	ws, response, err := dialer.Dial("ws://"+w.address+path, nil)
	if err != nil {
		w.t.Fatalf("dial: %v (%v)", err, response)
	}
	w.t.Cleanup(func() { _ = ws.Close() }) // the test may have closed it
	if err := ws.SetReadDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return &client{ws, w}
}

// session is a client that listens to everything.
func (w *world) session() *client {
	w.t.Helper()
	c := w.dial(web.PathWS)
	c.say(`{"path":"/listen","params":{"rule":{}}}`)
	if got := c.hear(); got != `{"path":"/listen","result":{"rule_id":"r1"}}` {
		w.t.Fatalf("/listen is answered with %s", got)
	}
	return c
}

func (c *client) say(text string) {
	c.w.t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.w.t.Fatal(err)
	}
}

func (c *client) hear() string {
	c.w.t.Helper()
	_, text, err := c.ReadMessage()
	if err != nil {
		c.w.t.Fatalf("read: %v; log:\n%s", err, c.w.logged())
	}
	return string(text)
}

// wantPush reads the push of the record with that offset.
func (c *client) wantPush(offset int64) {
	c.w.t.Helper()
	text := c.hear()
	if got := pushOffset(c.w.t, text); got != offset {
		c.w.t.Fatalf("came offset %d, want %d", got, offset)
	}
}

func pushOffset(t *testing.T, text string) int64 {
	t.Helper()
	var push struct {
		Params struct {
			Cursor struct{ Offset int64 }
		}
	}
	if err := json.Unmarshal([]byte(text), &push); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return push.Params.Cursor.Offset
}

// wantClose reads the server's Close.
func (c *client) wantClose(code int) {
	c.w.t.Helper()
	_, text, err := c.ReadMessage()
	if !websocket.IsCloseError(err, code) {
		c.w.t.Fatalf("came %q, %v; want Close %d", text, err, code)
	}
}

// raw is a TCP connection to the server.
func (w *world) raw() *net.TCPConn {
	w.t.Helper()
	nc, err := net.DialTimeout("tcp", w.address, patience)
	if err == nil {
		err = nc.SetDeadline(time.Now().Add(patience))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = nc.Close() }) // the test may have closed it
	return nc.(*net.TCPConn)
}

const upgradeFields = " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// exchange sends bytes over a connection of its own, and reads all that comes back.
func (w *world) exchange(sent string) string {
	w.t.Helper()
	nc := w.raw()
	if _, err := io.WriteString(nc, sent); err != nil {
		w.t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	if err != nil {
		w.t.Fatalf("read: %v after %q", err, got)
	}
	_ = nc.Close() // the test's cleanup would, too
	return string(got)
}

func (w *world) get(path string) int {
	w.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://" + w.address + path)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode
}

// masked is a client's frame, whose mask is 0.
func masked(first byte, payload string) string {
	switch n := len(payload); {
	case n < 126:
		return string([]byte{first, 0x80 | byte(n), 0, 0, 0, 0}) + payload
	default:
		return string([]byte{first, 0x80 | 126, byte(n >> 8), byte(n), 0, 0, 0, 0}) + payload
	}
}

// aConn gives one of the open connections.
func (w *world) aConn() *conn {
	w.t.Helper()
	var found *conn
	for _, sh := range w.server.shards {
		sh.do(nil, func() {
			if len(sh.rosters[open]) > 0 {
				found = sh.rosters[open][0]
			}
		})
	}
	if found == nil {
		w.t.Fatal("no connection is open")
	}
	return found
}

func closedFor(w *world, reason monitor.Reason) func() uint64 {
	return func() uint64 { return w.stats.Closed(reason).Load() }
}
