package reactor

import (
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

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

// conn is one connection, from accept to close. It belongs to its loop. While it is idle it holds no
// buffer: in exists while a frame or a message is incomplete, out while the peer reads too slowly.
type conn struct {
	gc      gnet.Conn
	loop    *loop
	session *monitor.Session // nil unless open on /ws
	in      *inbound
	out     *outbound
	heard   uint32 // tick of the last sign of life; in other phases, of the phase's begin
	slot    int32  // place in its phase's roster
	phase   phase
	place   place // whose slot it holds
	pings   uint8 // sent since heard
	flushed bool  // closing: our end of the TCP connection is shut
	echoes  bool  // a WebSocket on /echo
	counted bool  // among the open WebSockets
	awaits  bool  // closing: for the peer's Close
	reason  monitor.Reason
}

// inbound is what has come of an incomplete head, frame or message.
type inbound struct {
	bytes   []byte // of the head or frame
	message []byte // payloads of a fragmented message
	op      ws.OpCode
}

// outbound is the sizes of the messages that the kernel has not yet taken whole, oldest first.
type outbound struct {
	sizes []int
	bytes int // sum of sizes
}

// receive takes what the socket brought. b is the loop's, and may be changed.
func (c *conn) receive(b []byte) {
	if c.phase == closing && !c.awaits {
		return
	}
	if c.in != nil && len(c.in.bytes) > 0 {
		c.in.bytes = append(c.in.bytes, b...)
		b = c.in.bytes
	}
	rest := b
	if c.phase == inHead {
		rest = c.head(b)
	}
	if c.phase == open {
		c.heard, c.pings = c.loop.tick, 0
		rest = c.frames(rest)
	}
	if c.phase == closing && c.awaits {
		rest = c.findClose(rest)
	}
	if c.phase == closed || c.phase == closing && !c.awaits {
		return
	}
	c.keep(rest, len(rest) == len(b))
}

// keep keeps the bytes of what is incomplete. whole says that nothing before them was used.
func (c *conn) keep(rest []byte, whole bool) {
	if c.in == nil {
		if len(rest) == 0 {
			return
		}
		c.in = &inbound{}
	}
	switch kept := len(c.in.bytes) > 0; {
	case kept && whole: // they are there already
	case len(rest) == 0:
		c.in.bytes = nil
		if c.in.message == nil {
			c.in = nil
		}
	default: // a copy of its own, so that a large message before it is not kept alive
		c.in.bytes = append([]byte(nil), rest...)
	}
}

// frames serves the whole frames in b, and returns the incomplete rest.
func (c *conn) frames(b []byte) []byte {
	for len(b) > 0 && c.phase == open {
		h, ok, broken := parseHead(b)
		switch {
		case broken:
			c.Close(monitor.ProtocolError)
			return nil
		case !h.lengthKnown(len(b)):
			return b
		}
		if fault, bad := c.judge(&h); bad {
			c.Close(fault)
			return nil
		}
		if !ok || int64(len(b)-h.bytes) < h.Length {
			return b
		}
		end := h.bytes + int(h.Length)
		payload := b[h.bytes:end]
		ws.Cipher(payload, h.Mask, 0)
		c.serve(&h, payload)
		b = b[end:]
	}
	return b
}

// findClose passes over the peer's frames until the one that answers our Close, which ends TCP.
func (c *conn) findClose(b []byte) []byte {
	for len(b) > 0 {
		h, ok, broken := parseHead(b)
		switch {
		case broken || h.lengthKnown(len(b)) && h.Length > int64(c.loop.server.app.Config.MaxMessageBytes):
			c.end()
			return nil
		case !ok || int64(len(b)-h.bytes) < h.Length:
			return b
		case h.OpCode == ws.OpClose:
			c.end()
			return nil
		}
		b = b[h.bytes+int(h.Length):]
	}
	return b
}

// judge finds what is wrong with a frame before its payload is there (RFC 6455 5.4).
func (c *conn) judge(h *frameHead) (monitor.Reason, bool) {
	if h.OpCode.IsControl() {
		return 0, false
	}
	fragmented := c.in != nil && c.in.message != nil
	op, length := h.OpCode, h.Length
	if (op == ws.OpContinuation) != fragmented {
		return monitor.ProtocolError, true
	}
	if op == ws.OpBinary && !c.echoes {
		return monitor.Unsupported, true
	}
	if fragmented {
		length += int64(len(c.in.message))
	}
	if length > int64(c.loop.server.app.Config.MaxMessageBytes) {
		return monitor.TooBig, true
	}
	return 0, false
}

func (c *conn) serve(h *frameHead, payload []byte) {
	switch h.OpCode {
	case ws.OpPing:
		c.write(frame(ws.OpPong, payload))
	case ws.OpPong:
	case ws.OpClose:
		c.peerCloses(payload)
	default:
		c.data(h, payload)
	}
}

func (c *conn) data(h *frameHead, payload []byte) {
	op := h.OpCode
	if !h.Fin || op == ws.OpContinuation {
		if c.in == nil {
			c.in = &inbound{}
		}
		if op != ws.OpContinuation {
			c.in.op, c.in.message = op, make([]byte, 0, len(payload))
		}
		c.in.message = append(c.in.message, payload...)
		if !h.Fin {
			return
		}
		op, payload = c.in.op, c.in.message
		c.in.message = nil
	}
	if op == ws.OpText && !utf8.Valid(payload) {
		c.Close(monitor.InvalidPayload)
		return
	}
	if c.session != nil {
		c.session.Receive(payload)
	} else {
		c.write(frame(op, payload))
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

// Push is monitor.Conn's.
func (c *conn) Push(p *monitor.Push) bool {
	if c.write(p.Framed(textFrame).([]byte)) {
		return true
	}
	c.loop.server.app.Stats.Dropped(c.reason).Add(1)
	return false
}

// Close is monitor.Conn's.
func (c *conn) Close(reason monitor.Reason) {
	if reason.CloseCode() == 0 {
		c.leave(reason, nil)
	} else {
		c.leave(reason, closeFrame(reason))
	}
}

// write sends a whole frame, or buffers what the kernel does not take, within the budget. It reports
// whether the frame was taken.
func (c *conn) write(b []byte) bool {
	if c.phase != open {
		return false
	}
	if c.overBudget(len(b)) {
		c.Close(monitor.SlowConsumer)
		return false
	}
	if c.loop.cork.conn == c {
		return c.hold(b)
	}
	return c.send(b)
}

// send writes one message, past the cork.
func (c *conn) send(b []byte) bool { return c.transmit(b, len(b)) }

// transmit hands messages to gnet. A write that fails has closed the connection, and OnClose has run,
// when it returns.
func (c *conn) transmit(b []byte, sizes ...int) bool {
	if _, err := c.gc.Write(b); err != nil || c.phase == closed {
		return false
	}
	if waiting := c.gc.OutboundBuffered(); waiting > 0 {
		if c.out == nil {
			c.out = &outbound{}
			c.loop.backlogged[c] = struct{}{}
		}
		c.out.sizes = append(c.out.sizes, sizes...)
		c.out.bytes += len(b)
		c.account(waiting)
	}
	return true
}

// overBudget says whether a message of n bytes would wait beyond the budget, which counts what waits
// besides the message that is being written.
func (c *conn) overBudget(n int) bool {
	if c.out == nil {
		return false
	}
	c.account(c.gc.OutboundBuffered())
	return c.out != nil && c.out.bytes-c.out.sizes[0]+c.heldBytes()+n > c.loop.server.app.Config.OutboundBudgetBytes
}

// account forgets the messages that the kernel has taken whole, now that waiting bytes are left.
func (c *conn) account(waiting int) {
	o := c.out
	for len(o.sizes) > 0 && o.bytes-o.sizes[0] >= waiting {
		o.bytes -= o.sizes[0]
		o.sizes = o.sizes[1:]
	}
	if len(o.sizes) == 0 {
		c.out = nil
		delete(c.loop.backlogged, c)
	}
}

// leave ends the session and begins the close: last, if there is one, is the Close frame. Then the
// peer gets time to read it: our end is shut when all is written, and TCP ends with the peer's.
func (c *conn) leave(reason monitor.Reason, last []byte) {
	if c.phase != open || !c.flushCork() {
		return
	}
	c.reason = reason
	c.endSession()
	if last == nil || !c.send(last) {
		c.end()
		return
	}
	if c.phase != open { // the write failed, and OnClose has run
		return
	}
	if c.awaits = awaitsClose(reason); !c.awaits {
		c.in = nil
	} else if c.in != nil {
		c.in.message = nil
	}
	c.loop.move(c, closing)
	c.shut()
}

// awaitsClose says whether the peer has still to answer our Close, in frames that can be read.
func awaitsClose(reason monitor.Reason) bool {
	switch reason {
	case monitor.Draining, monitor.SlowConsumer, monitor.Backlogged, monitor.InternalError:
		return true
	}
	return false
}

// shut ends our half of the TCP connection once everything is written.
func (c *conn) shut() {
	if c.flushed || c.gc.OutboundBuffered() > 0 {
		return
	}
	c.flushed = true
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

func (c *conn) endSession() {
	if s := c.session; s != nil {
		c.session = nil
		s.Closed()
	}
}
