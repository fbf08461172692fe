// Package feed reads the chat records from Kafka and gives them to a hub. It reads every
// partition without a consumer group, because every server needs every record. It neither matches
// nor stores: what the hub cannot take yet stays in Kafka.
//
//	client --list every 10 s--> partitions --one reader each--> chat.DecodeRecord --> Hub.Publish
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	Skip(reason chat.Undecodable)
}

// Options configure a Feed. Every field is needed.
type Options struct {
	Brokers        []string
	Topic          string
	MaxRecordBytes int
	Hub            Hub
	Stats          *monitor.Stats
	Log            *slog.Logger
}

const (
	refreshEvery = 10 * time.Second // looks for new partitions
	retryFirst   = 250 * time.Millisecond
	retryMax     = 10 * time.Second
)

// Feed reads one topic.
type Feed struct {
	options Options
	config  *sarama.Config
	log     *slog.Logger
	bad     badRecords

	mu         sync.Mutex
	listed     bool             // guarded by mu: the topic was looked up once; what comes later is new
	caughtUp   bool             // guarded by mu
	connected  bool             // guarded by mu
	trouble    string           // guarded by mu: the last error, until it is over
	partitions map[int32]*place // guarded by mu
}

// place is where a partition's reader is. Its fields are guarded by Feed.mu.
type place struct {
	next    int64 // offset; -1 until it is located
	reading bool
}

// New makes a feed; Run reads.
func New(o Options) *Feed {
	f := &Feed{options: o, config: saramaConfig(), log: o.Log, partitions: make(map[int32]*place)}
	f.bad.log = o.Log
	return f
}

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "chatmonitor"
	c.Version = sarama.V2_8_0_0
	c.Metadata.AllowAutoTopicCreation = false
	c.Metadata.RefreshFrequency = refreshEvery
	c.Metadata.Retry.Max = 0 // Run has its own patience
	c.Net.DialTimeout = 5 * time.Second
	c.Consumer.Return.Errors = true
	c.Consumer.Retry.Backoff = time.Second
	c.Net.Proxy.Enable = true
	c.Net.Proxy.Dialer = guardedDialer{timeout: c.Net.DialTimeout}
	return c
}

// Run reads until ctx ends. A Kafka that is not there is tried again for ever.
func (f *Feed) Run(ctx context.Context) {
	wait := retryFirst
	for attempt := 0; ctx.Err() == nil; attempt++ {
		if attempt > 0 {
			f.options.Stats.Reconnects.Add(1)
		}
		began := time.Now()
		err := f.connectAndRead(ctx)
		if ctx.Err() != nil {
			return
		}
		f.failed(err)
		if time.Since(began) > retryMax {
			wait = retryFirst
		}
		sleep(ctx, wait)
		wait = min(2*wait, retryMax)
	}
}

func (f *Feed) connectAndRead(ctx context.Context) error {
	client, err := sarama.NewClient(f.options.Brokers, f.config)
	if err != nil {
		return fmt.Errorf("feed: connect to %v: %w", f.options.Brokers, err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			f.log.Debug("feed: closing the Kafka client", "err", err)
		}
	}()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return fmt.Errorf("feed: consumer: %w", err)
	}
	var readers sync.WaitGroup
	defer readers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.log.Info("feed: connected to Kafka", "brokers", f.options.Brokers)
	f.setConnected(true)
	defer f.setConnected(false)

	ended := make(chan struct{}, 1)
	for {
		if err := f.startReaders(ctx, client, consumer, &readers, ended); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ended: // a reader has given its partition up: it is opened again
			sleep(ctx, time.Second)
		case <-time.After(refreshEvery):
		}
		if err := client.RefreshMetadata(f.options.Topic); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return fmt.Errorf("feed: metadata of topic %q: %w", f.options.Topic, err)
		}
	}
}

// startReaders starts a reader for each partition that has none.
func (f *Feed) startReaders(ctx context.Context, client sarama.Client, consumer sarama.Consumer, readers *sync.WaitGroup, ended chan<- struct{}) error {
	numbers, err := client.Partitions(f.options.Topic)
	if err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return fmt.Errorf("feed: partitions of topic %q: %w", f.options.Topic, err)
	}
	if len(numbers) == 0 {
		f.failed(fmt.Errorf("feed: there is no topic %q yet", f.options.Topic))
	}
	first := f.firstListing()
	for _, number := range numbers {
		at := f.place(number)
		next, reading := f.look(at)
		if reading {
			continue
		}
		if next < 0 {
			if next, err = f.locate(client, number, first); err != nil {
				return err
			}
			f.advance(at, next)
		}
		reader, err := f.open(client, consumer, number, at, next)
		if err != nil {
			return err
		}
		f.setReading(at, true)
		readers.Go(func() {
			f.read(ctx, reader, number, at)
			f.setReading(at, false)
			select {
			case ended <- struct{}{}:
			default:
			}
		})
	}
	f.listingDone(len(numbers))
	return nil
}

// locate finds the offset to begin at: partitions that are there at the start are read from now on,
// later ones from their first record.
func (f *Feed) locate(client sarama.Client, number int32, first bool) (int64, error) {
	from := sarama.OffsetOldest
	if first {
		from = sarama.OffsetNewest
	}
	next, err := client.GetOffset(f.options.Topic, number, from)
	if err != nil {
		return 0, fmt.Errorf("feed: offset of partition %d: %w", number, err)
	}
	return next, nil
}

// open begins to read at next, or at the oldest record that is left where next is gone.
func (f *Feed) open(client sarama.Client, consumer sarama.Consumer, number int32, at *place, next int64) (sarama.PartitionConsumer, error) {
	reader, err := consumer.ConsumePartition(f.options.Topic, number, next)
	if errors.Is(err, sarama.ErrOffsetOutOfRange) {
		oldest, offsetErr := client.GetOffset(f.options.Topic, number, sarama.OffsetOldest)
		if offsetErr != nil {
			return nil, fmt.Errorf("feed: oldest offset of partition %d: %w", number, offsetErr)
		}
		if gap := oldest - next; gap > 0 {
			f.options.Stats.Partition(number).Skipped.Add(uint64(gap))
		}
		f.log.Warn("feed: the next offset is gone; going on at the oldest", "partition", number, "next", next, "oldest", oldest)
		f.advance(at, oldest)
		next = oldest
		reader, err = consumer.ConsumePartition(f.options.Topic, number, next)
	}
	if err != nil {
		return nil, fmt.Errorf("feed: partition %d from offset %d: %w", number, next, err)
	}
	return reader, nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
