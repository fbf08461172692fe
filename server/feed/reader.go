package feed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"chatmonitor/server/chat"
)

// read publishes a partition's records until ctx ends or sarama gives the partition up.
func (f *Feed) read(ctx context.Context, reader sarama.PartitionConsumer, number int32, at *place) {
	defer func() {
		reader.AsyncClose()
		for range reader.Messages() { // sarama closes it when the reader is gone
		}
	}()
	state := f.options.Stats.Partition(number)
	var failing error
	for {
		select {
		case <-ctx.Done():
			return
		case err, ok := <-reader.Errors():
			if !ok {
				return
			}
			f.options.Stats.FeedErrors.Add(1)
			if failing == nil || failing.Error() != err.Err.Error() {
				f.log.Warn("feed: reading a partition fails; it is tried again", "partition", number, "err", err.Err)
			}
			failing = err.Err
		case message, ok := <-reader.Messages():
			if !ok {
				return
			}
			if failing != nil {
				f.log.Info("feed: the partition is read again", "partition", number)
				failing = nil
			}
			if f.take(ctx, message) != nil {
				return
			}
			f.advance(at, message.Offset+1)
			state.LastFetch.Store(time.Now().UnixNano())
			state.Lag.Store(max(0, reader.HighWaterMarkOffset()-message.Offset-1))
		}
	}
}

// take publishes one record. Its error is ctx's.
func (f *Feed) take(ctx context.Context, m *sarama.ConsumerMessage) error {
	record, err := chat.DecodeRecord(m.Value, f.options.MaxRecordBytes)
	if err != nil {
		var reason chat.Undecodable
		if !errors.As(err, &reason) {
			panic("feed: an error of DecodeRecord is no reason: " + err.Error())
		}
		f.options.Hub.Skip(reason)
		f.bad.note(m, reason)
		return nil
	}
	at := chat.Cursor{Partition: m.Partition, Offset: m.Offset}
	return f.options.Hub.Publish(ctx, at, m.Timestamp, m.Value, record)
}

// badRecords logs values that are no records, at most one line a second.
type badRecords struct {
	log *slog.Logger

	mu     sync.Mutex
	last   time.Time // guarded by mu
	silent int       // guarded by mu: not logged since then
}

func (b *badRecords) note(m *sarama.ConsumerMessage, reason chat.Undecodable) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.last) < time.Second {
		b.silent++
		return
	}
	b.log.Warn("feed: skipped a value that is no record", "reason", reason.String(),
		"partition", m.Partition, "offset", m.Offset, "skipped_before_unlogged", b.silent)
	b.last, b.silent = time.Now(), 0
}
