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
	s := l.lock(i)
	defer s.mu.Unlock()
	if is := l.conns[i].state; is != open && is != paused {
		return ErrNotOpen
	}
	s.scratch = appendFrame(s.scratch[:0], opcode, payload, uint32(s.masks.Uint64()))
	return l.write(i, s, s.scratch)
}

func (l *Loop) sendUpgrade(i int) error {
	s := l.lock(i)
	defer s.mu.Unlock()
	c := &l.conns[i]
	c.state = upgrading
	server := l.server(i)
	s.scratch = appendUpgrade(s.scratch[:0], server.Path, server.Host, l.key(i, c.generation))
	if err := l.write(i, s, s.scratch); err != nil {
		return err
	}
	return l.watch(i, s)
}

// write is called with the stripe locked. The order of what was sent is kept: while something waits, all waits.
func (l *Loop) write(i int, s *stripe, b []byte) error {
	if waiting, ok := s.unsent[i]; ok {
		if len(waiting)+len(b) > maxUnsentBytes {
			return ErrNotReading
		}
		s.unsent[i] = append(waiting, b...)
		return nil
	}
	n, err := writeSome(int(l.conns[i].fd), b)
	if err != nil {
		return err
	}
	if n == len(b) {
		return nil
	}
	s.unsent[i] = append([]byte(nil), b[n:]...)
	return l.watch(i, s)
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
	s := l.lock(i)
	defer s.mu.Unlock()
	waiting, ok := s.unsent[i]
	if !ok || l.conns[i].state == closed {
		return nil
	}
	n, err := writeSome(int(l.conns[i].fd), waiting)
	if err != nil {
		return err
	}
	if n < len(waiting) {
		s.unsent[i] = append(waiting[:0], waiting[n:]...)
		return nil
	}
	delete(s.unsent, i)
	return l.watch(i, s)
}

// Pause stops reading from an open connection, as a stalled reader does; Resume goes on. To be called on the
// goroutine of Run.
func (l *Loop) Pause(i int) error { return l.turn(i, open, paused) }

// Resume undoes Pause.
func (l *Loop) Resume(i int) error { return l.turn(i, paused, open) }

func (l *Loop) turn(i int, from, to state) error {
	s := l.lock(i)
	defer s.mu.Unlock()
	if l.conns[i].state != from {
		return ErrNotOpen
	}
	l.conns[i].state = to
	return l.watch(i, s)
}

// watch tells epoll what connection i waits for. Called with the stripe locked.
func (l *Loop) watch(i int, s *stripe) error {
	c := &l.conns[i]
	event := unix.EpollEvent{Fd: int32(i), Pad: int32(c.generation)}
	if c.state != paused {
		event.Events |= unix.EPOLLIN
	}
	if _, waits := s.unsent[i]; waits {
		event.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, int(c.fd), &event); err != nil {
		return fmt.Errorf("client: watch socket: %w", err)
	}
	return nil
}
