package feed

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatmonitor/server/monitor"
)

const (
	dialTimeout = 5 * time.Second
	// A fetch is answered after half a second, also when there is nothing; a broker that accepts and does
	// not answer costs this much before the next is asked.
	readTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
)

// dialer makes sarama's connections to the brokers. It
//
//   - speaks TLS itself, so that what follows sees Kafka's own bytes,
//   - keeps sarama from believing a peer that is not Kafka: it allocates whatever length the first
//     answer claims, and an HTTP server's "HTTP" reads as 1.2 GB,
//   - knows when a broker last answered a fetch: sarama does not tell of answers without records,
//   - counts connections that take the place of one that was lost,
//   - ends them all when the feed is to end: sarama waits for answers, and not for contexts.
type dialer struct {
	tls   *tls.Config // nil: plain
	stats *monitor.Stats
	ctx   context.Context
	end   context.CancelFunc

	mu      sync.Mutex
	brokers map[string]*brokerState // guarded by mu: by address
	conns   map[*conn]struct{}      // guarded by mu: open
}

// brokerState is what is known of the broker at one address.
type brokerState struct {
	answered atomic.Int64 // when it last answered a fetch, unix nanoseconds
	lost     atomic.Int32 // connections that have not been replaced yet
}

func newDialer(tlsConfig *tls.Config, stats *monitor.Stats) *dialer {
	d := &dialer{tls: tlsConfig, stats: stats, brokers: make(map[string]*brokerState), conns: make(map[*conn]struct{})}
	d.ctx, d.end = context.WithCancel(context.Background())
	return d
}

func (d *dialer) broker(address string) *brokerState {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.brokers[address]
	if b == nil {
		b = new(brokerState)
		d.brokers[address] = b
	}
	return b
}

// answered is when one of the brokers last answered a fetch.
func (d *dialer) answered(addresses []string) time.Time {
	var last int64
	for _, a := range addresses {
		last = max(last, d.broker(a).answered.Load())
	}
	if last == 0 {
		return time.Time{}
	}
	return time.Unix(0, last)
}

// Dial is proxy.Dialer's.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if d.tls != nil {
		if raw, err = d.secure(ctx, raw, address); err != nil {
			return nil, err
		}
	}
	c := &conn{Conn: raw, dialer: d, address: address, broker: d.broker(address)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return nil, errors.Join(net.ErrClosed, raw.Close())
	}
	d.conns[c] = struct{}{}
	if c.broker.lost.Load() > 0 {
		c.broker.lost.Add(-1)
		d.stats.Reconnects.Add(1)
	}
	return c, nil
}

func (d *dialer) secure(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	config := d.tls.Clone()
	host, _, err := net.SplitHostPort(address)
	if err == nil {
		config.ServerName = host
		secured := tls.Client(raw, config)
		if err = secured.HandshakeContext(ctx); err == nil {
			return secured, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("feed: TLS with %s: %w", address, err), raw.Close())
}

// close ends every connection, and lets no more be made.
func (d *dialer) close() {
	d.end()
	d.mu.Lock()
	open := make([]*conn, 0, len(d.conns))
	for c := range d.conns {
		open = append(open, c)
	}
	d.mu.Unlock()
	for _, c := range open {
		_ = c.Conn.Close() // sarama will close it, too
	}
}

// conn watches the frames that pass: each is its length in four bytes and so many more. One goroutine
// writes and one reads.
type conn struct {
	net.Conn
	dialer  *dialer
	address string
	broker  *brokerState
	closed  atomic.Bool
	failed  atomic.Bool

	mu      sync.Mutex
	fetches []uint32 // guarded by mu: correlation ids of fetches that are not answered yet

	// Of the goroutine that reads.
	head   [8]byte // of the answer that is coming: its length and its correlation id
	headed int     // bytes of head that are there
	left   int     // bytes of the answer behind its head
	heard  bool    // an answer has come
}

// A request begins with its length, the number of its kind, that kind's version and a correlation id,
// which its answer repeats.
const (
	requestHead = 12
	fetchKind   = 1
	// No broker's first answer, its list of API versions, is anywhere near so long.
	maxFirstAnswer = 1 << 20
)

// Write is net.Conn's. sarama writes each request with one call.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) >= requestHead && binary.BigEndian.Uint16(p[4:]) == fetchKind {
		c.mu.Lock()
		c.fetches = append(c.fetches, binary.BigEndian.Uint32(p[8:]))
		c.mu.Unlock()
	}
	n, err := c.Conn.Write(p)
	c.note(err)
	return n, err
}

// Read is net.Conn's.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if frameErr := c.follow(p[:n]); frameErr != nil {
		return 0, frameErr
	}
	c.note(err)
	return n, err
}

// follow looks for the begins and ends of the answers in what was read.
func (c *conn) follow(b []byte) error {
	for len(b) > 0 {
		if c.headed < len(c.head) {
			n := copy(c.head[c.headed:], b)
			c.headed += n
			b = b[n:]
			if length := binary.BigEndian.Uint32(c.head[:]); c.headed >= 4 && !c.heard && length > maxFirstAnswer {
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
			c.headed, c.heard = 0, true
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.fetches, id); i >= 0 {
		c.fetches = slices.Delete(c.fetches, i, i+1)
		c.broker.answered.Store(time.Now().UnixNano())
	}
}

// note notes that the connection was lost, unless it is closed from here.
func (c *conn) note(err error) {
	if err != nil && !c.closed.Load() && !errors.Is(err, net.ErrClosed) && c.failed.CompareAndSwap(false, true) {
		c.broker.lost.Add(1)
	}
}

// Close is net.Conn's.
func (c *conn) Close() error {
	c.closed.Store(true)
	c.dialer.mu.Lock()
	delete(c.dialer.conns, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}
