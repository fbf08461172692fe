package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"chatmonitor/server/monitor"
)

// place is whose slot a connection holds.
type place uint8

const (
	noPlace place = iota
	sessionPlace
	plainPlace
	excessPlace // of the refused, while they read that they are
)

// socket is a connection while it belongs to net/http. It looks at the first bytes, which net/http would
// answer with less than what is known about them, and it holds the connection's place. A WebSocket has
// left it behind.
type socket struct {
	*net.TCPConn
	server *server

	requested atomic.Bool // a request has reached the handler

	// Owned by the goroutine that serves the connection. net/http's second reader only comes after
	// the first bytes have been judged.
	judged  bool
	refused bool
	place   place
	// addressed: counted among its address's; crowded: refused because those were too many
	addressed, crowded bool
	plain              bool // counted among those that sent a plain request
	guest              bool // a request is under way
	hijacked           bool
}

// newSocket finds a place for a connection, or gives nil. Whether it will be a WebSocket is not known yet.
func newSocket(s *server, tcp *net.TCPConn) *socket {
	sock := &socket{TCPConn: tcp, server: s}
	sock.addressed = s.app.peers.Take(tcp.RemoteAddr())
	sock.crowded = !sock.addressed
	switch {
	case sock.crowded && s.excess.Take():
		sock.place = excessPlace
	case sock.crowded:
		sock.turnAway(monitor.AddressFull, crowdedAddress)
		return nil
	case s.app.sessions.Take():
		sock.place = sessionPlace
	case s.app.plain.Take(): // whoever asks for /live must get a word in when the sessions are full
		sock.place = plainPlace
	case s.excess.Take():
		sock.place = excessPlace
	default: // no descriptor to spare for waiting until the refusal has been read
		sock.turnAway(monitor.SessionsFull, full)
		sock.leaveAddress()
		return nil
	}
	return sock
}

type socketKey struct{}

func withSocket(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, socketKey{}, nc)
}

func socketOf(r *http.Request) *socket { return r.Context().Value(socketKey{}).(*socket) }

// changed is net/http's ConnState.
func changed(nc net.Conn, state http.ConnState) {
	sock := nc.(*socket)
	switch state {
	case http.StateIdle:
		sock.rest()
	case http.StateHijacked:
		sock.hijacked = true
		sock.rest()
	case http.StateClosed:
		sock.rest()
		sock.givePlace()
		sock.leaveAddress()
	}
}

// leaveAddress takes the connection out of its address's count.
func (s *socket) leaveAddress() {
	if s.addressed {
		s.server.app.peers.Give(s.RemoteAddr())
	}
}

// work makes the connection one that the drain waits for. It reports false if it is too late.
func (s *socket) work() bool {
	s.requested.Store(true)
	if !s.guest {
		s.guest = s.server.guests.enter()
	}
	return s.guest
}

func (s *socket) rest() {
	if s.guest {
		s.guest = false
		s.server.guests.leave()
	}
}

// becomePlain takes the place of a plain connection, or reports false if there is none.
func (s *socket) becomePlain() bool {
	if s.place != plainPlace {
		if !s.server.app.plain.Take() {
			return false
		}
		s.givePlace()
		s.place = plainPlace
	}
	if !s.plain {
		s.plain = true
		s.server.app.stats.PlainHTTP.Add(1)
	}
	return true
}

// becomeSession takes the place of a WebSocket, or reports false if there is none.
func (s *socket) becomeSession() bool {
	if s.place != sessionPlace {
		if !s.server.app.sessions.Take() {
			return false
		}
		s.givePlace()
		s.place = sessionPlace
	}
	return true
}

func (s *socket) givePlace() {
	switch s.place {
	case sessionPlace:
		s.server.app.sessions.Give()
	case plainPlace:
		s.server.app.plain.Give()
	case excessPlace:
		s.server.excess.Give()
	}
	s.place = noPlace
}

// Read is net.Conn's. Until there is a request, it finds out what is none, and answers it.
func (s *socket) Read(p []byte) (int, error) {
	if s.refused { // net/http looks for more behind half a head
		return 0, io.EOF
	}
	if !s.judged && s.crowded {
		return 0, s.refuse(monitor.AddressFull, crowdedAddress)
	}
	if !s.judged && s.place == excessPlace {
		return 0, s.refuse(monitor.SessionsFull, full)
	}
	n, err := s.TCPConn.Read(p)
	if s.requested.Load() {
		return n, err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, s.refuse(monitor.HeadTimeout, requestTimeout)
	}
	if n > 0 && !s.judged {
		s.judged = true
		if reason, answer := judge(p[:n]); answer != nil {
			return 0, s.refuse(reason, answer)
		}
	}
	return n, err
}

// Write is net.Conn's. What net/http writes before there was a request is a refusal of its own.
func (s *socket) Write(p []byte) (int, error) {
	if !s.requested.Load() && isTooLong(p) {
		s.server.app.stats.Refused(monitor.HeadTooLong).Add(1)
	}
	return s.TCPConn.Write(p)
}

// The time that a peer has to read why it is sent away.
const lingerWithin = 2 * time.Second

// refuse answers, counts and ends a connection before its first request. It ends our half and waits
// for the peer's: closing a socket with unread bytes in it would take the answer back. What it returns
// has net/http close the socket without a word.
func (s *socket) refuse(reason monitor.Reason, answer []byte) error {
	s.refused = true
	s.server.app.stats.Refused(reason).Add(1)
	// Who was too slow with its head must have gone within three times the time for it.
	err := s.SetDeadline(time.Now().Add(min(lingerWithin, s.server.app.config.HandshakeTimeout)))
	if err == nil {
		_, err = s.TCPConn.Write(answer)
	}
	if err == nil {
		err = s.CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, s.TCPConn)
	}
	if err != nil {
		s.server.app.log.Debug("a refused peer has left early, or stayed", "reason", reason.String(), "err", err)
	}
	return io.EOF
}

// turnAway refuses a connection without waiting for anything. The kernel takes so few bytes at once.
func (s *socket) turnAway(reason monitor.Reason, answer []byte) {
	s.server.app.stats.Refused(reason).Add(1)
	_, err := s.TCPConn.Write(answer)
	if err = errors.Join(err, s.Close()); err != nil {
		s.server.app.log.Debug("a refused peer has left early", "err", err)
	}
}
