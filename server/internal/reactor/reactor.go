package reactor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"chatmonitor/server/app"
	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

// Network is the reactor as app.Network.
type Network struct{}

// Describe is app.Network's.
func (*Network) Describe() app.About {
	return app.About{Program: "server", Text: "chatmonitor pushes players' chat, as it arrives on Kafka, to the customer-service agents whose rules match it. " +
		"HTTP and WebSocket share one port; this is the production server, a gnet reactor."}
}

var drainingFrame = frame(ws.OpText, chat.AppendNotice(nil, chat.Draining))

// server is the engine's event handler.
type server struct {
	gnet.BuiltinEventEngine

	// Static after construction; engine after OnBoot.
	app            *app.App
	engine         gnet.Engine
	ready          func()
	handed         *handedOver
	excess         *app.Slots // for the refused, while they read that they are
	handshakeTicks uint32
	idleTicks      uint32
	budget         time.Duration
	stopped        chan struct{} // closed when the loops have ended
	drivers        sync.WaitGroup

	arriving     atomic.Int64 // upgrades under way: their clients may know of them before Connected does
	stopping     atomic.Bool
	acceptFailed atomic.Pointer[string] // gnet's words, if it did
	drain        atomic.Pointer[drain]  // nil until the server leaves

	mu    sync.RWMutex
	loops map[gnet.EventLoop]*loop // guarded by mu
}

// spareProcs is how many more threads may run Go code than there are event loops. A loop waits in a
// blocking epoll_wait, outside of Go's own poller, and keeps its place among the GOMAXPROCS until the
// runtime's monitor takes it away, up to 10 ms later; were all places taken so, nobody would wait for
// the feed's socket either, and a record would lie there for as long.
const spareProcs = 2

func raiseProcs(loops int) {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < loops+spareProcs {
		runtime.GOMAXPROCS(loops + spareProcs)
	}
}

// Serve is app.Network's.
func (*Network) Serve(ctx context.Context, a *app.App, ready func()) error {
	raiseProcs(a.Config.Shards)
	return newServer(a, ready).serve(ctx)
}

func newServer(a *app.App, ready func()) *server {
	s := &server{
		app: a, ready: ready, handed: newHandedOver(a.Config.MaxHTTPConnections), excess: app.NewSlots(app.ExcessConnections),
		budget:         loopBudget,
		handshakeTicks: ticks(a.Config.HandshakeTimeout),
		stopped:        make(chan struct{}),
		loops:          make(map[gnet.EventLoop]*loop),
	}
	if a.Config.IdlePing > 0 {
		s.idleTicks = ticks(a.Config.IdlePing)
	}
	return s
}

func (s *server) serve(ctx context.Context) error {
	web := s.app.HTTPServer(http.HandlerFunc(s.upgradeLater))
	web.ConnState = s.handed.track
	webEnded := make(chan error, 1)
	go func() { webEnded <- web.Serve(s.handed) }()
	loopsEnded := make(chan error, 1)
	go func() { loopsEnded <- s.run() }()

	var err error
	select {
	case err = <-loopsEnded:
		err = errors.Join(s.whyEnded(), err)
	case <-ctx.Done():
		s.drainAll(web)
		s.stopping.Store(true)
		err = s.engine.Stop(context.Background())
		err = errors.Join(err, <-loopsEnded)
	}
	close(s.stopped)
	s.drivers.Wait()
	if closeErr := web.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("reactor: HTTP: %w", closeErr))
	}
	if webErr := <-webEnded; !errors.Is(webErr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("reactor: HTTP: %w", webErr))
	}
	return err
}

// whyEnded says why the event loops ended without having been asked to.
func (s *server) whyEnded() error {
	if why := s.acceptFailed.Load(); why != nil {
		return fmt.Errorf("reactor: the event loops ended, because no connection can be accepted: %s; raise the limit of files or of memory", *why)
	}
	return errors.New("reactor: the event loops ended by themselves")
}

func (s *server) run() error {
	err := gnet.Run(s, "tcp://"+s.app.Address,
		gnet.WithNumEventLoop(s.app.Config.Shards),
		gnet.WithReusePort(true), // accept and OnOpen are one call, so that the loops do not accept ahead
		gnet.WithReuseAddr(true),
		gnet.WithSocketSendBuffer(s.app.Config.SocketSendBuffer),
		gnet.WithLogger(gnetLog{s}),
	)
	if err != nil {
		return fmt.Errorf("reactor: listen on %s: %w", s.app.Address, err)
	}
	return nil
}

