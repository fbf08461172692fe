package reactor

import (
	"github.com/gobwas/ws"

	"chatmonitor/server/monitor"
)

// outbound is the messages that the kernel has not yet taken whole, oldest first.
type outbound struct {
	messages []unwritten
	bytes    int // of all messages
	waiting  int // bytes that wait, when last looked at
}

type unwritten struct {
	bytes   int
	account *monitor.Account // to be told what becomes of it; nil: not a record's
}

// cork gathers what is written to a connection while its packet is served: ten thousand pings in one
// packet cost one write, and do not hold the loop up.
type cork struct {
	conn     *conn // nil: nothing is held back
	bytes    []byte
	messages []unwritten
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
	b, messages := k.bytes, k.messages
	k.bytes, k.messages = b[:0], messages[:0]
	if len(b) == 0 {
		return true
	}
	if !c.transmit(b, messages...) {
		for _, m := range messages {
			m.account.Lost()
		}
		return false
	}
	if c.out == nil {
		for _, m := range messages {
			m.account.Flushed()
		}
	}
	if c.out != nil && c.phase == open && c.out.bytes-c.out.messages[0].bytes > c.loop.server.app.Config.OutboundBudgetBytes {
		c.Close(monitor.SlowConsumer)
	}
	return c.phase != closed
}

// reply frames an answer in a buffer of the loop's: gnet copies what the kernel does not take.
func (c *conn) reply(op ws.OpCode, payload []byte) {
	l := c.loop
	if len(payload) > corkBytes {
		c.write(frame(op, payload), nil)
		return
	}
	l.reply = appendFrame(l.reply[:0], op, payload)
	c.write(l.reply, nil)
}

// write sends a whole frame, or buffers what the kernel does not take, within the budget. It reports
// whether the frame was taken; what becomes of a buffered one is told to the account.
func (c *conn) write(b []byte, account *monitor.Account) bool {
	if c.phase != open {
		return false
	}
	if c.overBudget(len(b)) {
		c.Close(monitor.SlowConsumer)
		return false
	}
	k := &c.loop.cork
	if k.conn != c {
		return c.transmit(b, unwritten{len(b), account})
	}
	if len(k.bytes)+len(b) > corkBytes && !c.flushCork() || c.phase != open {
		return false
	}
	if len(b) > corkBytes {
		return c.transmit(b, unwritten{len(b), account})
	}
	k.bytes, k.messages = append(k.bytes, b...), append(k.messages, unwritten{len(b), account})
	return true
}

// send writes one message that is not a record's, past the cork.
func (c *conn) send(b []byte) bool { return c.transmit(b, unwritten{bytes: len(b)}) }

// transmit hands messages to gnet. A write that fails has closed the connection, and OnClose has run,
// when it returns. A write after that would reach whoever has the descriptor now.
func (c *conn) transmit(b []byte, messages ...unwritten) bool {
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
		c.out.messages = append(c.out.messages, messages...)
		c.out.bytes += len(b)
		c.account(waiting)
	} else if c.out != nil {
		c.account(0)
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
	return c.out.bytes-c.out.messages[0].bytes+n > c.loop.server.app.Config.OutboundBudgetBytes
}

// account forgets the messages that the kernel has taken whole, now that waiting bytes are left.
func (c *conn) account(waiting int) {
	o := c.out
	c.loop.queued += int64(waiting - o.waiting)
	o.waiting = waiting
	for len(o.messages) > 0 && o.bytes-o.messages[0].bytes >= waiting {
		o.bytes -= o.messages[0].bytes
		o.messages[0].account.Flushed()
		o.messages = o.messages[1:]
	}
	if len(o.messages) == 0 {
		c.forgetOutbound()
	}
}

// loseOutbound says of what still waits, when the connection closes, that it was not delivered.
func (c *conn) loseOutbound() {
	if c.out != nil {
		c.account(c.gc.OutboundBuffered())
	}
	if c.out == nil {
		return
	}
	for _, m := range c.out.messages {
		m.account.Lost()
	}
	c.forgetOutbound()
}

// forgetOutbound ends the account of a connection for which nothing waits any more.
func (c *conn) forgetOutbound() {
	if c.out != nil {
		c.loop.queued -= int64(c.out.waiting)
		c.out = nil
		delete(c.loop.backlogged, c)
	}
}
