package reactor

import (
	"bufio"
	"container/list"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

// handOver gives the socket to net/http, with the bytes that came already: a duplicate of the
// descriptor goes there, and gnet closes its own.
func (c *conn) handOver(b []byte) {
	s := c.loop.server
	if c.place == sessionPlace {
		if !s.app.Plain.Take() && !(c.loop.displace(plainPlace, c) && s.app.Plain.Take()) && !s.handed.shed() {
			c.refuse(monitor.HTTPFull, full)
			return
		}
		s.app.Sessions.Give()
		c.place = plainPlace
	}
	tcp, err := duplicate(c.gc)
	if err != nil {
		s.app.Log.Warn("reactor: a request could not be handed to net/http", "err", err)
		c.refuse(monitor.NoDescriptors, full)
		return
	}
	s.app.Stats.PlainHTTP.Add(1)
	along := c.marks & addressed
	c.place, c.marks = noPlace, c.marks&^addressed // they go along
	s.handed.give(&replayed{TCPConn: tcp, pending: append([]byte(nil), b...), loop: c.loop, marks: along})
	c.end()
}

func duplicate(gc gnet.Conn) (*net.TCPConn, error) {
	fd, err := gc.Dup()
	if err != nil {
		return nil, fmt.Errorf("reactor: duplicate a descriptor: %w", err)
	}
	file := os.NewFile(uintptr(fd), "tcp")
	defer file.Close() // FileConn has its own
	nc, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("reactor: connection from a descriptor: %w", err)
	}
	return nc.(*net.TCPConn), nil
}

// replayed is a connection whose first bytes have been read already.
type replayed struct {
	*net.TCPConn
	pending []byte
	loop    *loop         // that it came from
	marks   marks         // addressed, or none
	active  bool          // a request is under way; net/http's, which tells of the changes one after the other
	silent  bool          // between two requests, and no byte of the next has been read since; net/http's, too
	shed    bool          // guarded by handedOver.mu, as what follows: another connection has its place
	row     *list.List    // handedOver's resting or busy; nil: it stands in neither
	stands  *list.Element // its place there
	since   time.Time     // when it came there
}

func (r *replayed) Read(p []byte) (int, error) {
	if len(r.pending) > 0 {
		n := copy(p, r.pending)
		if r.pending = r.pending[n:]; len(r.pending) == 0 {
			r.pending = nil
		}
		return n, nil
	}
	n, err := r.TCPConn.Read(p)
	if err == nil && r.silent {
		r.silent = false
		// net/http begins with the time for a head at its fourth byte.
		err = r.SetReadDeadline(time.Now().Add(r.loop.server.app.Config.HandshakeTimeout))
	}
	return n, err
}

// handedOver is the listener from which net/http gets its connections.
type handedOver struct {
	conns  chan *replayed // holds as many as plain connections may be open: give never blocks
	active atomic.Int64   // requests under way
	once   sync.Once
	done   chan struct{}

	service time.Duration // that a request gets before its connection may have to give way

	mu      sync.Mutex
	resting list.List // guarded by mu: *replayed between two requests, the longest rest first
	busy    list.List // guarded by mu: *replayed with a request under way, the longest first
}

// leastService is far more than any request here takes whose client sends it and reads the answer.
const leastService = time.Second

func newHandedOver(places int) *handedOver {
	return &handedOver{conns: make(chan *replayed, 2*places), done: make(chan struct{}), service: leastService}
}

func (h *handedOver) give(r *replayed) { h.conns <- r }

// shed ends the connection that has rested the longest between two requests, or else the one whose request
// has been under way the longest, if that has had its time, and leaves its place to the caller. It reports
// false if there is none.
func (h *handedOver) shed() bool {
	h.mu.Lock()
	first := h.resting.Front()
	if first == nil {
		first = h.busy.Front()
		if first == nil || time.Since(first.Value.(*replayed).since) < h.service {
			h.mu.Unlock()
			return false
		}
	}
	r := first.Value.(*replayed)
	r.row.Remove(first)
	r.row, r.shed = nil, true
	h.mu.Unlock()
	_ = r.TCPConn.Close() // its end comes to track
	return true
}

// stand puts a connection at the end of one of the rows, or, with nil, in neither.
func (h *handedOver) stand(r *replayed, row *list.List) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.row != nil {
		r.row.Remove(r.stands)
		r.row = nil
	}
	if row != nil && !r.shed {
		r.row, r.stands, r.since = row, row.PushBack(r), time.Now()
	}
}

// keepsPlace says whether the connection still has its place: nobody has shed it, and nobody will.
func (h *handedOver) keepsPlace(r *replayed) bool {
	h.stand(r, nil)
	h.mu.Lock()
	defer h.mu.Unlock()
	return !r.shed
}

// Accept is net.Listener's.
func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case r := <-h.conns:
		return r, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (h *handedOver) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr is net.Listener's.
