package main

import (
	"errors"
	"time"

	"chatmonitor/server/app"
)

// pace is a connection's account of its messages. It belongs to the reader.
type pace struct {
	due     uint32 // as app.Pace wants it
	counted uint32 // tick of the last message
}

var errTooFast = errors.New("goroutine: too many messages in a second")

// tooFast counts a message or a ping, and says whether it is one too many.
func (c *conn) tooFast() bool {
	limit := c.shard.server.app.pace
	if !limit.Limited() {
		return false
	}
	now, tick := app.PaceNow(), c.shard.tick.Load()
	if tick-c.pace.counted > ticks(time.Second) {
		c.pace.due = now
	}
	c.pace.counted = tick
	return !limit.Take(&c.pace.due, now)
}
