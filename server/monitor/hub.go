package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"chatmonitor/server/chat"
)

// Limits bound what one session may hold.
type Limits struct {
	MaxRules int // rules of a session
	Rule     chat.RuleLimits
}

// Options configure a Hub. Every field is needed.
type Options struct {
	Shards   int // goroutines that own sessions
	InFlight int // records that may wait for each shard; when it is full, Publish waits
	Limits   Limits
	Router   *Router
	Pool     *Pool // runs slow handlers
	Stats    *Stats
	Log      *slog.Logger
	Now      func() time.Time
}

// Hub hands each record to every shard.
type Hub struct {
	limits Limits
	router *Router
	pool   *Pool
	stats  *Stats
	log    *slog.Logger
	now    func() time.Time
	shards []*Shard
}

// NewHub makes a hub and its shards.
func NewHub(o Options) *Hub {
	h := &Hub{limits: o.Limits, router: o.Router, pool: o.Pool, stats: o.Stats, log: o.Log, now: o.Now}
	for range o.Shards {
		h.shards = append(h.shards, newShard(h, o.InFlight))
	}
	return h
}

// Shards lists the shards, each for one goroutine of the network layer.
func (h *Hub) Shards() []*Shard { return h.shards }

// Publish hands a record to every shard whose sessions have rules. It waits for a shard that has as
// many records waiting as it may, so that Kafka holds the backlog; its only error is ctx's. value is
// the record's JSON, and is kept.
func (h *Hub) Publish(ctx context.Context, at chat.Cursor, timestamp time.Time, value []byte, record chat.Record) error {
	p := &publication{record: record, value: value, at: at, timestamp: timestamp}
	p.push.encode = func() []byte {
		return chat.AppendPush(make([]byte, 0, len(value)+80), at, value)
	}
	h.stats.recordHandled(&record)
	p.unanswered.Store(1) // Publish itself, until all are asked
	defer h.answered(p, 0)
	for _, s := range h.shards {
		if s.rules.Load() == 0 {
			continue
		}
		p.unanswered.Add(1)
		if !s.offer(ctx.Done(), p) {
			h.answered(p, 0)
			return fmt.Errorf("monitor: publish: %w", ctx.Err())
		}
	}
	return nil
}

// Skip counts a Kafka value that is not a record.
func (h *Hub) Skip(reason chat.Undecodable) { h.stats.Undecodable(reason).Add(1) }

// answered takes one shard's answer; the last one closes the record's account.
func (h *Hub) answered(p *publication, sessions int) {
	p.receivers.Add(int64(sessions))
	if p.unanswered.Add(-1) > 0 {
		return
	}
	n := p.receivers.Load()
	h.stats.recordDecided(&p.record, n > 0)
	if n > 0 {
		h.stats.recordReceived(&p.record, n)
	}
}

// guard runs the handler, and reports false if it panicked.
func (h *Hub) guard(q *Request, handler Handler) (ok bool) {
	defer func() {
		if cause := recover(); cause != nil {
			h.panicked("handler of "+q.message.Path, cause)
		}
	}()
	handler.ServeWebsocket(q)
	return true
}

func (h *Hub) panicked(where string, cause any) {
	h.stats.AppErrors.Add(1)
	h.log.Error("panic; its session is closed", "in", where, "cause", cause, "stack", string(debug.Stack()))
}
