package reactor

import (
	"unicode/utf8"

	"github.com/gobwas/ws"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

// inbound is what has come of an incomplete head, frame or message. A frame that came whole, and is a
// whole message, is served in the loop's own buffer and never gets here.
type inbound struct {
	bytes   []byte // of an incomplete head or control frame, as they came
	message []byte // payloads of the message that is under way, unmasked
	valid   int    // bytes at the front of message that are whole characters
	left    int64  // payload bytes still to come of the frame that is under way
	turn    int    // bytes of that frame so far: the mask's place
	mask    [4]byte
	op      ws.OpCode
	fin     bool // the frame under way is the message's last
	within  bool // a message is under way
}

// done reports that nothing is under way.
func (in *inbound) done() bool { return len(in.bytes) == 0 && in.left == 0 && !in.within }

// forgetMessage drops what nobody will read; where the frame ends must still be known.
func (in *inbound) forgetMessage() {
	if in != nil {
		in.message, in.within = nil, false
	}
}

// begun gives the connection's inbound, a new one if there was none.
func (c *conn) begun() *inbound {
	if c.in == nil {
		c.in = &inbound{}
	}
	return c.in
}

// frames serves the frames in b. Of data, what is there of a frame is taken; the head of the next
// frame and a control frame are returned where they are incomplete. What is written meanwhile goes out
// in one piece.
func (c *conn) frames(b []byte) []byte {
	c.corkUp()
	defer c.uncork()
	for len(b) > 0 && c.phase == open {
		if c.in != nil && c.in.left > 0 {
			b = c.more(b)
			continue
		}
		h, ok, broken := parseHead(b)
		switch {
		case broken:
			c.Close(monitor.ProtocolError)
			return nil
		case !h.known:
			return b
		}
		if fault, bad := c.judge(&h); bad {
			c.Close(fault)
			return nil
		}
		whole := int64(len(b)-h.bytes) >= h.Length
		switch {
		case !ok || !whole && h.OpCode.IsControl():
			return b
		case !whole:
			c.beginFrame(&h)
			b = b[h.bytes:]
		default:
			end := h.bytes + int(h.Length)
			payload := b[h.bytes:end]
			ws.Cipher(payload, h.Mask, 0)
			c.serve(&h, payload)
			b = b[end:]
		}
	}
	return b
}

// findClose passes over the peer's frames until the one that answers our Close, which ends TCP.
func (c *conn) findClose(b []byte) []byte {
	for len(b) > 0 {
		if c.in != nil && c.in.left > 0 {
			n := min(c.in.left, int64(len(b)))
			c.in.left -= n
			b = b[n:]
			continue
		}
		h, ok, broken := parseHead(b)
		switch {
		case broken || h.known && h.Length > int64(c.loop.server.app.Config.MaxMessageBytes):
			c.end()
			return nil
		case !ok || h.OpCode.IsControl() && int64(len(b)-h.bytes) < h.Length:
			return b
		case h.OpCode == ws.OpClose:
			c.end()
			return nil
		}
		b = b[h.bytes:]
		if h.Length > 0 {
			c.begun().left = h.Length
		}
	}
	return nil
}

// judge finds what is wrong with a frame before its payload is there (RFC 6455 5.4).
func (c *conn) judge(h *frameHead) (monitor.Reason, bool) {
	if h.OpCode.IsControl() {
		return 0, false
	}
	within := c.in != nil && c.in.within
	op, length := h.OpCode, h.Length
	if (op == ws.OpContinuation) != within {
		return monitor.ProtocolError, true
	}
	if op == ws.OpBinary && !c.is(echoes) {
		return monitor.Unsupported, true
	}
	if within {
		length += int64(len(c.in.message))
	}
	if length < h.Length || length > int64(c.loop.server.app.Config.MaxMessageBytes) {
		return monitor.TooBig, true
	}
	return 0, false
}

// serve takes a frame that is there whole.
func (c *conn) serve(h *frameHead, payload []byte) {
	switch {
	case h.OpCode == ws.OpPing:
		if !c.tooFast() {
			c.reply(ws.OpPong, payload)
		}
	case h.OpCode == ws.OpPong:
	case h.OpCode == ws.OpClose:
		c.peerCloses(payload)
	case h.Fin && h.OpCode != ws.OpContinuation:
		if h.OpCode == ws.OpText && !utf8.Valid(payload) {
			c.Close(monitor.InvalidPayload)
			return
		}
		c.deliver(h.OpCode, payload)
	default:
		c.beginFrame(h)
		c.in.left = 0
		c.add(payload)
	}
}

// beginFrame takes note of a data frame that is not there whole, or is not a whole message.
func (c *conn) beginFrame(h *frameHead) {
	in := c.begun()
	if h.OpCode != ws.OpContinuation {
		in.op, in.within = h.OpCode, true
	}
	in.fin, in.left, in.mask, in.turn = h.Fin, h.Length, h.Mask, 0
}

// more takes bytes of the frame that is under way, and returns those behind it.
func (c *conn) more(b []byte) []byte {
	in := c.in
	n := int(min(in.left, int64(len(b))))
	ws.Cipher(b[:n], in.mask, in.turn)
	in.turn = (in.turn + n) % len(in.mask)
	in.left -= int64(n)
	c.add(b[:n])
	return b[n:]
}

// add adds payload to the message that is under way, and serves it when that was all.
func (c *conn) add(payload []byte) {
	in := c.in
	in.grow(len(payload))
	in.message = append(in.message, payload...)
	last := in.left == 0 && in.fin
	if in.op == ws.OpText && !in.wellFormed(last) {
		c.Close(monitor.InvalidPayload)
		return
	}
	if last {
		op, message := in.op, in.message
		in.message, in.valid, in.within = nil, 0, false
		c.deliver(op, message)
	}
}

// leastMessageBytes is what the buffer of a message has room for at first, unless the message is shorter.
const leastMessageBytes = 512

// grow makes room for n more bytes. Room is doubled, so that a long message is copied about once, but
// not beyond the end of a message that is known; what has been announced takes nothing before it comes.
func (in *inbound) grow(n int) {
	need := len(in.message) + n
	if need <= cap(in.message) {
		return
	}
	room := max(2*cap(in.message), leastMessageBytes)
	if in.fin {
		room = min(room, need+int(in.left))
	}
	in.message = append(make([]byte, 0, max(need, room)), in.message...)
}

// wellFormed reports that the message so far may be the beginning of UTF-8, or all of it.
func (in *inbound) wellFormed(all bool) bool {
	fresh := in.message[in.valid:]
	end := len(fresh)
	if !all {
		end -= cutCharacter(fresh)
	}
	in.valid += end
	return utf8.Valid(fresh[:end])
}

// cutCharacter is the number of bytes at the end of b that begin a character and lack its rest.
func cutCharacter(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// deliver serves a whole message.
func (c *conn) deliver(op ws.OpCode, payload []byte) {
	switch {
	case c.tooFast():
	case c.session != nil:
		c.session.Receive(payload)
	default:
		c.reply(op, payload)
	}
}

// tooFast counts a message or a ping, and closes the connection if it is one too many.
func (c *conn) tooFast() bool {
	pace := c.loop.server.app.Pace
	if !pace.Limited() || pace.Take(&c.pace, app.PaceNow()) {
		return false
	}
	c.Close(monitor.TooFast)
	return true
}
