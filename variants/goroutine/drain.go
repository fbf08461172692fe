package main

import (
	"context"
	"time"

	"github.com/gorilla/websocket"

	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

var drainingNotice = newMessage(websocket.TextMessage, chat.AppendNotice(nil, chat.Draining))

// farewell is a shard's part in the drain. All connections of all shards stand in one line, and leave
// from its head at an even pace: the first at once, the last when the spread is over.
type farewell struct {
	began  time.Time
	spread time.Duration
	total  int // length of the line
	before int // connections of other shards ahead of ours
	sent   int // of ours
	over   bool
}

// due is how many of ours should have been sent away by now.
func (f *farewell) due(now time.Time) int {
	elapsed := now.Sub(f.began)
	if elapsed >= f.spread {
		return f.sent + 1<<30 // also those that came since
	}
	return 1 + int(float64(f.total-1)*(float64(elapsed)/float64(f.spread))) - f.before
}

// drain sends everybody away, and returns when nobody is left or the time for it is over.
func (s *server) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), s.app.config.Drain)
	defer cancel()
	f := farewell{began: time.Now(), spread: s.app.config.Drain * 6 / 10} // the rest is the peers', to answer
	ahead := make([]int, len(s.shards))
	for i, sh := range s.shards {
		ahead[i] = f.total
		sh.do(nil, func() { f.total += len(sh.rosters[open]) })
	}
	for i, sh := range s.shards {
		own := f
		own.before = ahead[i]
		sh.do(nil, func() {
			sh.leaving = &own
			sh.sendSomeAway(time.Now().Add(budget))
		})
	}
	if !s.guests.shutWhenGone(ctx) {
		s.app.log.Warn("clients were still connected at the end of the drain", "clients", s.guests.present())
	}
}

// sendSomeAway sends away those whose turn it is.
func (sh *shard) sendSomeAway(deadline time.Time) {
	f := sh.leaving
	if f == nil {
		return
	}
	due := f.due(time.Now())
	for n := 1; f.sent < due && len(sh.rosters[open]) > 0; n++ {
		f.sent++
		sh.rosters[open][len(sh.rosters[open])-1].sendAway()
		if n%connsPerLook == 0 && time.Now().After(deadline) {
			return
		}
	}
}

func (c *conn) sendAway() {
	c.send(drainingNotice)
	c.Close(monitor.Draining)
}
