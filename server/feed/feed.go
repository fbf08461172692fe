// Package feed reads the chat records from Kafka and gives them to a hub. It reads every
// partition without a consumer group, because every server needs every record. It neither matches
// nor stores: what the hub cannot take yet stays in Kafka.
//
//	lister: the topic's partitions, every 5 s and when something fails
//	  --one reader each--> open at the next offset --> chat.DecodeRecord --> Hub.Publish
//	    fails: closed; opened again after the lister has found the topic
//	watch: once a second, how each reader fares --> Status, metrics, log, notices to the clients
//
// The lister alone decides when it is worth while to try again, so that a dead broker is not asked by
// every partition.
package feed

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

// Hub takes what the feed reads; monitor.Hub is the one of production.
type Hub interface {
	// Publish takes a record, and waits while there is no room for it; its only error is ctx's. value
	// is the record's JSON, and may be kept.
	Publish(ctx context.Context, at chat.Cursor, timestamp time.Time, value []byte, record chat.Record) error
	// Skip takes notice of a value that is not a record.
	Skip(at chat.Cursor, reason chat.Undecodable)
	// Notify tells every client; it may wait as Publish does, and its only error is ctx's.
	Notify(ctx context.Context, notice []byte) error
}

// Options configure a Feed. Every field is needed, except for Security, ClientID and Rack.
type Options struct {
	Brokers        []string
	Topic          string
	MaxRecordBytes int
	Security       Security
	ClientID       string // what the brokers' logs and quotas know the server by; empty: chatmonitor
	Rack           string // a broker in the same rack is read from, if it has the partition
	Hub            Hub
	Stats          *monitor.Stats
	Log            *slog.Logger
}

const (
	refreshEvery = 5 * time.Second // looks for new partitions
	retryFirst   = 250 * time.Millisecond
	retryMax     = 3 * time.Second
)

// Feed reads one topic.
type Feed struct {
	// Static after construction.
	options Options
	config  *sarama.Config
	dialer  *dialer
	log     *slog.Logger
	kicked  chan struct{} // asks the lister to look now
	bad     badRecords

	mu         sync.Mutex
	topicID    sarama.Uuid          // guarded by mu: of the topic that is read; zero while unknown
	retired    []sarama.Uuid        // guarded by mu: of topics that were read before; some broker may not know yet
	listed     bool                 // guarded by mu: the topic was looked up once; what comes later is new
	caughtUp   bool                 // guarded by mu: every partition has been opened
	connected  bool                 // guarded by mu: the last look at the topic was answered
	trouble    string               // guarded by mu: why the topic cannot be looked up, while it is so
	stalled    bool                 // guarded by mu: clients have been told so
	partitions map[int32]*partition // guarded by mu
	listing    chan struct{}        // guarded by mu: closed when the topic has been found again
}

// New makes a feed; Run reads, once.
func New(o Options) (*Feed, error) {
	f := &Feed{options: o, log: o.Log, kicked: make(chan struct{}, 1), listing: make(chan struct{}), partitions: make(map[int32]*partition)}
	f.bad.log = o.Log
	tlsConfig, err := o.Security.tlsConfig()
	if err != nil {
		return nil, err
	}
	f.dialer = newDialer(tlsConfig, o.Security.Mechanism != "", o.Stats)
	f.dialer.fetching = f.fetching
	if f.config, err = saramaConfig(&f.options, f.dialer); err != nil {
		return nil, err
	}
	return f, nil
}

// Run reads until ctx ends. A Kafka that is not there is tried again for ever.
func (f *Feed) Run(ctx context.Context) {
	// What sarama waits for ends with its connections, and not with a context.
	stop := context.AfterFunc(ctx, f.dialer.close)
	defer stop()
	client, err := sarama.NewClient(f.options.Brokers, f.config)
	if err != nil { // it connects later: this is the configuration, and New has validated that
		panic("feed: " + err.Error())
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		panic("feed: " + err.Error())
	}
	var running sync.WaitGroup
	running.Go(func() { f.watch(ctx) })
	l := &lister{feed: f, client: client, consumer: consumer}
	l.run(ctx)
	running.Wait()
	if err := errors.Join(consumer.Close(), client.Close()); err != nil {
		f.log.Debug("feed: closing the Kafka client", "err", err)
	}
}

// kick has the lister look at the topic soon.
func (f *Feed) kick() {
	select {
	case f.kicked <- struct{}{}:
	default:
	}
}

// nextListing is closed when the topic has been found again.
func (f *Feed) nextListing() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listing
}

// backoff is the time to the next attempt: twice as long each time, and never the same for two servers.
type backoff struct{ attempts int }

func (b *backoff) next() time.Duration {
	wait := retryMax
	if b.attempts < 10 {
		wait = min(retryMax, retryFirst<<b.attempts)
	}
	b.attempts++
	return wait/2 + rand.N(wait/2)
}

func (b *backoff) reset() { b.attempts = 0 }

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