// drainAll sends the sessions away, and returns when nobody is left or the time for it is over.
func (s *server) drainAll(web *http.Server) {
	deadline, cancel := context.WithTimeout(context.Background(), s.app.Config.Drain)
	defer cancel()
	s.drain.Store(&drain{
		from: time.Now(), total: s.app.Stats.Connected.Load(),
		spread: spreadOf(s.app.Config.Drain),
	})
	s.awaitQuiet(deadline)
	// Plain HTTP is served to the last, so that /ready says what goes on.
	if err := web.Shutdown(deadline); err != nil {
		s.app.Log.Warn("HTTP requests were still under way at the end of the drain", "err", err)
	}
}

// arrive begins an upgrade, unless the server is leaving. It is counted first: so either the upgrade
// finds the server leaving, or the drain finds the upgrade. arrived ends it, once the WebSocket counts as
// connected, or never will.
func (s *server) arrive() bool {
	s.arriving.Add(1)
	if s.app.Draining() {
		s.arrived()
		return false
	}
	return true
}

func (s *server) arrived() { s.arriving.Add(-1) }

// awaitQuiet waits until no WebSocket is open, and no upgrade or request under way. One that arrives is
// connected before it has arrived, so who looks in that order does not miss it.
func (s *server) awaitQuiet(deadline context.Context) {
	look := time.NewTicker(tickEvery)
	defer look.Stop()
	for s.arriving.Load() > 0 || s.handed.active.Load() > 0 || s.app.Stats.Connected.Load() > 0 {
		select {
		case <-deadline.Done():
			s.app.Log.Warn("clients were still there at the end of the drain", "websockets", s.app.Stats.Connected.Load(), "requests", s.handed.active.Load())
			return
		case <-look.C:
		}
	}
}

// loopOf finds the loop of an event loop; gnet does not list them, so each is met at its first
// connection.
func (s *server) loopOf(events gnet.EventLoop) *loop {
	s.mu.RLock()
	l := s.loops[events]
	s.mu.RUnlock()
	if l != nil {
		return l
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l = newLoop(s, events, len(s.loops))
	s.loops[events] = l
	return l
}

// OnBoot is gnet's: the port is open.
func (s *server) OnBoot(engine gnet.Engine) gnet.Action {
	s.engine = engine
	s.ready()
	return gnet.None
}

// OnOpen is gnet's: a connection was accepted, or comes back from net/http as a WebSocket.
func (s *server) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	l := s.loopOf(gc.EventLoop())
	l.conns.Add(1)
	if back, ok := gc.Context().(*conn); ok {
		s.guard(back, func() { back.comeBack(gc, l) })
		return nil, action(back)
	}
	c := &conn{gc: gc, loop: l}
	gc.SetContext(c)
	l.add(c, inHead)
	s.guard(c, c.admit)
	return nil, action(c)
}

// admit finds a place for a connection that was accepted, or refuses it.
func (c *conn) admit() {
	a := c.loop.server.app
	if scarce(c.gc.Fd()) {
		a.Stats.Refused(monitor.NoDescriptors).Add(1)
		c.send(full)
		c.end()
		return
	}
	if !a.Peers.Take(c.gc.RemoteAddr()) {
		c.refuse(monitor.AddressFull, crowded)
		return
	}
	if a.Peers.Limited() {
		c.marks |= addressed
	}
	switch {
	case c.takePlace() || c.loop.displace(noPlace, c) && c.takePlace():
	case c.loop.server.handed.shed():
		c.place = plainPlace
	default:
		c.refuse(monitor.SessionsFull, full)
	}
}

// takePlace takes whichever place there is.
func (c *conn) takePlace() bool {
	a := c.loop.server.app
	switch {
	case a.Sessions.Take():
		c.place = sessionPlace
	case a.Plain.Take(): // whoever asks for /live must get a word in when the sessions are full
		c.place = plainPlace
	}
	return c.place != noPlace
}

// looksForOldest is how many connections are looked at for one to displace.
const looksForOldest = 64

// displace ends a connection that has not sent its head yet and holds a place of the kind, or any, so
// that clients which say nothing don't keep out those which do, and never the newcomer itself. Of those
// looked at, it is the one that has had the most time.
func (l *loop) displace(kind place, newcomer *conn) bool {
	waiting := l.rosters[inHead]
	var oldest *conn
	for range min(looksForOldest, len(waiting)) {
		l.looked++
		o := waiting[l.looked%uint(len(waiting))]
		fits := o != newcomer && o.place != noPlace && (kind == noPlace || o.place == kind)
		if fits && (oldest == nil || l.tick-o.heard > l.tick-oldest.heard) {
			oldest = o
		}
	}
	if oldest != nil {
		oldest.refuse(monitor.Displaced, full)
	}
	return oldest != nil
}

