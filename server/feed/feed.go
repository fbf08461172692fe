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
	"fmt"
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

// lister keeps a reader for each of the topic's partitions. It belongs to Run's goroutine.
type lister struct {
	feed     *Feed
	client   sarama.Client
	consumer sarama.Consumer
	wait     backoff

	readers sync.WaitGroup
	stop    context.CancelFunc // ends the readers of the present topic
}

func (l *lister) run(ctx context.Context) {
	f := l.feed
	readersCtx, stop := context.WithCancel(ctx)
	l.stop = stop
	defer func() { l.stop(); l.readers.Wait() }()
	for ctx.Err() == nil {
		numbers, id, err := l.look()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.lookFailed(err)
			sleep(ctx, l.wait.next())
			continue
		}
		if f.isAnother(id) {
			f.log.Warn("feed: the topic has been made anew; it is read from its first records", "topic", f.options.Topic)
			l.stop()
			l.readers.Wait()
			readersCtx, l.stop = context.WithCancel(ctx)
			f.forgetPartitions()
		}
		l.startReaders(readersCtx, numbers)
		f.found(id)
		l.pause(ctx)
	}
}

// pause waits for the next look: at once while something fails, but not faster than the backoff.
func (l *lister) pause(ctx context.Context) {
	if l.feed.failing() {
		sleep(ctx, l.wait.next())
	} else {
		l.wait.reset()
	}
	timer := time.NewTimer(refreshEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.feed.kicked:
		sleep(ctx, retryFirst/2) // others fail for the same reason
	case <-timer.C:
	}
}

// look finds the topic's partitions, and which topic of that name it is.
func (l *lister) look() ([]int32, sarama.Uuid, error) {
	topic := l.feed.options.Topic
	var none sarama.Uuid
	// Partitions without a leader are no reason not to read the others.
	if err := l.client.RefreshMetadata(topic); err != nil && !errors.Is(err, sarama.ErrLeaderNotAvailable) {
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return nil, none, errNoTopic{topic}
		}
		return nil, none, fmt.Errorf("feed: topic %q at %v: %w", topic, l.feed.options.Brokers, plain(err))
	}
	numbers, err := l.client.Partitions(topic)
	if err != nil {
		return nil, none, fmt.Errorf("feed: partitions of topic %q: %w", topic, plain(err))
	}
	return numbers, l.topicID(), nil
}

// errNoTopic is what a Kafka says that answers.
type errNoTopic struct{ topic string }

func (e errNoTopic) Error() string { return fmt.Sprintf("feed: there is no topic %q yet", e.topic) }

// topicID is zero where the broker does not tell; then a topic that is made anew is noticed only by
// offsets that are out of its range.
func (l *lister) topicID() (id sarama.Uuid) {
	broker := l.client.LeastLoadedBroker()
	if broker == nil {
		return id
	}
	answer, err := broker.GetMetadata(sarama.NewMetadataRequest(l.feed.config.Version, []string{l.feed.options.Topic}))
	if err != nil {
		return id
	}
	for _, t := range answer.Topics {
		if t.Name == l.feed.options.Topic && t.Err == sarama.ErrNoError {
			id = t.Uuid
		}
	}
	return id
}

// startReaders starts a reader for each partition that has none, and tells the others who leads.
func (l *lister) startReaders(ctx context.Context, numbers []int32) {
	f := l.feed
	from := sarama.OffsetOldest
	if f.firstListing() {
		from = sarama.OffsetNewest
	}
	for _, number := range numbers {
		p, isNew := f.partition(number)
		p.setSources(l.sources(number))
		if isNew {
			l.readers.Go(func() { (&reader{feed: f, client: l.client, consumer: l.consumer, at: p}).run(ctx, from) })
		}
	}
}

// sources is the addresses of the brokers that a partition may be read from.
func (l *lister) sources(number int32) []string {
	topic := l.feed.options.Topic
	if l.feed.options.Rack == "" {
		if leader, err := l.client.Leader(topic, number); err == nil {
			return []string{leader.Addr()}
		}
		return nil
	}
	var addresses []string
	replicas, err := l.client.Replicas(topic, number)
	if err != nil {
		return nil
	}
	for _, id := range replicas {
		if broker, err := l.client.Broker(id); err == nil {
			addresses = append(addresses, broker.Addr())
		}
	}
	return addresses
}
