package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"chatmonitor/server/chat"
)

// Limits bound what one session may hold.
type Limits struct {
	MaxRules int // rules of a session
	// MaxRulesBytes is what the rules of a session may take together; /rules answers with all of them at once.
	MaxRulesBytes int
	Rule          chat.RuleLimits
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
// the record's JSON, and is kept. The records of a partition come one by one, in order.
func (h *Hub) Publish(ctx context.Context, at chat.Cursor, timestamp time.Time, value []byte, record chat.Record) error {
	p := publications.Get().(*publication)
	p.record, p.value, p.at, p.timestamp = record, value, at, timestamp
	p.push.record, p.push.account = p, &h.stats.Partition(at.Partition).Account
	p.push.account.consume(at.Offset)
	h.stats.recordHandled(&p.record)
	if len(record.Text) > longTextBytes && h.stats.haveKeywords() {
		p.prepare()
	}
	return h.offer(ctx, p, func(s *Shard) bool { return s.rules.Load() > 0 })
}

// Skip counts a Kafka value that is not a record.
func (h *Hub) Skip(at chat.Cursor, reason chat.Undecodable) {
	account := &h.stats.Partition(at.Partition).Account
	account.consume(at.Offset)
	account.undecodable[reason].Add(1)
	h.stats.Undecodable(reason).Add(1)
}

// Notify sends a notice to every session, after the records that were published before, at the pace of
// records. Like Publish, it waits while there is no room.
func (h *Hub) Notify(ctx context.Context, notice []byte) error {
	p := publications.Get().(*publication)
	p.notice, p.push.payload = true, notice
	return h.offer(ctx, p, func(s *Shard) bool { return s.open.Load() > 0 })
}

// offer hands p to the shards that want it.
func (h *Hub) offer(ctx context.Context, p *publication, wants func(*Shard) bool) error {
	p.unanswered.Store(1) // offer itself, until all are asked
	defer h.answered(p, 0, 0)
	for _, s := range h.shards {
		if !wants(s) {
			continue
		}
		p.unanswered.Add(1)
		if !s.offer(ctx.Done(), p) {
			h.answered(p, 0, 0)
			return fmt.Errorf("monitor: publish: %w", ctx.Err())
		}
	}
	return nil
}

var publications = sync.Pool{New: func() any { return new(publication) }}

// answered takes one shard's answer; the last one closes the record's account.
func (h *Hub) answered(p *publication, matches, receivers int) {
	p.matches.Add(int64(matches))
	p.receivers.Add(int64(receivers))
	if p.unanswered.Add(-1) > 0 {
		return
	}
	if !p.notice {
		h.count(p)
	}
	p.again()
	publications.Put(p)
}

func (h *Hub) count(p *publication) {
	matched := p.matches.Load() > 0
	h.stats.recordDecided(&p.record, matched)
	if matched {
		p.push.account.matches.Add(1)
	} else {
		p.push.account.unmatched.Add(1)
	}
	if n := p.receivers.Load(); n > 0 {
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
