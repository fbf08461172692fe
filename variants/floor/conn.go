package main

import (
	"bytes"
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// A receiver for which more than this waits is closed, when there is more to write to it.
	maxUnsentBytes = 1 << 20
	// A loop keeps at most this, and as much as its receivers may have waiting, of what is not complete
	// and what is not taken; whoever needs more is closed.
	maxHeldBytes = 256 << 20
)

// serve takes the events of one connection.
func (l *loop) serve(fd int, events uint32) {
	if events&unix.EPOLLOUT != 0 && !l.flush(fd) {
		return
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.read(fd)
	}
}

// read takes what there is, up to one buffer, and answers it in one write; epoll tells again when there is more.
func (l *loop) read(fd int) {
	n, errno := read(fd, l.buffer)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0 || n == 0:
		l.close(fd)
		return
	}
	b := l.buffer[:n]
	begun := l.unfinished[fd]
	if begun != nil {
		l.heldBytes -= len(begun)
		b = append(begun, b...)
		l.unfinished[fd] = nil // keep says what becomes of it
	}
	rest, over := l.consume(fd, b)
	if len(l.out) > 0 && !l.answer(fd) {
		return
	}
	if over {
		l.close(fd)
		return
	}
	l.keep(fd, begun != nil, b, rest)
}

// answer writes what consume has left in out; false: the connection is closed.
func (l *loop) answer(fd int) bool {
	open := l.send(fd, l.out)
	if l.out = l.out[:0]; cap(l.out) > maxSpareBytes {
		l.out = nil
	}
	return open
}

// keep stores what is left of b, the beginning of something, until the rest comes. owned tells that b is no
// part of the shared buffer.
func (l *loop) keep(fd int, owned bool, b, rest []byte) {
	switch {
	case len(rest) == 0 && owned:
		delete(l.unfinished, fd)
		return
	case len(rest) == 0:
		return
	case owned && len(rest) == len(b):
		l.unfinished[fd] = b
	case owned:
		l.unfinished[fd] = append(b[:0], rest...)
	default:
		l.unfinished[fd] = bytes.Clone(rest)
	}
	l.heldBytes += len(rest)
	if l.holdsTooMuch() {
		l.close(fd)
	}
}

func (l *loop) holdsTooMuch() bool {
	return l.heldBytes > l.server.heldBytesLimit+len(l.receivers)*2*maxUnsentBytes
}

// consume takes whole heads and frames from the front of b, leaves the answers in out, and returns what is left of
// b. over tells that the connection is to be closed when it has been answered.
func (l *loop) consume(fd int, b []byte) (rest []byte, over bool) {
	s := l.state(fd)
	if s == inHead {
		if b, over = l.takeHead(fd, b); over {
			return nil, true
		}
		if s = l.state(fd); s == inHead {
			return b, false
		}
	}
	limitBytes := maxChatBytes
	if s == echoing {
		limitBytes = maxEchoBytes
	}
	for {
		f, n, fault := parseFrame(b, limitBytes)
		if fault == 0 && n == 0 {
			return b, false
		}
		if fault == 0 {
			fault, over = l.take(s, f)
		}
		if fault != 0 {
			l.out = appendClose(l.out, fault)
		}
		if fault != 0 || over {
			return nil, true
		}
		b = b[n:]
	}
}

// take answers one frame.
func (l *loop) take(s state, f frame) (fault closeCode, over bool) {
	switch f.opcode {
	case opPing:
		l.out = f.appendUnmasked(l.out, opPong)
	case opPong:
	case opClose:
		if len(f.payload) == 1 {
			return protocolError, true
		}
		l.out = f.appendUnmasked(l.out, opClose)
		return 0, true
	case opText, opBinary:
		return l.takeMessage(s, f), false
	}
	return 0, false
}

func (l *loop) takeMessage(s state, f frame) (fault closeCode) {
	if s == echoing {
		l.out = f.appendUnmasked(l.out, f.opcode)
		return 0
	}
	if f.opcode == opText {
		f.unmask()
		if out, ok := appendAnswer(l.out, f.payload); ok {
			l.out = out
			return 0
		}
	}
	return unsupported
}

// send writes b after what waits; false: the connection is closed.
func (l *loop) send(fd int, b []byte) bool {
	waiting, stuck := l.unsent[fd]
	if !stuck {
		n, errno := write(fd, b)
		if errno != 0 {
			l.close(fd)
			return false
		}
		if b = b[n:]; len(b) == 0 {
			return true
		}
		if !l.listenTo(fd, unix.EPOLLOUT) {
			return false
		}
	}
	l.unsent[fd] = append(waiting, b...)
	l.heldBytes += len(b)
	// What was written in one go may be longer than the limit, as an echo is; but then nothing may come behind it.
	if stuck && len(waiting)+len(b) > maxUnsentBytes || l.holdsTooMuch() {
		l.close(fd)
		return false
	}
	return true
}

// flush goes on with what waits; false: the connection is closed.
func (l *loop) flush(fd int) bool {
	waiting, stuck := l.unsent[fd]
	if !stuck {
		return true
	}
	n, errno := write(fd, waiting)
	if errno != 0 {
		l.close(fd)
		return false
	}
	l.heldBytes -= n
	if n < len(waiting) {
		l.unsent[fd] = waiting[n:]
		return true
	}
	delete(l.unsent, fd)
	return l.listenTo(fd, unix.EPOLLIN)
}

// listenTo changes what the connection waits for; false: the connection is closed.
func (l *loop) listenTo(fd int, events uint32) bool {
	if err := l.watch(unix.EPOLL_CTL_MOD, fd, events); err != nil {
		l.server.trouble(err)
		l.close(fd)
		return false
	}
	return true
}

// close ends a connection and forgets it.
func (l *loop) close(fd int) {
	if l.state(fd) == receiver {
		at := slices.Index(l.receivers, fd)
		l.receivers = slices.Delete(l.receivers, at, at+1)
		l.receiving.Add(-1)
		l.server.placesTaken.Add(-1)
	}
	l.heldBytes -= len(l.unfinished[fd]) + len(l.unsent[fd])
	delete(l.unfinished, fd)
	delete(l.unsent, fd)
	l.setState(fd, absent) // before the descriptor can become another loop's
	l.closeDescriptor(fd)
}

func (l *loop) closeDescriptor(fd int) {
	if err := unix.Close(fd); err != nil && !errors.Is(err, unix.EINTR) {
		l.server.trouble(err)
	}
}
