package reactor

import "chatmonitor/server/monitor"

// cork gathers what is pushed to a connection between its Cork and Uncork: what a write costs is mostly
// the system call. There is one a loop.
type cork struct {
	conn  *conn // nil: nothing is held back
	bytes []byte
	sizes []int
}

// corkBytes is what is held back at most. What is longer goes past it.
const corkBytes = 16 << 10

// Cork is monitor.Conn's.
func (c *conn) Cork() { c.loop.cork.conn = c }

// Uncork is monitor.Conn's.
func (c *conn) Uncork() {
	c.flushCork()
	c.loop.cork.conn = nil
}

// hold holds a frame back that was written to a corked connection. It reports false if the connection has
// been closed.
func (c *conn) hold(b []byte) bool {
	k := &c.loop.cork
	if len(k.bytes)+len(b) > corkBytes && !c.flushCork() {
		return false
	}
	if len(b) > corkBytes {
		return c.send(b)
	}
	k.bytes, k.sizes = append(k.bytes, b...), append(k.sizes, len(b))
	return true
}

// flushCork writes what is held back. It reports false if the connection has been closed.
func (c *conn) flushCork() bool {
	k := &c.loop.cork
	b, sizes := k.bytes, k.sizes
	k.bytes, k.sizes = b[:0], sizes[:0]
	if k.conn != c || len(b) == 0 {
		return c.phase == open
	}
	if c.phase != open || !c.transmit(b, sizes...) {
		return false
	}
	if c.out != nil && c.out.bytes-c.out.sizes[0] > c.loop.server.app.Config.OutboundBudgetBytes {
		c.Close(monitor.SlowConsumer)
	}
	return c.phase == open
}

// heldBytes is what is held back for the connection.
func (c *conn) heldBytes() int {
	if k := &c.loop.cork; k.conn == c {
		return len(k.bytes)
	}
	return 0
}
