package main

import (
	"errors"
	"io"
	"net"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"chatmonitor/server/monitor"
)

// ending is why there are no more messages of a peer, and what is to be said about it.
type ending struct {
	reason monitor.Reason
	last   *message
}

func ended(reason monitor.Reason) *ending { return &ending{reason, closeMessage(reason)} }

// run is the connection's goroutine.
func (c *conn) run() {
	defer c.shard.server.guests.leave()
	c.do(c.begin)
	end := c.receive()
	answered := false // it is the peer's Close that answers ours
	c.do(func() {
		answered = c.phase == closing && end.reason == monitor.ClientClosed
		c.leave(end.reason, end.last)
	})
	c.answered.Store(answered)
	if !answered || !c.flushed.Load() {
		c.awaitEnd()
	}
	c.hangUp()
	c.do(c.forget)
}

// receive serves the peer's messages until there are no more.
func (c *conn) receive() (end *ending) {
	defer func() {
		if cause := recover(); cause != nil {
			c.shard.server.panicked("reader", cause)
			end = ended(monitor.InternalError)
		}
	}()
	for end == nil {
		kind, r, err := c.ws.NextReader()
		switch {
		case err != nil:
			end = c.judge(err)
		case kind == websocket.BinaryMessage && !c.echoes:
			end = ended(monitor.Unsupported)
		default:
			end = c.take(kind, r)
		}
	}
	return end
}

// take reads one message and serves it. The session does not keep the text, so its buffer is free when
// the shard is done with it.
func (c *conn) take(kind int, r io.Reader) *ending {
	if c.echoes {
		return c.takeEcho(kind, r)
	}
	p := &c.shard.server.profile
	text, err := c.readAll(r, p.takeBuffer())
	if err != nil {
		return c.judge(err)
	}
	if !utf8.Valid(text) {
		return ended(monitor.InvalidPayload)
	}
	if c.tooFast() {
		return ended(monitor.TooFast)
	}
	c.do(func() {
		if c.session != nil {
			c.session.Receive(text)
		}
	})
	p.giveBuffer(text)
	return nil
}

// takeEcho reads one message and returns it, with the buffer that it is in.
func (c *conn) takeEcho(kind int, r io.Reader) *ending {
	payload, err := c.readAll(r, newBuffer())
	if err != nil {
		return c.judge(err)
	}
	if kind == websocket.TextMessage && !utf8.Valid(payload) {
		return ended(monitor.InvalidPayload)
	}
	if c.tooFast() {
		return ended(monitor.TooFast)
	}
	c.reply(newMessage(kind, payload))
	return nil
}

// newBuffer has room for a message of ordinary length.
func newBuffer() []byte { return make([]byte, 0, 512) }

// readAll reads a message into buf. Its parts are signs of life: a long one may take its time.
func (c *conn) readAll(r io.Reader, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		c.hear()
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (c *conn) hear() { c.heard.Store(c.shard.tick.Load()) }

// pinged is gorilla's ping handler. Pongs wait their turn and count against the budget, like answers.
func (c *conn) pinged(payload string) error {
	c.hear()
	if c.tooFast() {
		return errTooFast
	}
	c.reply(newMessage(websocket.PongMessage, []byte(payload)))
	return nil
}

// ponged is gorilla's pong handler.
func (c *conn) ponged(string) error {
	c.hear()
	return nil
}

// leaveToReader is gorilla's close handler. Its own would write the answer at once, ahead of what waits.
func leaveToReader(int, string) error { return nil }

// reply has m written, on the reader's goroutine.
func (c *conn) reply(m *message) {
	if c.offer(m) == over {
		c.do(func() { c.Close(monitor.SlowConsumer) })
	}
}

// judge tells from gorilla's error why a connection ends.
func (c *conn) judge(err error) *ending {
	var said *websocket.CloseError
	var network net.Error
	switch {
	case errors.Is(err, errTooFast):
		return ended(monitor.TooFast)
	case c.wire.broken:
		return ended(c.wire.fault)
	case errors.As(err, &said) && said.Code != websocket.CloseAbnormalClosure:
		return &ending{monitor.ClientClosed, newMessage(websocket.CloseMessage, websocket.FormatCloseMessage(said.Code, ""))}
	case said != nil, errors.As(err, &network), errors.Is(err, io.EOF):
		return ended(monitor.PeerGone)
	}
	return ended(monitor.ProtocolError) // of a Close that says what it may not: gorilla has told the peer
}

// awaitEnd drops what still comes, until TCP ends. Whose Close came first does not matter: closing a socket
// with unread bytes in it would take our last words back. So it is the peer who ends it, or the shard when
// the time for it is over, or the writer when both Closes have been said.
func (c *conn) awaitEnd() {
	// Its end is an error as often as not, and nobody's concern any more.
	_, _ = io.Copy(io.Discard, c.wire.TCPConn)
}
