package client

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"chatmonitor/loadgen/pace"
)

const (
	maxSpare      = 16
	maxSpareBytes = 64 << 10
)

// unfinished is what has come of a frame or message whose end has not.
type unfinished struct {
	raw     []byte // bytes of the handshake or frame that is not complete
	message message
}

func (l *Loop) handle(event unix.EpollEvent) {
	i := int(event.Fd)
	c := l.snapshot(i)
	if c.state == closed || c.generation != uint16(event.Pad) {
		return // closed earlier in this very batch of events
	}
	if c.state == connecting {
		l.finishConnect(i, c)
		return
	}
	if event.Events&unix.EPOLLOUT != 0 {
		l.flush(i)
	}
	hungUp := event.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0
	if event.Events&unix.EPOLLIN != 0 || hungUp {
		l.read(i, c)
	}
}

func (l *Loop) finishConnect(i int, c conn) {
	if err := pendingError(int(c.fd)); err != nil {
		l.close(i, err)
		return
	}
	if err := l.sendUpgrade(i); err != nil {
		l.close(i, err)
	}
}

// read takes what there is, up to one buffer; epoll tells again when more is left.
func (l *Loop) read(i int, c conn) {
	n, err := unix.Read(int(c.fd), l.buffer)
	nowNs := pace.Now()
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case errors.Is(err, unix.ECONNRESET):
		l.close(i, errors.New("connection reset by the server"))
		return
	case err != nil:
		l.close(i, fmt.Errorf("read: %w", err))
		return
	case n == 0:
		l.close(i, ErrEnd)
		return
	}
	b := l.buffer[:n]
	if u := l.unfinished[i]; u != nil && len(u.raw) > 0 {
		u.raw = append(u.raw, b...)
		b = u.raw
	}
	rest, err := l.consume(i, c, b, nowNs)
	if err != nil {
		l.close(i, err)
		return
	}
	if l.isCurrent(i, c) {
		l.keep(i, rest)
	}
}

// consume takes whole handshakes and frames from b and returns what is left of it. The handler may close the
// connection at any call; what follows then is nobody's.
func (l *Loop) consume(i int, c conn, b []byte, nowNs int64) (rest []byte, err error) {
	if c.state == upgrading {
		n, err := parseUpgrade(b, l.key(i, c.generation))
		if n == 0 || err != nil {
			return b, err
		}
		b = b[n:]
		l.becomeOpen(i)
		l.handler.Opened(i, c.dialledNs, nowNs)
	}
	for l.isCurrent(i, c) {
		f, n, err := parseFrame(b, l.config.MaxMessageBytes)
		if n == 0 || err != nil {
			return b, err
		}
		b = b[n:]
		if err := l.take(i, f, nowNs); err != nil {
			return b, err
		}
	}
	return nil, nil
}

func (l *Loop) becomeOpen(i int) {
	s := l.lock(i)
	defer s.mu.Unlock()
	l.conns[i].state = open
}

func (l *Loop) isCurrent(i int, c conn) bool {
	now := l.snapshot(i)
	return now.generation == c.generation && now.state != closed
}

func (l *Loop) take(i int, f frame, nowNs int64) error {
	switch f.opcode {
	case opPing:
		if err := l.send(i, opPong, f.payload); err != nil {
			return fmt.Errorf("answer a ping: %w", err)
		}
		l.pings.Add(1)
		return nil
	case opPong:
		return nil
	case opClose:
		return l.takeClose(i, f.payload)
	default:
		return l.takeData(i, f, nowNs)
	}
}

// takeClose returns the reason to close, always. Our own Close frame is a courtesy: the peer may be gone.
func (l *Loop) takeClose(i int, payload []byte) error {
	reason, err := parseClose(payload)
	if err != nil {
		return err
	}
	_ = l.send(i, opClose, payload[:min(2, len(payload))])
	return reason
}

func (l *Loop) takeData(i int, f frame, nowNs int64) error {
	var whole message // for the usual case of a message in one frame
	m := &whole
	if u := l.unfinished[i]; u != nil {
		m = &u.message
	} else if !f.final {
		m = &l.remember(i).message
	}
	payload, text, done, err := m.add(f, l.config.MaxMessageBytes)
	if done {
		l.handler.Received(i, text, payload, nowNs)
	}
	return err
}

// keep stores the start of a frame until the rest comes, and gives the store back when nothing is left to keep.
func (l *Loop) keep(i int, rest []byte) {
	u := l.unfinished[i]
	switch {
	case len(rest) > 0 && u == nil:
		u = l.remember(i)
		fallthrough
	case len(rest) > 0:
		u.raw = append(u.raw[:0], rest...)
	case u != nil && u.message.opcode == 0:
		l.forget(i)
	case u != nil:
		u.raw = u.raw[:0]
	}
}

func (l *Loop) remember(i int) *unfinished {
	var u *unfinished
	if n := len(l.spare); n > 0 {
		u, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		u = &unfinished{}
	}
	l.unfinished[i] = u
	return u
}

func (l *Loop) forget(i int) {
	u := l.unfinished[i]
	if u == nil {
		return
	}
	delete(l.unfinished, i)
	if len(l.spare) < maxSpare && cap(u.raw)+cap(u.message.bytes) <= maxSpareBytes {
		u.raw, u.message = u.raw[:0], message{bytes: u.message.bytes[:0]}
		l.spare = append(l.spare, u)
	}
}
