package main

import (
	"errors"
	"net"
	"time"
)

// listener accepts connections for net/http, and gives each its place.
type listener struct {
	*net.TCPListener
	server *server

	// Owned by the goroutine that accepts.
	pause  time.Duration // after the last failure
	logged time.Time
}

// Between two failures of accept. The longest is short beside the 5 s within which a server that had no
// descriptor left has to serve again.
const (
	shortestPause = 5 * time.Millisecond
	longestPause  = 250 * time.Millisecond
)

// Accept is net.Listener's. It does not fail before the listener is closed: for want of descriptors or
// memory it waits.
func (l *listener) Accept() (net.Conn, error) {
	for {
		tcp, err := l.AcceptTCP()
		switch {
		case err == nil:
			l.pause = 0
			if sock := newSocket(l.server, tcp); sock != nil {
				return sock, nil
			}
			continue
		case errors.Is(err, net.ErrClosed):
			return nil, err
		}
		l.failed(err)
	}
}

func (l *listener) failed(err error) {
	l.server.app.stats.NetErrors.Add(1)
	if now := time.Now(); now.Sub(l.logged) > time.Second {
		l.logged = now
		l.server.app.log.Warn("accept failed; clients wait", "err", err)
	}
	l.pause = min(max(2*l.pause, shortestPause), longestPause)
	time.Sleep(l.pause)
}
