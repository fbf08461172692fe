package reactor

import (
	"github.com/gobwas/ws"

	"chatmonitor/server/monitor"
)

// outbound is the sizes of the messages that the kernel has not yet taken whole, oldest first.
type outbound struct {
	sizes   []int
	bytes   int // sum of sizes
	waiting int // bytes that wait, when last looked at
}

// cork gathers what is written to a connection while its packet is served: ten thousand pings in one
// packet cost one write, and do not hold the loop up.
type cork struct {
	conn  *conn // nil: nothing is held back
	bytes []byte
	sizes []int
}

// corkBytes is what the cork holds back at most. What is longer goes past it.
const corkBytes = 16 << 10

func (c *conn) corkUp() { c.loop.cork.conn = c }

// uncork writes what was held back, and holds back no more. It reports false if the connection is gone.
func (c *conn) uncork() bool {
	k := &c.loop.cork
	if k.conn != c {
		return true
	}
	k.conn = nil
	return c.flushCork()
}

// flushCork writes what was held back.
func (c *conn) flushCork() bool {
	k := &c.loop.cork
	b, sizes := k.bytes, k.sizes
	k.bytes, k.sizes = b[:0], sizes[:0]
	if len(b) == 0 {
		return true
	}
	if !c.transmit(b, sizes...) {
		return false
	}
	if c.out != nil && c.phase == open && c.out.bytes-c.out.sizes[0] > c.loop.server.app.Config.OutboundBudgetBytes {
		c.Close(monitor.SlowConsumer)
	}
	return c.phase != closed
}

// reply frames an answer in a buffer of the loop's: gnet copies what the kernel does not take.
func (c *conn) reply(op ws.OpCode, payload []byte) {
	l := c.loop
	if len(payload) > corkBytes {
		c.write(frame(op, payload))
		return
	}
	l.reply = appendFrame(l.reply[:0], op, payload)
	c.write(l.reply)
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
	k := &c.loop.cork
	if k.conn != c {
		return c.send(b)
	}
	if len(k.bytes)+len(b) > corkBytes && !c.flushCork() || c.phase != open {
		return false
	}
	if len(b) > corkBytes {
		return c.send(b)
	}
	k.bytes, k.sizes = append(k.bytes, b...), append(k.sizes, len(b))
	return true
}

// send writes one message, past the cork.
func (c *conn) send(b []byte) bool { return c.transmit(b, len(b)) }

// transmit hands messages to gnet. A write that fails has closed the connection, and OnClose has run,
// when it returns. A write after that would reach whoever has the descriptor now.
func (c *conn) transmit(b []byte, sizes ...int) bool {
	if c.phase == closed {
		return false
	}
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
	if c.out == nil {
		return false
	}
	if k := &c.loop.cork; k.conn == c {
		n += len(k.bytes)
	}
	return c.out.bytes-c.out.sizes[0]+n > c.loop.server.app.Config.OutboundBudgetBytes
}

// account forgets the messages that the kernel has taken whole, now that waiting bytes are left.
func (c *conn) account(waiting int) {
	o := c.out
	c.loop.queued += int64(waiting - o.waiting)
	o.waiting = waiting
	for len(o.sizes) > 0 && o.bytes-o.sizes[0] >= waiting {
		o.bytes -= o.sizes[0]
		o.sizes = o.sizes[1:]
	}
	if len(o.sizes) == 0 {
		c.forgetOutbound()
	}
}

// forgetOutbound ends the account of a connection for which nothing waits any more.
func (c *conn) forgetOutbound() {
	if c.out != nil {
		c.loop.queued -= int64(c.out.waiting)
		c.out = nil
		delete(c.loop.backlogged, c)
	}
}
