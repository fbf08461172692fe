package reactor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/goleak"

	"chatmonitor/server/app"
	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

// gnet keeps a pool of goroutines for the whole process, whose own cleaning goroutines never end. The
// idle connections of test clients belong to http.DefaultTransport, which no test uses.
var pools = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
	goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
	goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pools...) }

// patience is a hang, not a slow machine.
const patience = 30 * time.Second

func liveConfig() app.Config {
	return app.Config{
		Kafka: []string{"127.0.0.1:1"}, Topic: "chat", MaxRecordBytes: 256 << 10, MaxRecordsInShard: 1024,
		MaxConnections: 10_000, MaxHTTPConnections: 100, MaxHeadBytes: 16 << 10, HandshakeTimeout: patience, IdlePing: time.Hour,
		Drain: 2 * time.Second, MaxMessageBytes: 64 << 10, OutboundBudgetBytes: 1 << 20, SocketSendBuffer: 64 << 10,
		MaxRules: 100, MaxRuleEntries: 100, MaxKeywords: 100, MetricsMaxSeries: 100, Shards: 2, SlowWorkers: 1, SlowQueue: 1, Echo: true,
	}
}

// world is a server that runs, without Kafka: the test publishes.
type world struct {
	testing.TB
	*server
	address string
	leave   func()     // as SIGTERM does
	served  chan error // holds what serve returned

	mu     sync.Mutex
	log    bytes.Buffer // guarded by mu
	offset int64        // guarded by mu
}

// start serves until the end of the test, or until it leaves. prepare may change the server before.
func start(t testing.TB, config app.Config, prepare ...func(*server)) *world {
	t.Helper()
	w := &world{TB: t, address: freeAddress(t), served: make(chan error, 1)}
	ctx, leave := context.WithCancel(context.Background())
	w.leave = leave
	pool := monitor.NewPool(1, 1)
	log := slog.New(slog.NewTextHandler(w, nil))
	ready := make(chan struct{})
	a, err := app.New(ctx, config, w.address, monitor.NewStats(config.MetricsMaxSeries), log, pool)
	if err != nil {
		t.Fatal(err)
	}
	w.server = newServer(a, func() { close(ready) })
	for _, p := range prepare {
		p(w.server)
	}
	go func() { w.served <- w.serve(ctx) }()
	select {
	case <-ready:
	case err := <-w.served:
		t.Fatalf("serve: %v", err)
	}
	t.Cleanup(func() {
		leave()
		w.awaitEnd()
		pool.Close()
	})
	return w
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it has only been asked for its port
	return l.Addr().String()
}

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

// awaitEnd waits until serve has returned, which it may have already.
func (w *world) awaitEnd() {
	w.Helper()
	select {
	case err := <-w.served:
		if err != nil {
			w.Errorf("serve: %v", err)
		}
		w.served <- nil
	case <-time.After(patience):
		w.Fatalf("the server has not ended within %v; log:\n%s", patience, w.logged())
	}
}

// publish hands the hub a record, as the feed does.
func (w *world) publish(value string) {
	w.Helper()
	record, err := chat.DecodeRecord([]byte(value), 1<<20)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		w.mu.Lock()
		w.offset++
		at := chat.Cursor{Offset: w.offset}
		w.mu.Unlock()
		err = w.app.Hub.Publish(ctx, at, time.Now(), []byte(value), record)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// onLoops runs f on each loop that has met a connection, one after the other.
func (w *world) onLoops(f func(*loop)) {
	w.Helper()
	w.server.mu.RLock()
	loops := make([]*loop, 0, len(w.loops))
	for _, l := range w.loops {
		loops = append(loops, l)
	}
	w.server.mu.RUnlock()
	for _, l := range loops {
		done := make(chan struct{})
		l.execute(gnet.RunnableFunc(func(context.Context) error { f(l); close(done); return nil }))
		select {
		case <-done:
		case <-time.After(patience):
			w.Fatal("a loop does not run what it is told")
		}
	}
}

// await waits until the probe gives want.
func await[T comparable](t testing.TB, what string, want T, probe func() T) {
	t.Helper()
	var got T
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got = probe(); got == want {
			return
		}
	}
	t.Fatalf("%s: %v, want %v", what, got, want)
}

