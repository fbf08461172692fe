package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	"github.com/gorilla/websocket"

	"chatmonitor/server/monitor"
	"chatmonitor/server/web"
)

// admit stands before every handler: it gives plain requests the place of a plain connection, and
// makes each one that the drain waits for.
func (s *server) admit(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sock := socketOf(r)
		switch {
		case !sock.work():
			s.refuse(w, monitor.Leaving, leavingText)
		case !s.isUpgrade(r) && !sock.becomePlain():
			s.refuse(w, monitor.HTTPFull, fullText)
		default:
			if s.app.draining() {
				w.Header().Set("Connection", "close")
			}
			handler.ServeHTTP(w, r)
		}
	})
}

// isUpgrade says whether the handler will call upgrade.
func (s *server) isUpgrade(r *http.Request) bool {
	return websocket.IsWebSocketUpgrade(r) &&
		(r.URL.Path == web.PathWS || s.app.config.Echo && r.URL.Path == web.PathEcho) &&
		web.CheckUpgrade(r) == nil
}

// upgrade makes a WebSocket of a connection that asks for it with a good request.
func (s *server) upgrade(w http.ResponseWriter, r *http.Request) {
	sock := socketOf(r)
	switch {
	case s.app.draining():
		s.refuse(w, monitor.Leaving, leavingText)
		return
	case !sock.becomeSession():
		s.refuse(w, monitor.SessionsFull, fullText)
		return
	case !s.guests.enter():
		s.refuse(w, monitor.Leaving, leavingText)
		return
	}
	h := &hijacker{ResponseWriter: w, socket: sock}
	ws, err := s.profile.upgrader.Upgrade(h, r, nil)
	if err != nil {
		s.failedUpgrade(sock, err)
		return
	}
	s.profile.serve(newConn(s, ws, h.wire, r.URL.Path == web.PathEcho))
}

// failedUpgrade leaves nothing behind. gorilla has answered the peer, or ended its connection.
func (s *server) failedUpgrade(sock *socket, err error) {
	s.app.log.Debug("an upgrade failed", "err", err)
	if sock.hijacked { // net/http does not know it any more
		sock.givePlace()
		sock.leaveAddress()
	} else {
		s.app.stats.NetErrors.Add(1)
	}
	s.guests.leave()
}

// hijacker is the ResponseWriter that gorilla gets. It hands out a wire in the place of the socket, so
// that the socket, and net/http's part with it, can be forgotten.
type hijacker struct {
	http.ResponseWriter
	socket *socket
	wire   *wire // after Hijack
}

// Hijack is http.Hijacker's. gorilla gives up a client whose first frame came with its request, so
// those bytes are put back into the connection.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	_, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("goroutine: hijack: %w", err)
	}
	tcp := h.socket.TCPConn
	early, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("goroutine: read ahead by net/http: %w", err), tcp.Close())
	}
	limit := int64(h.socket.server.app.config.MaxMessageBytes)
	h.wire = &wire{TCPConn: tcp, early: slices.Clone(early), frames: frameCheck{limit: limit}}
	if h.socket.addressed {
		h.wire.peers = h.socket.server.app.peers
	}
	rw.Reader.Reset(h.wire)
	return h.wire, rw, nil
}
