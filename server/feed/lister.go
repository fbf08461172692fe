package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

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
		if !f.isRetired(id) { // else these are the partitions of that one
			l.startReaders(readersCtx, numbers)
		}
		f.found(id)
		l.measureLag(numbers)
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
	if id, of := l.identify(); id != none {
		return of, id, nil
	}
	return numbers, none, nil
}

// errNoTopic is what a Kafka says that answers.
type errNoTopic struct{ topic string }

func (e errNoTopic) Error() string { return fmt.Sprintf("feed: there is no topic %q yet", e.topic) }

// identify asks which topic of that name it is, and for that one's partitions: another broker's answer may
// be about the topic before. The id is zero where the broker does not tell; then a topic that is made anew is noticed only by
// offsets that are out of its range.
func (l *lister) identify() (id sarama.Uuid, partitions []int32) {
	broker := l.client.LeastLoadedBroker()
	if broker == nil {
		return id, nil
	}
	answer, err := broker.GetMetadata(sarama.NewMetadataRequest(l.feed.config.Version, []string{l.feed.options.Topic}))
	if err != nil {
		return id, nil
	}
	for _, t := range answer.Topics {
		if t.Name == l.feed.options.Topic && t.Err == sarama.ErrNoError {
			id = t.Uuid
			for _, p := range t.Partitions {
				partitions = append(partitions, p.ID)
			}
		}
	}
	return id, partitions
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

// measureLag asks for the ends of all logs. A reader knows the end of its log as of the last fetch, and one
// that fails, or waits for room, does not fetch.
func (l *lister) measureLag(numbers []int32) {
	f := l.feed
	questions := make(map[*sarama.Broker]*sarama.OffsetRequest)
	for _, number := range numbers {
		leader, err := l.client.Leader(f.options.Topic, number)
		if err != nil {
			continue // its reader says so
		}
		if questions[leader] == nil {
			questions[leader] = sarama.NewOffsetRequest(f.config.Version)
		}
		questions[leader].AddBlock(f.options.Topic, number, sarama.OffsetNewest, 1)
	}
	for leader, question := range questions {
		answer, err := leader.GetAvailableOffsets(question)
		if err != nil {
			continue
		}
		for _, p := range f.all() {
			block := answer.GetBlock(f.options.Topic, p.number)
			if next := p.passed(); next >= 0 && block != nil && block.Err == sarama.ErrNoError && len(block.Offsets) == 1 {
				f.options.Stats.Partition(p.number).Lag.Store(max(0, block.Offsets[0]-next))
			}
		}
	}
}
