package feed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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
//   - tells from which offsets a fetch is asked,
//   - counts connections that take the place of one that was lost,
//   - ends them all when the feed is to end: sarama waits for answers, and not for contexts.
type dialer struct {
	tls   *tls.Config // nil: plain
	login bool        // SASL is used
	stats *monitor.Stats
	// fetching is told of each partition that a fetch asks for, before it is sent.
	fetching func(partition int32, offset int64)
	ctx      context.Context
	end      context.CancelFunc

	mu      sync.Mutex
	brokers map[string]*brokerState // guarded by mu: by address
	conns   map[*conn]struct{}      // guarded by mu: open
}

// brokerState is what is known of the broker at one address.
type brokerState struct {
	answered atomic.Int64 // when it last answered a fetch, unix nanoseconds
	lost     atomic.Int32 // connections that have not been replaced yet
}

func newDialer(tlsConfig *tls.Config, login bool, stats *monitor.Stats) *dialer {
	d := &dialer{tls: tlsConfig, login: login, stats: stats, fetching: func(int32, int64) {}, brokers: make(map[string]*brokerState), conns: make(map[*conn]struct{})}
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
