package main

import (
	"context"
	"fmt"
	"time"

	"chatmonitor/server/chat"
)

const (
	inboxFrames = 1024
	// A push is at most this much longer than its record.
	pushOverheadBytes = 128
	// Frames that wait go out together as far as they fit.
	batchBytes = 256 << 10
)

// Publish is feed.Hub's: it frames the record once, and gives it to every loop that has receivers. It waits for a
// loop whose inbox is full. Writing to the sockets from here would save the wake-up, but was seen to take more CPU
// time and to bring a record no sooner, and would leave thousands of receivers to one goroutine.
func (s *server) Publish(ctx context.Context, at chat.Cursor, _ time.Time, value []byte, _ chat.Record) error {
	var frame []byte
	for _, l := range s.loops {
		if l.receiving.Load() == 0 {
			continue
		}
		if frame == nil {
			frame = pushFrame(at, value)
		}
		select {
		case l.inbox <- frame:
		case <-ctx.Done():
			return fmt.Errorf("floor: publish: %w", ctx.Err())
		}
		l.ring()
	}
	return nil
}

// Skip is feed.Hub's; nobody counts here.
func (s *server) Skip(chat.Cursor, chat.Undecodable) {}

// Notify is feed.Hub's; the receivers get records and nothing else.
func (s *server) Notify(context.Context, []byte) error { return nil }

// pushFrame leaves room for the head before it knows the length.
func pushFrame(at chat.Cursor, value []byte) []byte {
	b := make([]byte, maxFrameHead, len(value)+pushOverheadBytes)
	b = chat.AppendPush(b, at, value)
	var room [maxFrameHead]byte
	head := appendFrameHead(room[:0], opText, len(b)-maxFrameHead)
	b = b[maxFrameHead-len(head):]
	copy(b, head)
	return b
}

// deliver writes the frames that wait to all receivers. Those that come meanwhile ring again.
func (l *loop) deliver() {
	l.rung.Store(false) // before the count: whoever comes after it rings
	waiting := len(l.inbox)
	for waiting > 0 {
		var batch []byte
		batch, waiting = l.nextBatch(waiting)
		// From the end: a receiver that is closed on the way is taken out.
		for i := len(l.receivers) - 1; i >= 0; i-- {
			l.send(l.receivers[i], batch)
		}
	}
}

// nextBatch takes frames from the inbox, joined as far as they fit; a single one is not copied.
func (l *loop) nextBatch(waiting int) (batch []byte, left int) {
	first := <-l.inbox
	if waiting == 1 {
		return first, 0
	}
	l.batch = append(l.batch[:0], first...)
	for waiting--; waiting > 0 && len(l.batch) < batchBytes; waiting-- {
		l.batch = append(l.batch, <-l.inbox...)
	}
	return l.batch, waiting
}
