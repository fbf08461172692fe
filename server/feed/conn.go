package feed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a connection to a broker. It watches the frames that pass, each of which is its length in four
// bytes and so many more, and says in plain words why it ended. One goroutine writes and one reads.
type conn struct {
	net.Conn
	dialer  *dialer
	address string
	broker  *brokerState
	closed  atomic.Bool           // by sarama
	failure atomic.Pointer[error] // why it ended otherwise
	asked   atomic.Uint32         // kind of the last request
	answers atomic.Uint32         // that have come

	mu      sync.Mutex
	fetches []uint32 // guarded by mu: correlation ids of fetches that are not answered yet

	// Of the goroutine that reads.
	head   [8]byte // of the answer that is coming: its length and its correlation id
	headed int     // bytes of head that are there
	left   int     // bytes of the answer behind its head
}

// A request begins with its length, the number of its kind, that kind's version and a correlation id,
// which its answer repeats.
const (
	requestHead = 12

	kindFetch            = 1
	kindMetadata         = 3
	kindSASLHandshake    = 17
	kindSASLAuthenticate = 36

	// No broker's first answer, its list of API versions, is anywhere near so long.
	maxFirstAnswer = 1 << 20
)

// Write is net.Conn's. sarama writes each request with one call.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) >= requestHead {
		kind := binary.BigEndian.Uint16(p[4:])
		c.asked.Store(uint32(kind))
		if kind == kindFetch {
			fetchedFrom(p, c.dialer.fetching)
			c.mu.Lock()
			c.fetches = append(c.fetches, binary.BigEndian.Uint32(p[8:]))
			c.mu.Unlock()
		}
	}
	n, err := c.Conn.Write(p)
	return n, c.fail(err)
}

// Read is net.Conn's.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if frameErr := c.follow(p[:n]); frameErr != nil {
		return 0, c.fail(frameErr) // sarama asks once more, and must not get another answer
	}
	return n, c.fail(err)
}

// follow looks for the begins and ends of the answers in what was read.
func (c *conn) follow(b []byte) error {
	for len(b) > 0 {
		if c.headed < len(c.head) {
			n := copy(c.head[c.headed:], b)
			c.headed += n
			b = b[n:]
			if length := binary.BigEndian.Uint32(c.head[:]); c.headed >= 4 && c.answers.Load() == 0 && length > maxFirstAnswer {
				return notKafka(c.address, c.head[:4])
			}
			if c.headed < len(c.head) {
				return nil
			}
			c.left = int(binary.BigEndian.Uint32(c.head[:])) - 4
		}
		n := max(0, min(c.left, len(b)))
		c.left -= n
		b = b[n:]
		if c.left <= 0 {
			c.headed = 0
			c.answered(binary.BigEndian.Uint32(c.head[4:]))
		}
	}
	return nil
}

func notKafka(address string, begins []byte) error {
	if begins[0] == 0x15 && begins[1] == 0x03 { // an alert of TLS
		return fmt.Errorf("feed: %s wants TLS: set --kafka-tls", address)
	}
	return fmt.Errorf("feed: %s does not speak Kafka: its answer begins with %q", address, begins)
}

func (c *conn) answered(id uint32) {
	c.answers.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.fetches, id); i >= 0 {
		c.fetches = slices.Delete(c.fetches, i, i+1)
		c.broker.answered.Store(time.Now().UnixNano())
	}
}

// fail keeps the first error of a connection that was not closed from here, and gives it again for those
// that follow from it. It ends the connection: after a timeout, sarama would ask once more, and wait as
// long again.
func (c *conn) fail(err error) error {
	if err == nil || c.closed.Load() {
		return err
	}
	err = c.explain(err)
	if c.failure.CompareAndSwap(nil, &err) {
		c.broker.lost.Add(1)
		_ = c.Conn.Close()
	}
	return *c.failure.Load()
}

func (c *conn) explain(err error) error {
	kind := c.asked.Load()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("feed: %s has not answered within %v: %w", c.address, readTimeout, err)
	case !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		return err
	case kind == kindSASLHandshake || kind == kindSASLAuthenticate:
		return fmt.Errorf("feed: %s ended the connection during the SASL login; are user, password and mechanism right?: %w", c.address, err)
	case c.answers.Load() == 0 && c.dialer.tls == nil:
		return fmt.Errorf("feed: %s ended the connection without an answer; if it wants TLS, set --kafka-tls: %w", c.address, err)
	case c.answers.Load() == 1 && kind == kindMetadata && !c.dialer.login:
		return fmt.Errorf("feed: %s ended the connection at the first question; if it wants a login, set --kafka-sasl-mechanism: %w", c.address, err)
	}
	return fmt.Errorf("feed: %s ended the connection: %w", c.address, err)
}

// SetDeadline is net.Conn's.
func (c *conn) SetDeadline(t time.Time) error { return c.fail(c.Conn.SetDeadline(t)) }

// SetReadDeadline is net.Conn's.
func (c *conn) SetReadDeadline(t time.Time) error { return c.fail(c.Conn.SetReadDeadline(t)) }

// SetWriteDeadline is net.Conn's.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.fail(c.Conn.SetWriteDeadline(t)) }

// Close is net.Conn's.
func (c *conn) Close() error {
	c.closed.Store(true)
	c.dialer.mu.Lock()
	delete(c.dialer.conns, c)
	c.dialer.mu.Unlock()
	if err := c.Conn.Close(); c.failure.Load() == nil { // else it is closed
		return err
	}
	return nil
}
