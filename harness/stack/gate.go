package stack

import (
	"errors"
	"net"
	"sync"
)

// gate is the listener of the embedded broker. It can make the broker disappear and
// fall silent, as a process does that is killed or stopped, and it outlives that: its
// user sees neither, only connections that end.
type gate struct {
	address   string   // listened on
	advertise net.Addr // what the listener says it listens on
	accepted  chan net.Conn
	closed    chan struct{}
	closeOnce sync.Once

	mu       sync.Mutex
	listener net.Listener            // guarded by mu: nil while shut
	conns    map[*gatedConn]struct{} // guarded by mu
	flowing  chan struct{}           // guarded by mu: closed while traffic flows
	paused   bool                    // guarded by mu
}

func openGate(listen, advertise string) (*gate, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	g := &gate{
		address: listener.Addr().String(), advertise: listener.Addr(),
		accepted: make(chan net.Conn), closed: make(chan struct{}),
		listener: listener, conns: map[*gatedConn]struct{}{}, flowing: make(chan struct{}),
	}
	close(g.flowing)
	if advertise != "" {
		if g.advertise, err = net.ResolveTCPAddr("tcp", advertise); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
	}
	go g.accept(listener)
	return g, nil
}

// accept passes connections on until the listener ends.
func (g *gate) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		gated := &gatedConn{Conn: conn, gate: g, closed: make(chan struct{})}
		if !g.add(gated, listener) {
			conn.Close()
			return
		}
		select {
		case g.accepted <- gated:
		case <-g.closed:
			gated.Close()
		}
	}
}

// add keeps the connection, unless the gate was shut since it was accepted.
func (g *gate) add(conn *gatedConn, from net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != from {
		return false
	}
	g.conns[conn] = struct{}{}
	return true
}

// Accept waits for a connection, however often the gate is shut meanwhile.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case conn := <-g.accepted:
		return conn, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

// Addr is what clients are told.
func (g *gate) Addr() net.Addr { return g.advertise }

// Close ends Accept and all connections.
func (g *gate) Close() error {
	g.closeOnce.Do(func() { close(g.closed) })
	g.shut()
	return nil
}

// shut breaks all connections, as the kernel does with those of a process that is
// killed while it has unread data, and refuses new ones.
func (g *gate) shut() {
	g.mu.Lock()
	listener, conns := g.listener, g.conns
	g.listener, g.conns = nil, map[*gatedConn]struct{}{}
	g.mu.Unlock()
	if listener != nil {
		listener.Close()
	}
	for conn := range conns {
		if tcp, ok := conn.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // fails if the peer was faster
		}
		conn.Close()
	}
}

// reopen listens on the address again.
func (g *gate) reopen() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		return errors.New("it was not killed")
	}
	listener, err := net.Listen("tcp", g.address)
	if err != nil {
		return err
	}
	g.listener = listener
	go g.accept(listener)
	return nil
}

func (g *gate) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.paused {
		g.paused, g.flowing = true, make(chan struct{})
	}
}

func (g *gate) unpause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused {
		g.paused = false
		close(g.flowing)
	}
}

// gatedConn is a connection through the gate.
type gatedConn struct {
	net.Conn
	gate      *gate
	closed    chan struct{}
	closeOnce sync.Once
}

// pass waits while the gate is paused.
func (c *gatedConn) pass() error {
	c.gate.mu.Lock()
	flowing := c.gate.flowing
	c.gate.mu.Unlock()
	select {
	case <-flowing:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

// Read holds back what comes while the gate is paused.
func (c *gatedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		return n, err
	}
	return n, c.pass()
}

// Write waits while the gate is paused.
func (c *gatedConn) Write(p []byte) (int, error) {
	if err := c.pass(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close ends the connection, and what waits for the gate to go on.
func (c *gatedConn) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
