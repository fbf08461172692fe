package main

import (
	"time"

	"github.com/gorilla/websocket"

	"chatmonitor/server/monitor"
)

const (
	// After a Close, the time to get what is written out; then the peer has lingerWithin to read it.
	flushWithin = 8 * time.Second
	// Ticks between two looks at the connections that are closing.
	closingEvery = 10
	// Between two looks at the clock, so many connections.
	connsPerLook = 16
)

// ticked is the shard's clock: what connections do not time themselves, because a timer for each would
// cost more than a walk over all.
func (sh *shard) ticked() {
	deadline := time.Now().Add(budget)
	tick := sh.tick.Add(1)
	if tick%closingEvery == 0 {
		sh.endLate(tick)
	}
	sh.sendSomeAway(deadline)
	sh.walk(tick, deadline)
}

// endLate ends the connections that have had their time to close.
func (sh *shard) endLate(tick uint32) {
	for _, c := range sh.rosters[closing] {
		limit := ticks(flushWithin + lingerWithin)
		if c.flushed.Load() {
			limit = ticks(lingerWithin)
			if !c.lingers {
				c.lingers, c.since = true, tick
			}
		}
		if tick-c.since >= limit {
			c.hangUp() // its reader then has it forgotten
		}
	}
}

// walk looks at some of the open connections, so that it comes round to each four times in an idle time,
// or as fast as the budget lets it.
func (sh *shard) walk(tick uint32, deadline time.Time) {
	idle, n := sh.server.idleTicks, len(sh.rosters[open])
	if idle == 0 || n == 0 {
		return
	}
	round := max(1, int(idle)/4)
	for visits := (n + round - 1) / round; visits > 0; visits-- {
		if sh.hand--; sh.hand < 0 || sh.hand >= len(sh.rosters[open]) {
			sh.hand = len(sh.rosters[open]) - 1
		}
		if sh.hand < 0 {
			return
		}
		sh.visit(sh.rosters[open][sh.hand], tick, idle)
		if visits%connsPerLook == 0 && time.Now().After(deadline) {
			return
		}
	}
}

var pingMessage = newMessage(websocket.PingMessage, nil)

func (sh *shard) visit(c *conn, tick, idle uint32) {
	heard := c.heard.Load()
	if tick-heard >= silences*idle {
		c.Close(monitor.PeerSilent)
		return
	}
	if !sh.server.profile.walkPings {
		return
	}
	if due, _ := c.pings.due(heard, tick, idle); due {
		c.send(pingMessage)
	}
}

// endAll ends every connection at once, and those that are still to come.
func (sh *shard) endAll() {
	sh.leaving = &farewell{over: true}
	for len(sh.rosters[open]) > 0 {
		sh.rosters[open][0].leave(monitor.Shutdown, nil)
	}
	for _, c := range sh.rosters[closing] {
		c.hangUp()
	}
}
