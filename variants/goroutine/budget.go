package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// So many messages, or this part of the budget, may wait for a writer before whoever adds gives way.
	crowdedMessages = 64
	crowdedPart     = 4
	// A writer that could write and does not come to it is waited for this long at most.
	writerPatience = 100 * time.Millisecond
)

// waiting is what waits for a client besides the message that is being written.
type waiting struct{ messages, bytes int }

func (c *conn) crowded(w waiting) bool {
	return w.messages > crowdedMessages || w.bytes > c.shard.server.app.config.OutboundBudgetBytes/crowdedPart
}

func (c *conn) overBudget(w waiting) bool {
	s := c.shard.server
	return w.messages > s.profile.maxWaiting || w.bytes > s.app.config.OutboundBudgetBytes
}

// offer adds a message to the outbox. A burst is added faster than any writer writes it, and would use up
// the budget of a client that reads as fast as it can. So whoever adds gives way to the writer, as long as
// the kernel takes what it writes: then what waits, waits for the peer.
func (c *conn) offer(m *message) verdict {
	var deadline time.Time
	for c.out.crowded(m) && c.wire.writable() {
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(writerPatience)
		}
		if now.After(deadline) {
			break
		}
		runtime.Gosched()
	}
	return c.out.add(m)
}

// writable says whether the kernel takes bytes for the peer, or has an error for whoever writes.
func (w *wire) writable() bool {
	raw, err := w.SyscallConn()
	if err != nil {
		return false
	}
	ready := 0
	controlErr := raw.Control(func(fd uintptr) {
		ready, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
	})
	return controlErr == nil && err == nil && ready > 0
}
