package main

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// plain is the profile that tutorials teach: the HTTP handler stays and reads, a writer goroutine stands
// beside it with a channel and a timer, and gorilla takes over the buffers of net/http.
func plain() profile {
	return profile{
		upgrader: websocket.Upgrader{CheckOrigin: anyOrigin},
		serve: func(c *conn) {
			o := c.out.(*channelOutbox)
			c.shard.server.writers.Go(o.write)
			c.run()
		},
		maxWaiting: plainSlots,
		newOutbox:  func(c *conn) outbox { return newChannelOutbox(c) },
		takeBuffer: newBuffer,
		giveBuffer: func([]byte) {}, // the collector's
	}
}

// anyOrigin lets browsers connect from any page: consoles may live on other hosts than the server.
func anyOrigin(*http.Request) bool { return true }

// plainSlots is how many messages may wait for a client.
const plainSlots = 256

// channelOutbox is a channel of messages and the goroutine that writes them.
type channelOutbox struct {
	conn  *conn
	queue chan *message // holds what may wait, and a Close; a closed one is written to its end

	mu      sync.Mutex
	count   int  // guarded by mu: messages that are not written yet
	bytes   int  // guarded by mu: of those
	current int  // guarded by mu: bytes of the one being written
	closed  bool // guarded by mu
}

func newChannelOutbox(c *conn) *channelOutbox {
	return &channelOutbox{conn: c, queue: make(chan *message, plainSlots+1)}
}

// add is outbox's.
func (o *channelOutbox) add(m *message) verdict {
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
func (o *channelOutbox) crowded(m *message) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed && o.conn.crowded(o.waiting(m))
}

// waiting is what would wait if m were added. It counts the oldest message until the writer takes it.
func (o *channelOutbox) waiting(m *message) waiting {
	switch {
	case o.count == 0:
		return waiting{}
	case o.current == 0:
		return waiting{messages: o.count + 1, bytes: o.bytes + m.bytes}
	}
	return waiting{messages: o.count, bytes: o.bytes - o.current + m.bytes}
}

func (o *channelOutbox) enqueue(m *message) {
	o.count++
	o.bytes += m.bytes
	o.conn.stats().QueuedOut.Add(int64(m.bytes))
	o.queue <- m // there is room: add has counted
}

// close is outbox's.
func (o *channelOutbox) close(last *message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	if last != nil {
		o.enqueue(last)
	}
	close(o.queue)
}

// write is the writer goroutine.
func (o *channelOutbox) write() {
	defer o.end()
	p := newPinger(o.conn)
	defer p.stop()
	for {
		select {
		case m, more := <-o.queue:
			if !more || o.transmit(m) != nil {
				return
			}
		case <-p.due:
			if p.ping() != nil {
				return
			}
		}
	}
}

func (o *channelOutbox) transmit(m *message) error {
	o.mu.Lock()
	o.current = m.bytes
	o.mu.Unlock()
	err := errWriterPanicked
	defer func() { o.done(m, err) }()
	err = o.conn.transmit(m)
	return err
}

// errWriterPanicked stands for what a write that panicked would have returned.
var errWriterPanicked = errors.New("goroutine: the writer panicked")

// done takes a message out of the account of what waits: it has been written, unless there is an error.
func (o *channelOutbox) done(m *message, err error) {
	if err == nil {
		m.account.Flushed()
	} else {
		m.account.Lost()
	}
	o.mu.Lock()
	o.count--
	o.bytes -= m.bytes
	o.current = 0
	o.mu.Unlock()
	o.conn.stats().QueuedOut.Add(-int64(m.bytes))
}

// end leaves nothing waiting.
func (o *channelOutbox) end() {
	o.conn.writerEnded(recover())
	o.close(nil)
	for m := range o.queue {
		o.done(m, net.ErrClosed)
	}
}

// pinger is a writer's timer for pings.
type pinger struct {
	conn  *conn
	timer *time.Timer
	due   <-chan time.Time // nil: never
	pings pings
}

func newPinger(c *conn) *pinger {
	idle := c.shard.server.idleTicks
	if idle == 0 {
		return &pinger{}
	}
	timer := time.NewTimer(time.Duration(idle) * tickEvery)
	return &pinger{conn: c, timer: timer, due: timer.C}
}

// ping pings the peer if it was silent, and sets the timer for the next question.
func (p *pinger) ping() error {
	due, wait := p.pings.due(p.conn.heard.Load(), p.conn.shard.tick.Load(), p.conn.shard.server.idleTicks)
	p.timer.Reset(time.Duration(wait) * tickEvery)
	if due {
		return p.conn.transmit(pingMessage)
	}
	return nil
}

func (p *pinger) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}
