package reactor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
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
	stopped        chan struct{} // closed when the loops have ended
	drivers        sync.WaitGroup

	stopping atomic.Bool
	drain    atomic.Pointer[drain] // nil until the server leaves

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
	s := &server{
		app: a, ready: ready, handed: newHandedOver(a.Config.MaxHTTPConnections), excess: app.NewSlots(app.ExcessConnections),
		handshakeTicks: ticks(a.Config.HandshakeTimeout),
		stopped:        make(chan struct{}),
		loops:          make(map[gnet.EventLoop]*loop),
	}
	if a.Config.IdlePing > 0 {
		s.idleTicks = ticks(a.Config.IdlePing)
	}
	raiseProcs(a.Config.Shards)
	web := a.HTTPServer(http.HandlerFunc(s.upgradeLater))
	web.ConnState = s.handed.track
	webEnded := make(chan error, 1)
	go func() { webEnded <- web.Serve(s.handed) }()
	loopsEnded := make(chan error, 1)
	go func() { loopsEnded <- s.run() }()

	var err error
	select {
	case err = <-loopsEnded:
		// gnet ends, and says nothing of it, when accept fails for want of descriptors or memory.
		err = errors.Join(errors.New("reactor: the event loops ended by themselves"), err)
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

func (s *server) run() error {
	err := gnet.Run(s, "tcp://"+s.app.Address,
		gnet.WithNumEventLoop(s.app.Config.Shards),
		gnet.WithReusePort(true), // accept and OnOpen are one call, so that the loops do not accept ahead
		gnet.WithReuseAddr(true),
		gnet.WithSocketSendBuffer(s.app.Config.SocketSendBuffer),
		gnet.WithLogger(gnetLog{s.app}),
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
		spread: s.app.Config.Drain * 6 / 10, // the rest is the peers', to read and to answer
	})
	s.awaitQuiet(deadline)
	// Plain HTTP is served to the last, so that /ready says what goes on.
	if err := web.Shutdown(deadline); err != nil {
		s.app.Log.Warn("HTTP requests were still under way at the end of the drain", "err", err)
	}
}

// awaitQuiet waits until no WebSocket is open and no request is under way.
func (s *server) awaitQuiet(deadline context.Context) {
	look := time.NewTicker(tickEvery)
	defer look.Stop()
	for s.app.Stats.Connected.Load() > 0 || s.handed.active.Load() > 0 {
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
	switch {
	case scarce(gc.Fd()):
		s.app.Stats.Refused(monitor.NoDescriptors).Add(1)
		c.send(full)
		c.end()
	case s.app.Sessions.Take():
		c.place = sessionPlace
	case s.app.Plain.Take(): // whoever asks for /live must get a word in when the sessions are full
		c.place = plainPlace
	default:
		c.refuse(monitor.SessionsFull, full)
	}
	return nil, action(c)
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
	wasOpen := c.phase == open
	if wasOpen {
		c.reason = monitor.PeerGone
		if s.stopping.Load() {
			c.reason = monitor.Shutdown
		}
	}
	c.loop.move(c, closed)
	c.loop.conns.Add(-1)
	delete(c.loop.backlogged, c)
	if c.out != nil {
		c.account(gc.OutboundBuffered())
	}
	if c.out != nil {
		c.out.lose()
	}
	c.in, c.out = nil, nil
	c.endSession()
	s.give(c.place)
	c.place = noPlace
	if c.counted {
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
	defer func() {
		if cause := recover(); cause != nil {
			s.app.Stats.AppErrors.Add(1)
			s.app.Log.Error("panic; its connection is closed", "cause", cause, "stack", string(debug.Stack()))
			c.endBroken()
		}
	}()
	f()
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
type gnetLog struct{ app *app.App }

func (g gnetLog) Debugf(string, ...any) {}
func (g gnetLog) Infof(string, ...any)  {}
func (g gnetLog) Warnf(format string, args ...any) {
	g.app.Log.Warn("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLog) Errorf(format string, args ...any) {
	g.app.Stats.NetErrors.Add(1)
	g.app.Log.Error("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLog) Fatalf(format string, args ...any) { g.Errorf(format, args...) }