const upgradeFields = " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// client is one connection to the server.
type client struct {
	testing.TB
	*net.TCPConn
	in *bufio.Reader
}

func (w *world) connect() *client {
	w.Helper()
	nc, err := net.DialTimeout("tcp", w.address, patience)
	if err == nil {
		err = nc.SetDeadline(time.Now().Add(4 * patience))
	}
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = nc.Close() }) // the test may have closed it
	return &client{w.TB, nc.(*net.TCPConn), bufio.NewReader(nc)}
}

// open is a WebSocket on the path.
func (w *world) open(path string) *client {
	w.Helper()
	c := w.connect()
	c.say([]byte("GET " + path + upgradeFields))
	c.upgraded()
	return c
}

func (c *client) upgraded() {
	c.Helper()
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		c.Fatalf("answered with %+v, %v; want 101", answer, err)
	}
}

// session is a WebSocket with the rule.
func (w *world) session(rule string) *client {
	w.Helper()
	c := w.open(app.PathWS)
	c.say(clientFrame(0x81, `{"path":"/listen","params":{"rule":`+rule+`}}`))
	if _, got := c.frame(); !strings.Contains(got, `"result"`) {
		w.Fatalf("/listen is answered with %s", got)
	}
	return c
}

func (c *client) say(b []byte) {
	c.Helper()
	if _, err := c.Write(b); err != nil {
		c.Fatal(err)
	}
}

// frame reads the next frame.
func (c *client) frame() (op byte, payload string) {
	c.Helper()
	op, payload, err := c.tryFrame()
	if err != nil {
		c.Fatalf("read a frame: %v", err)
	}
	return op, payload
}

func (c *client) tryFrame() (op byte, payload string, err error) {
	var head [10]byte
	if _, err = io.ReadFull(c.in, head[:2]); err != nil {
		return 0, "", err
	}
	length, more := uint64(head[1]), 0
	switch head[1] {
	case 126:
		more = 2
	case 127:
		more = 8
	}
	if _, err = io.ReadFull(c.in, head[2:2+more]); err != nil {
		return 0, "", err
	}
	switch more {
	case 2:
		length = uint64(binary.BigEndian.Uint16(head[2:]))
	case 8:
		length = binary.BigEndian.Uint64(head[2:])
	}
	b := make([]byte, length)
	_, err = io.ReadFull(c.in, b)
	return head[0] & 0x0f, string(b), err
}

func (c *client) want(op byte, payload string) {
	c.Helper()
	if gotOp, got := c.frame(); gotOp != op || got != payload {
		c.Fatalf("came opcode %d, %.200q; want %d, %.200q", gotOp, got, op, payload)
	}
}

// ping proves that the connection is served, and that nothing has been written to it before.
func (c *client) ping(payload string) {
	c.Helper()
	c.say(clientFrame(0x89, payload))
	c.want(0xa, payload)
}

// reset ends the connection without a goodbye.
func (c *client) reset() {
	c.Helper()
	if err := c.SetLinger(0); err != nil {
		c.Fatal(err)
	}
	if err := c.Close(); err != nil {
		c.Fatal(err)
	}
}

func (w *world) get(path string) string {
	w.Helper()
	c := w.connect()
	c.say([]byte("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	answer, err := io.ReadAll(c.in)
	if err != nil {
		w.Fatalf("GET %s: %v", path, err)
	}
	return string(answer)
}

func (w *world) closedFor(r monitor.Reason) func() uint64 {
	return func() uint64 { return w.app.Stats.Closed(r).Load() }
}
