package reactor

import (
	"bytes"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

type phase uint8

const (
	inHead  phase = iota // waiting for a complete request head
	open                 // a WebSocket
	closing              // Close was sent; what still comes is dropped
	closed               // gnet has forgotten the connection: its descriptor may be a stranger's
)

type place uint8

const (
	noPlace place = iota
	sessionPlace
	plainPlace
	excessPlace
)

// marks are what is true of a connection, and in the two bits above, the pings sent since heard.
type marks uint8

const (
	flushed   marks = 1 << iota // closing: our end of the TCP connection is shut
	awaits                      // closing: for the peer's Close
	echoes                      // a WebSocket on /echo
	addressed                   // counted among its address's
	onePing   marks = 1 << 6
)

// conn is one connection, from accept to close. It belongs to its loop. While it is idle it holds no
// buffer: in exists while a frame or a message is incomplete, out while the peer reads too slowly. It
// is 64 bytes, and five pointers for the collector to follow.
type conn struct {
	gc      gnet.Conn
	loop    *loop
	session *monitor.Session // nil unless open on /ws
	in      *inbound
	out     *outbound
	heard   uint32 // tick of the last sign of life; in other phases, of the phase's begin
	slot    int32  // place in its phase's roster
	pace    uint32 // the account of app.Pace
	phase   phase
	place   place // whose slot it holds
	reason  monitor.Reason
	marks   marks
}

func (c *conn) is(m marks) bool { return c.marks&m != 0 }

// pings is the number of pings sent since heard.
func (c *conn) pings() uint32 { return uint32(c.marks / onePing) }

// receive takes what the socket brought. b is the loop's, and may be changed.
func (c *conn) receive(b []byte) {
	if c.phase == closing && !c.is(awaits) {
		return
	}
	kept := c.in != nil && len(c.in.bytes) > 0
	if kept {
		b = append(c.in.bytes, b...)
		c.in.bytes = nil
	}
	rest := b
	if c.phase == inHead {
		rest = c.head(b)
	}
	if c.phase == open {
		c.hear()
		rest = c.frames(rest)
	}
	if c.phase == closing && c.is(awaits) {
		rest = c.findClose(rest)
	}
	if c.phase == closed || c.phase == closing && !c.is(awaits) {
		return
	}
	if len(rest) < len(b) || !kept {
		rest = bytes.Clone(rest) // so that neither the loop's buffer nor what came before is held
	}
	c.keep(rest)
}

// keep keeps the bytes of an incomplete head or control frame, until more comes.
func (c *conn) keep(rest []byte) {
	switch {
	case len(rest) > 0:
		c.begun().bytes = rest
	case c.in != nil && c.in.done():
		c.in = nil
	}
}

// hear notes a sign of life.
func (c *conn) hear() {
	if c.loop.server.app.Pace.Limited() && c.loop.tick-c.heard > ticks(time.Second) {
		c.pace = app.PaceNow()
	}
	c.heard = c.loop.tick
	c.marks %= onePing
}

// Push is monitor.Conn's.
func (c *conn) Push(p *monitor.Push) (monitor.Outcome, monitor.Reason) {
	b := p.Framed(textFrame).([]byte)
	switch taken := c.write(b, p.Account()); {
	case !taken:
		return monitor.Dropped, c.reason
	case c.out != nil || c.loop.cork.conn == c && len(b) <= corkBytes:
		return monitor.Buffered, 0
	}
	return monitor.Handed, 0
}

// Close is monitor.Conn's.
func (c *conn) Close(reason monitor.Reason) {
	if reason.CloseCode() == 0 {
		c.leave(reason, nil)
	} else {
		c.leave(reason, closeFrame(reason))
	}
}

// peerCloses answers the peer's Close with its own code, or with what is wrong with it.
func (c *conn) peerCloses(payload []byte) {
	if fault, ok := checkClose(payload); !ok {
		c.Close(fault)
		return
	}
	if len(payload) >= 2 {
		payload = payload[:2]
	}
	c.leave(monitor.ClientClosed, frame(ws.OpClose, payload))
}

// leave ends the session and begins the close: last, if there is one, is the Close frame. Then the peer
// gets time to read it: our end is shut when all is written, and TCP ends with the peer's.
func (c *conn) leave(reason monitor.Reason, last []byte) {
	if c.phase != open {
		return
	}
	c.reason = reason
	c.endSession()
	c.uncork()
	switch {
	case c.phase != open: // what was held back was over the budget, or the peer has gone
		return
	case last == nil || !c.send(last):
		c.end()
		return
	}
	if awaitsClose(reason) {
		c.marks |= awaits
		c.in.forgetMessage()
	} else {
		c.in = nil
	}
	c.loop.move(c, closing)
	c.shut()
}

// awaitsClose says whether the peer has still to answer our Close, in frames that can be read.
func awaitsClose(reason monitor.Reason) bool {
	switch reason {
	case monitor.Draining, monitor.SlowConsumer, monitor.Backlogged, monitor.TooFast, monitor.InternalError:
		return true
	}
	return false
}

// shut ends our half of the TCP connection once everything is written.
func (c *conn) shut() {
	if c.is(flushed) || c.gc.OutboundBuffered() > 0 {
		return
	}
	c.marks |= flushed
	if err := unix.Shutdown(c.gc.Fd(), unix.SHUT_WR); err != nil {
		c.end() // the peer has gone already
	}
}

// end closes the TCP connection now; OnClose runs inside.
func (c *conn) end() {
	if c.phase == closed {
		return
	}
	if err := c.gc.EventLoop().Close(c.gc); err != nil {
		c.loop.server.app.Stats.NetErrors.Add(1)
	}
}

// endSession ends the session. Whatever that brings about, the connection ends too.
func (c *conn) endSession() {
	s := c.session
	if s == nil {
		return
	}
	c.session = nil
	defer c.loop.server.survive("end of a session")
	s.Closed()
}
