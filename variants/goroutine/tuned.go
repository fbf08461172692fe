package main

import (
	"sync"

	"github.com/gorilla/websocket"
)

// Buffers of a tuned connection. The first has room for a request of ordinary length, so that it comes
// in one read; what is longer passes it by. The second is lent to a writer for as long as it writes.
const (
	tunedReadBytes  = 256
	tunedWriteBytes = 1024
	// A message is read into a buffer of this size, which is lent for as long as it is served; longer
	// messages outgrow it.
	lentBytes = 4096
	// The budget is in bytes of frames; this bounds what many small messages cost besides.
	tunedWaiting = 1 << 14
)

var (
	writeBuffers   sync.Pool
	messageBuffers = sync.Pool{New: func() any { return new([lentBytes]byte) }}
)

// tuned is the profile with every saving that leaves a goroutine to each connection. The HTTP handler
// returns, so that net/http's part of the connection can go, with its buffers and its deep stack; the
// connection's goroutine is a fresh one. What is only needed while something happens is lent for that
// time: the writer goroutine, its queue, the buffers.
func tuned() profile {
	return profile{
		upgrader: websocket.Upgrader{
			CheckOrigin:    anyOrigin,
			ReadBufferSize: tunedReadBytes, WriteBufferSize: tunedWriteBytes, WriteBufferPool: &writeBuffers,
		},
		keepAlive:  -1, // idle pings find out who has gone, without the kernel's timers
		serve:      func(c *conn) { go c.run() },
		maxWaiting: tunedWaiting,
		newOutbox:  func(c *conn) outbox { return &lentOutbox{conn: c} },
		walkPings:  true,
		takeBuffer: func() []byte { return messageBuffers.Get().(*[lentBytes]byte)[:0] },
		giveBuffer: giveMessageBuffer,
	}
}

func giveMessageBuffer(b []byte) {
	if cap(b) == lentBytes {
		messageBuffers.Put((*[lentBytes]byte)(b[:lentBytes]))
	}
}

// lentOutbox is a queue that has a writer goroutine while something is in it.
type lentOutbox struct {
	conn *conn

	mu     sync.Mutex
	queue  []*message // guarded by mu; the first is being written
	bytes  int        // guarded by mu: of the queue
	closed bool       // guarded by mu
}

// add is outbox's.
func (o *lentOutbox) add(m *message) verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return tooLate
	case o.conn.overBudget(o.waiting(m)):
		return over
	}
	o.enqueue(m)
	return taken
}

// crowded is outbox's.
func (o *lentOutbox) crowded(m *message) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed && o.conn.crowded(o.waiting(m))
}

// waiting is what would wait if m were added.
func (o *lentOutbox) waiting(m *message) waiting {
	if len(o.queue) == 0 {
		return waiting{}
	}
	return waiting{messages: len(o.queue), bytes: o.bytes - o.queue[0].bytes + m.bytes}
}

func (o *lentOutbox) enqueue(m *message) {
	o.queue = append(o.queue, m)
	o.bytes += m.bytes
	o.conn.stats().QueuedOut.Add(int64(m.bytes))
	if len(o.queue) == 1 {
		o.conn.shard.server.writers.Go(o.write)
	}
}

// close is outbox's.
func (o *lentOutbox) close(last *message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	if last != nil {
		o.enqueue(last)
	}
}

// write is the writer goroutine. It ends when the queue is empty, and the next message starts another.
func (o *lentOutbox) write() {
	failed := true
	defer func() {
		if failed {
			o.conn.writerEnded(recover())
			o.discard()
		}
	}()
	for m := o.first(); m != nil; m = o.next() {
		if o.conn.transmit(m) != nil {
			return
		}
	}
	failed = false
}

func (o *lentOutbox) first() *message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queue[0]
}

// next takes the message that has been written from the queue, and gives the one after it.
func (o *lentOutbox) next() *message {
	o.mu.Lock()
	defer o.mu.Unlock()
	written := o.queue[0]
	written.account.Flushed()
	o.bytes -= written.bytes
	o.conn.stats().QueuedOut.Add(-int64(written.bytes))
	o.queue[0] = nil
	if o.queue = o.queue[1:]; len(o.queue) > 0 {
		return o.queue[0]
	}
	o.queue = nil // an idle connection has none
	return nil
}

// discard ends a queue whose writer has failed.
func (o *lentOutbox) discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, m := range o.queue {
		m.account.Lost()
	}
	o.conn.stats().QueuedOut.Add(-int64(o.bytes))
	o.queue, o.bytes = nil, 0
}
