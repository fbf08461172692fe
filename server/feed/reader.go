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

// reader reads one partition for as long as its topic is there.
type reader struct {
	feed     *Feed
	client   sarama.Client
	consumer sarama.Consumer
	at       *partition

	ahead  time.Time // since when the next offset has been beyond the end of the log; zero: it is not
	lowest int64     // end of the log that was seen since
}

// A log may end before the next offset for as long as its new leader has not caught up with the old one.
const aheadPatience = 10 * time.Second

// run reads until ctx ends. from is where a partition begins whose place is not known: oldest or newest.
func (r *reader) run(ctx context.Context, from int64) {
	var wait backoff
	for {
		consumer, err := r.open(from)
		if err == nil {
			wait.reset()
			r.feed.opened(r.at)
			err = r.read(ctx, consumer)
		}
		if ctx.Err() != nil {
			return
		}
		r.feed.failed(r.at, err)
		listing := r.feed.nextListing()
		// Whether it is worth while to try again, and with which leader, is for the lister to find out.
		r.feed.kick()
		sleep(ctx, wait.next())
		select {
		case <-ctx.Done():
			return
		case <-listing:
		}
	}
}

// open begins to read at the next offset. Where that is gone, it goes on at the oldest that is left.
func (r *reader) open(from int64) (sarama.PartitionConsumer, error) {
	topic, number := r.feed.options.Topic, r.at.number
	if r.at.next.Load() < 0 {
		first, err := r.client.GetOffset(topic, number, from)
		if err != nil {
			return nil, fmt.Errorf("first offset: %w", plain(err))
		}
		r.at.next.Store(first)
	}
	next := r.at.next.Load()
	r.at.asked.Store(next)
	consumer, err := r.consumer.ConsumePartition(topic, number, next)
	if errors.Is(err, sarama.ErrOffsetOutOfRange) {
		if next, err = r.comeBack(next); err != nil {
			return nil, err
		}
		r.at.next.Store(next)
		consumer, err = r.consumer.ConsumePartition(topic, number, next)
	}
	if err != nil {
		return nil, fmt.Errorf("from offset %d: %w", next, plain(err))
	}
	r.ahead = time.Time{}
	return consumer, nil
}

// comeBack finds the offset to go on at when the next one is not in the log.
func (r *reader) comeBack(next int64) (int64, error) {
	topic, number := r.feed.options.Topic, r.at.number
	oldest, err := r.client.GetOffset(topic, number, sarama.OffsetOldest)
	if err != nil {
		return 0, fmt.Errorf("oldest offset: %w", plain(err))
	}
	if gap := oldest - next; gap > 0 {
		r.feed.options.Stats.Partition(number).Skipped.Add(uint64(gap))
		r.feed.log.Warn("feed: the next offset is gone; going on at the oldest that is left",
			"partition", number, "next", next, "oldest", oldest, "skipped", gap)
		return oldest, nil
	}
	if r.feed.topicIsUnknown() {
		r.feed.log.Warn("feed: the log ends before the next offset, so it is a new one; it is read from its first record",
			"partition", number, "next", next, "oldest", oldest)
		return oldest, nil
	}
	return r.waitForLog(next)
}

// waitForLog is about a log that is shorter than it was, of the topic that it was. Its new leader may not
// know yet how much of it is safe; if it stays short, Kafka has lost its end.
func (r *reader) waitForLog(next int64) (int64, error) {
	newest, err := r.client.GetOffset(r.feed.options.Topic, r.at.number, sarama.OffsetNewest)
	if err != nil {
		return 0, fmt.Errorf("newest offset: %w", plain(err))
	}
	if newest >= next {
		return next, nil
	}
	if r.ahead.IsZero() {
		r.ahead, r.lowest = time.Now(), newest
	}
	r.lowest = min(r.lowest, newest) // what is appended meanwhile is new
	if time.Since(r.ahead) < aheadPatience {
		return 0, fmt.Errorf("the log ends at %d, before the next offset, %d", newest, next)
	}
	r.feed.log.Warn("feed: Kafka has lost the end of a log; going on where it ended then", "partition", r.at.number, "next", next, "end", r.lowest)
	return r.lowest, nil
}

// read publishes a partition's records until ctx ends or something fails; then it is closed, and the
// partition may be opened anew.
func (r *reader) read(ctx context.Context, consumer sarama.PartitionConsumer) error {
	var discarding sync.WaitGroup
	defer func() {
		consumer.AsyncClose()
		discarding.Go(func() {
			for range consumer.Messages() { // sarama closes both when the partition is free again
			}
		})
		for range consumer.Errors() {
		}
		discarding.Wait()
	}()
	state := r.feed.options.Stats.Partition(r.at.number)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err, ok := <-consumer.Errors():
			if !ok {
				return errors.New("sarama has given the partition up")
			}
			r.settle(consumer)
			return plain(err.Err)
		case message, ok := <-consumer.Messages():
			if !ok {
				return errors.New("sarama has given the partition up")
			}
			r.at.waiting.Store(int32(len(consumer.Messages()) + 1))
			if err := r.take(ctx, message); err != nil {
				return err
			}
			r.at.next.Store(message.Offset + 1)
			r.at.waiting.Store(int32(len(consumer.Messages())))
			state.Lag.Store(max(0, consumer.HighWaterMarkOffset()-message.Offset-1))
		}
	}
}

// settle has a partition that fails go on behind what sarama has passed over: it may be gone by then, and
// is not missed. sarama asks for an offset when all records before it are with the reader or in its channel.
func (r *reader) settle(consumer sarama.PartitionConsumer) {
	asked := r.at.asked.Load() // before the look at the channel
	if len(consumer.Messages()) == 0 && asked > r.at.next.Load() {
		r.at.next.Store(asked)
	}
}

// take publishes one record. Its error is ctx's.
func (r *reader) take(ctx context.Context, m *sarama.ConsumerMessage) error {
	at := chat.Cursor{Partition: m.Partition, Offset: m.Offset}
	record, err := chat.DecodeRecord(m.Value, r.feed.options.MaxRecordBytes)
	if err != nil {
		var reason chat.Undecodable
		if !errors.As(err, &reason) {
			panic("feed: an error of DecodeRecord is no reason: " + err.Error())
		}
		r.feed.options.Hub.Skip(at, reason)
		r.feed.bad.note(at, reason)
		return nil
	}
	return r.feed.options.Hub.Publish(ctx, at, m.Timestamp, m.Value, record)
}

// badRecords logs values that are no records, at most one line a second.
type badRecords struct {
	log *slog.Logger

	mu     sync.Mutex
	last   time.Time // guarded by mu
	silent int       // guarded by mu: not logged since then
}

func (b *badRecords) note(at chat.Cursor, reason chat.Undecodable) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.last) < time.Second {
		b.silent++
		return
	}
	b.log.Warn("feed: skipped a value that is no record", "reason", reason.String(),
		"partition", at.Partition, "offset", at.Offset, "skipped_before_unlogged", b.silent)
	b.last, b.silent = time.Now(), 0
}

var _ Hub = (*monitor.Hub)(nil)
