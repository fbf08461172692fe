package main

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/gorilla/websocket"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

type phase uint8

const (
	open    phase = iota // a WebSocket
	closing              // no more is served; Close is on its way, or the peer's end is awaited
	closed               // its reader has ended
)

// conn is one WebSocket. Its reader goroutine is the connection's; what the application sees of it
// belongs to the shard's goroutine.
type conn struct {
	// Static after construction.
	shard  *shard
	ws     *websocket.Conn
	wire   *wire
	out    outbox
	echoes bool // a WebSocket on /echo
	pace   pace

	heard atomic.Uint32 // tick of the last sign of life
	// When both are true, nobody has anything to say any more. The writer sets the first and looks at
	// the second, the reader the other way round: one of them, at least, sees both.
	flushed  atomic.Bool // Close is written, and our end of the TCP connection shut
	answered atomic.Bool // the peer has sent its Close after ours

	// Owned by the shard's goroutine.
	session *monitor.Session // nil unless open on /ws
	since   uint32           // closing: tick of the last step
	slot    int32            // place in its phase's roster
	pings   pings            // where the shard sends them
	phase   phase
	lingers bool // closing: all is written, and the peer's end is awaited
	reason  monitor.Reason
}

func newConn(s *server, ws *websocket.Conn, w *wire, echoes bool) *conn {
	c := &conn{shard: s.nextShard(), ws: ws, wire: w, echoes: echoes}
	c.out = s.profile.newOutbox(c)
	c.heard.Store(c.shard.tick.Load())
	c.pace.due = app.PaceNow()
	ws.SetPingHandler(c.pinged)
	ws.SetPongHandler(c.ponged)
	ws.SetCloseHandler(leaveToReader)
	// A prepared message is framed when it is made, for level 0. For any other level it would be framed
	// again at its first use, although nothing is compressed.
	if err := ws.SetCompressionLevel(0); err != nil {
		panic("goroutine: " + err.Error())
	}
	return c
}

// begin opens the session, on the shard's goroutine.
func (c *conn) begin() {
	c.shard.add(c, open)
	c.stats().Upgraded.Add(1)
	c.stats().Connected.Add(1)
	if !c.echoes {
		c.session = c.shard.core.Open(c)
	}
	if f := c.shard.leaving; f != nil { // it was upgraded when the drain began, or ended
		if f.over {
			c.leave(monitor.Shutdown, nil)
		} else {
			c.sendAway()
		}
	}
}

// do runs f on the shard's goroutine, and returns when that is done.
func (c *conn) do(f func()) { c.shard.do(c, f) }

func (c *conn) stats() *monitor.Stats { return c.shard.server.app.stats }

// Push is monitor.Conn's.
func (c *conn) Push(p *monitor.Push) (monitor.Outcome, monitor.Reason) {
	if c.send(p.Framed(prepare).(*message)) {
		return monitor.Buffered, 0
	}
	return monitor.Dropped, c.reason
}

// send has m written, on the shard's goroutine. A connection that is over its budget is closed.
func (c *conn) send(m *message) bool {
	if c.phase != open {
		return false
	}
	switch c.offer(m) {
	case taken:
		return true
	case over:
		c.Close(monitor.SlowConsumer)
	case tooLate: // a write has failed; the reader will say what it was
		c.reason = monitor.PeerGone
	}
	return false
}

// Close is monitor.Conn's.
func (c *conn) Close(reason monitor.Reason) { c.leave(reason, closeMessage(reason)) }

// leave ends the session and begins the close: last, if there is one, is the Close frame. Then the peer
// gets time to read it. It runs on the shard's goroutine.
func (c *conn) leave(reason monitor.Reason, last *message) {
	if c.phase != open {
		return
	}
	c.reason = reason
	if s := c.session; s != nil {
		c.session = nil
		s.Closed()
	}
	c.shard.move(c, closing)
	c.out.close(last)
	if last == nil {
		c.hangUp()
	}
}

// forget takes leave of a connection whose reader has ended, on the shard's goroutine.
func (c *conn) forget() {
	c.shard.remove(c)
	c.phase = closed
	c.shard.server.app.sessions.Give()
	c.wire.leaveAddress()
	c.stats().Connected.Add(-1)
	c.stats().Closed(c.reason).Add(1)
}

// hangUp closes the TCP connection, which ends whatever waits for it. Both goroutines and the shard may
// do so; the second time is not an error.
func (c *conn) hangUp() {
	if err := c.wire.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.stats().NetErrors.Add(1)
	}
}

// transmit writes a message, and ends our half of the TCP connection after a Close. It is the writer's.
func (c *conn) transmit(m *message) error {
	var err error
	if m.prepared != nil {
		err = c.ws.WritePreparedMessage(m.prepared)
	} else {
		err = c.ws.WriteMessage(m.kind, m.payload)
	}
	if errors.Is(err, websocket.ErrCloseSent) {
		err = nil // gorilla has told the peer of its fault, which is the last word
	}
	if err == nil && m.kind == websocket.CloseMessage {
		err = c.wire.CloseWrite()
		c.flushed.Store(true)
		if c.answered.Load() {
			c.hangUp()
		}
	}
	return err
}

// writerEnded is a writer's last word; cause is what it panicked with, if it did. A writer that has not
// come to a Close has failed, and takes the connection with it.
func (c *conn) writerEnded(cause any) {
	if cause != nil {
		c.shard.server.panicked("writer", cause)
		c.do(func() { c.leave(monitor.InternalError, nil) })
	}
	if !c.flushed.Load() {
		c.hangUp()
	}
}