func (h *handedOver) Addr() net.Addr { return &net.TCPAddr{} }

// track counts the requests under way, keeps the rows, and gives a plain connection's place back at its end. A hijacked
// one has its place given back by whoever hijacked it.
func (h *handedOver) track(nc net.Conn, state http.ConnState) {
	r := nc.(*replayed)
	if active := state == http.StateActive; active != r.active {
		r.active = active
		if active {
			h.active.Add(1)
		} else {
			h.active.Add(-1)
		}
	}
	r.silent = state == http.StateIdle
	switch state {
	case http.StateIdle:
		h.stand(r, &h.resting)
	case http.StateActive:
		h.stand(r, &h.busy)
	case http.StateHijacked:
		h.stand(r, nil)
	case http.StateClosed:
		if h.keepsPlace(r) {
			r.loop.server.app.Plain.Give()
		}
		r.leaveAddress()
	}
}

// leaveAddress takes the connection out of its address's count.
func (r *replayed) leaveAddress() {
	if r.marks&addressed != 0 {
		r.loop.server.app.Peers.Give(r.RemoteAddr())
	}
}

// upgradeLater upgrades a connection that spoke HTTP before, or in a way that only net/http reads: it
// writes the 101 and sends the socket back to its loop.
func (s *server) upgradeLater(w http.ResponseWriter, r *http.Request) {
	if !s.arrive() {
		s.refuseLater(w, monitor.Leaving, "the server is leaving")
		return
	}
	defer s.arrived() // behind Enroll, whose OnOpen has counted it as connected
	if !s.app.Sessions.Take() && !(s.displaceLater() && s.app.Sessions.Take()) {
		s.refuseLater(w, monitor.SessionsFull, "the server has as many connections as it may")
		return
	}
	nc, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.app.Sessions.Give()
		s.app.Stats.NetErrors.Add(1)
		s.app.Log.Error("reactor: hijack", "err", err)
		http.Error(w, "the upgrade failed", http.StatusInternalServerError)
		return
	}
	back := nc.(*replayed)
	if s.handed.keepsPlace(back) {
		s.app.Plain.Give()
	}
	if err := s.sendBack(back, buffered, r); err != nil {
		s.app.Sessions.Give()
		back.leaveAddress()
		s.app.Log.Debug("reactor: an upgrade failed", "err", err)
	}
}

// displaceLater displaces for a newcomer that is on no loop: it asks one loop after the other.
func (s *server) displaceLater() bool {
	s.mu.RLock()
	loops := slices.Collect(maps.Values(s.loops))
	s.mu.RUnlock()
	for _, l := range loops {
		displaced := make(chan bool, 1)
		l.execute(gnet.RunnableFunc(func(context.Context) error {
			defer close(displaced)
			defer s.survive("displace")
			displaced <- l.displace(sessionPlace, nil)
			return nil
		}))
		select {
		case ok := <-displaced:
			if ok {
				return true
			}
		case <-s.stopped:
			return false
		}
	}
	return false
}

func (s *server) refuseLater(w http.ResponseWriter, reason monitor.Reason, text string) {
	s.app.Stats.Refused(reason).Add(1)
	w.Header().Set("Connection", "close")
	http.Error(w, text, http.StatusServiceUnavailable)
}

// sendBack answers the upgrade and enrolls the socket on its loop, with the bytes that net/http has
// read ahead.
func (s *server) sendBack(r *replayed, buffered *bufio.ReadWriter, request *http.Request) error {
	early, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err == nil { // the peer may not have read the answers before
		err = r.SetWriteDeadline(time.Now().Add(s.app.Config.HandshakeTimeout))
	}
	if err == nil {
		_, err = fmt.Fprintf(r.TCPConn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			acceptKey(request.Header.Get("Sec-WebSocket-Key")))
	}
	if err != nil {
		return errors.Join(err, r.Close())
	}
	early = append(append([]byte(nil), early...), r.pending...)
	c := &conn{place: sessionPlace, marks: r.marks}
	if request.URL.Path == app.PathEcho {
		c.marks |= echoes
	}
	if len(early) > 0 {
		c.in = &inbound{bytes: early}
	}
	result, err := r.loop.events.Enroll(gnet.NewContext(context.Background(), c), r.TCPConn)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	if outcome := <-result; outcome.Err != nil {
		return outcome.Err
	}
	return nil
}

// acceptKey proves that the server has read the request (RFC 6455 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// comeBack begins the WebSocket of a connection that was upgraded by net/http.
func (c *conn) comeBack(gc gnet.Conn, l *loop) {
	c.gc, c.loop = gc, l
	gc.SetContext(c)
	l.add(c, inHead)
	in := c.in
	c.upgraded(c.is(echoes))
	if in != nil {
		c.receive(in.bytes)
	}
}
