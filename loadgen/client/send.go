package client

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxUnsentBytes is what may wait for a server that does not read.
const maxUnsentBytes = 1 << 20

// Send writes payload as one masked text frame, from any goroutine. When it returns, the frame is with the kernel,
// or waits for the server to read what came before.
func (l *Loop) Send(i int, payload []byte) error {
	return l.send(i, opText, payload)
}

func (l *Loop) send(i int, opcode byte, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.conns[i].state; s != open && s != paused {
		return ErrNotOpen
	}
	l.scratch = appendFrame(l.scratch[:0], opcode, payload, uint32(l.masks.Uint64()))
	return l.write(i, l.scratch)
}

func (l *Loop) sendUpgrade(i int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.conns[i]
	c.state = upgrading
	l.scratch = appendUpgrade(l.scratch[:0], l.config.Path, l.config.Host, l.key(i, c.generation))
	if err := l.write(i, l.scratch); err != nil {
		return err
	}
	return l.watch(i)
}

// write is called with mu held. The order of what was sent is kept: while something waits, all waits.
func (l *Loop) write(i int, b []byte) error {
	if waiting, ok := l.unsent[i]; ok {
		if len(waiting)+len(b) > maxUnsentBytes {
			return ErrNotReading
		}
		l.unsent[i] = append(waiting, b...)
		return nil
	}
	n, err := writeSome(int(l.conns[i].fd), b)
	if err != nil {
		return err
	}
	if n == len(b) {
		return nil
	}
	l.unsent[i] = append([]byte(nil), b[n:]...)
	return l.watch(i)
}

func writeSome(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Write(fd, b)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		default:
			return 0, fmt.Errorf("write: %w", err)
		}
	}
}

// flush goes on with what waits.
func (l *Loop) flush(i int) {
	if err := l.flushSome(i); err != nil {
		l.close(i, err)
	}
}

func (l *Loop) flushSome(i int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting, ok := l.unsent[i]
	if !ok || l.conns[i].state == closed {
		return nil
	}
	n, err := writeSome(int(l.conns[i].fd), waiting)
	if err != nil {
		return err
	}
	if n < len(waiting) {
		l.unsent[i] = append(waiting[:0], waiting[n:]...)
		return nil
	}
	delete(l.unsent, i)
	return l.watch(i)
}

// Pause stops reading from an open connection, as a stalled reader does; Resume goes on. To be called on the
// goroutine of Run.
func (l *Loop) Pause(i int) error { return l.turn(i, open, paused) }

// Resume undoes Pause.
func (l *Loop) Resume(i int) error { return l.turn(i, paused, open) }

func (l *Loop) turn(i int, from, to state) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[i].state != from {
		return ErrNotOpen
	}
	l.conns[i].state = to
	return l.watch(i)
}

// watch tells epoll what connection i waits for. Called with mu held.
func (l *Loop) watch(i int) error {
	c := &l.conns[i]
	event := unix.EpollEvent{Fd: int32(i), Pad: int32(c.generation)}
	if c.state != paused {
		event.Events |= unix.EPOLLIN
	}
	if _, waits := l.unsent[i]; waits {
		event.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, int(c.fd), &event); err != nil {
		return fmt.Errorf("client: watch socket: %w", err)
	}
	return nil
}