// spareDescriptors stay free: an accept that finds none ends gnet's engine.
const spareDescriptors = 16

// scarce says, by the number of a new descriptor, which is the lowest that was free, whether there are
// hardly any left. The limit is asked for anew because it may be lowered from outside.
func scarce(fd int) bool {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return err == nil && uint64(fd)+spareDescriptors >= limit.Cur
}

// OnTraffic is gnet's: bytes came.
func (s *server) OnTraffic(gc gnet.Conn) gnet.Action {
	c := gc.Context().(*conn)
	began := time.Now()
	b, err := gc.Next(-1) // everything; what is incomplete is kept in conn
	if err != nil {
		s.app.Stats.NetErrors.Add(1)
		return gnet.Close
	}
	s.guard(c, func() { c.receive(b) })
	c.loop.busy.Add(int64(time.Since(began)))
	return action(c)
}

// OnClose is gnet's: the connection is no more, whoever ended it.
func (s *server) OnClose(gc gnet.Conn, _ error) gnet.Action {
	c, ok := gc.Context().(*conn)
	if !ok || c.phase == closed {
		return gnet.None
	}
	if c.phase == open && c.reason == monitor.PeerGone && s.stopping.Load() {
		c.reason = monitor.Shutdown
	}
	// A connection that was refused has given a session's place back, if it had one.
	wasWebSocket := c.place == sessionPlace && c.phase != inHead
	c.loseOutbound()
	c.loop.move(c, closed)
	if c.loop.conns.Add(-1) == 0 {
		c.loop.tellQueued() // no tick will
	}
	c.in = nil
	c.endSession()
	if c.is(addressed) {
		s.app.Peers.Give(gc.RemoteAddr())
	}
	s.give(c.place)
	c.place = noPlace
	if wasWebSocket {
		s.app.Stats.Connected.Add(-1)
		s.app.Stats.Closed(c.reason).Add(1)
	}
	return gnet.None
}

func (s *server) give(p place) {
	switch p {
	case sessionPlace:
		s.app.Sessions.Give()
	case plainPlace:
		s.app.Plain.Give()
	case excessPlace:
		s.excess.Give()
	}
}

// guard runs f for a connection; should it panic, the connection ends, and not the process.
func (s *server) guard(c *conn, f func()) {
	broken := true
	defer func() {
		if broken {
			c.endBroken()
		}
	}()
	defer s.survive("connection")
	f()
	broken = false
}

// survive, deferred, ends a panic on an event loop, which would be the end of the process.
func (s *server) survive(where string) {
	if cause := recover(); cause != nil {
		s.app.Stats.AppErrors.Add(1)
		s.app.Log.Error("panic; its connection is closed", "in", where, "cause", cause, "stack", string(debug.Stack()))
	}
}

// endBroken ends a connection after a panic. What panicked may do so again on the way out; then TCP
// ends without a Close.
func (c *conn) endBroken() {
	defer func() {
		if recover() != nil {
			c.end()
		}
	}()
	if c.phase != open {
		c.end()
		return
	}
	c.Close(monitor.InternalError)
}

func action(c *conn) gnet.Action {
	if c.phase == closed {
		return gnet.Close // gnet then leaves its buffers alone
	}
	return gnet.None
}

// gnetLog is gnet's logger.
type gnetLog struct{ server *server }

func (g gnetLog) Debugf(string, ...any) {}
func (g gnetLog) Infof(string, ...any)  {}
func (g gnetLog) Warnf(format string, args ...any) {
	g.server.app.Log.Warn("gnet: " + fmt.Sprintf(format, args...))
}

// Errorf keeps the first of gnet's complaints about accept: it ends the engine when that fails for want
// of descriptors or memory, and Run says nothing of it.
func (g gnetLog) Errorf(format string, args ...any) {
	text := "gnet: " + fmt.Sprintf(format, args...)
	g.server.app.Stats.NetErrors.Add(1)
	g.server.app.Log.Error(text)
	if strings.Contains(text, "Accept()") {
		g.server.acceptFailed.CompareAndSwap(nil, &text)
	}
}
func (g gnetLog) Fatalf(format string, args ...any) { g.Errorf(format, args...) }
