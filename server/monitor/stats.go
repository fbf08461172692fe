package monitor

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatmonitor/server/chat"
)

// Stats counts what happens, for whoever reads it. Every field may be used from any goroutine.
type Stats struct {
	Connected  atomic.Int64  // open WebSocket connections
	Upgraded   atomic.Uint64 // upgrades completed
	PlainHTTP  atomic.Uint64 // connections that sent a plain request
	Sessions   atomic.Int64  // open sessions: connections to /ws
	QueuedOut  atomic.Int64  // bytes that wait in the process for clients to read
	Written    atomic.Uint64 // pushes of records handed to connections
	NetErrors  atomic.Uint64 // failures of the network layer
	AppErrors  atomic.Uint64 // handlers that panicked
	FeedErrors atomic.Uint64 // failures between the feed and Kafka
	LogDropped atomic.Uint64 // log lines that could not be written
	Reconnects atomic.Uint64 // times that the feed connected to Kafka again

	Matched, Unmatched atomic.Uint64 // records

	Latency *Histogram // seconds from a record's timestamp to the socket write

	closed, refused, dropped [reasons]atomic.Uint64
	undecodable              [chat.Undecodables]atomic.Uint64
	rulesByShape             [1 << (chat.Text + 1)]atomic.Int64

	decided  series[DecidedCounts]
	handled  series[atomic.Uint64]
	received series[ReceiverCounts]
	loops    sync.Map // int -> *atomic.Int64, nanoseconds

	partitions        atomic.Pointer[[]*Partition] // by number, nil where there is none; replaced, not changed
	growingPartitions sync.Mutex
}

// NewStats keeps at most maxSeries series of each metric whose labels come from records.
func NewStats(maxSeries int) *Stats {
	s := &Stats{Latency: NewHistogram(
		0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)}
	s.handled.init(maxSeries)
	s.decided.init(maxSeries)
	s.received.init(maxSeries)
	s.partitions.Store(new([]*Partition))
	return s
}

// Closed, Refused, Dropped: connections closed, connections refused, pushes dropped, for a reason.
func (s *Stats) Closed(r Reason) *atomic.Uint64  { return &s.closed[r] }
func (s *Stats) Refused(r Reason) *atomic.Uint64 { return &s.refused[r] }
func (s *Stats) Dropped(r Reason) *atomic.Uint64 { return &s.dropped[r] }

// Undecodable counts Kafka values that are not records.
func (s *Stats) Undecodable(u chat.Undecodable) *atomic.Uint64 { return &s.undecodable[u] }

// RulesByShape calls visit with the number of rules of each shape that a rule can have.
func (s *Stats) RulesByShape(visit func(shape chat.FieldSet, rules int64)) {
	for shape := range s.rulesByShape {
		visit(chat.FieldSet(shape), s.rulesByShape[shape].Load())
	}
}

// haveKeywords reports whether some rule has keywords.
func (s *Stats) haveKeywords() bool {
	for shape := 1 << chat.Text; shape < len(s.rulesByShape); shape++ {
		if s.rulesByShape[shape].Load() > 0 {
			return true
		}
	}
	return false
}

// LoopBusy is the time, in nanoseconds, that a shard's goroutine was not waiting.
func (s *Stats) LoopBusy(shard int) *atomic.Int64 {
	busy, _ := s.loops.LoadOrStore(shard, new(atomic.Int64))
	return busy.(*atomic.Int64)
}

// LoopsBusy calls visit for each loop.
func (s *Stats) LoopsBusy(visit func(loop int, busy time.Duration)) {
	s.loops.Range(func(loop, busy any) bool {
		visit(loop.(int), time.Duration(busy.(*atomic.Int64).Load()))
		return true
	})
}

// Partition is how the feed fares with one partition.
type Partition struct {
	Lag       atomic.Int64  // records between the newest and the last that was read
	LastFetch atomic.Int64  // when Kafka last answered, unix nanoseconds
	Skipped   atomic.Uint64 // offsets that were gone before they could be read

	Account Account
}

// Partition is the state of the partition of that number.
func (s *Stats) Partition(number int32) *Partition {
	if all := *s.partitions.Load(); int(number) < len(all) && all[number] != nil {
		return all[number]
	}
	s.growingPartitions.Lock()
	defer s.growingPartitions.Unlock()
	all := slices.Clone(*s.partitions.Load())
	if missing := int(number) + 1 - len(all); missing > 0 {
		all = append(all, make([]*Partition, missing)...)
	}
	if all[number] == nil {
		all[number] = &Partition{Account: Account{totals: s}}
		s.partitions.Store(&all)
	}
	return all[number]
}

// Partitions calls visit for each partition that the feed knows.
func (s *Stats) Partitions(visit func(number int32, p *Partition)) {
	for number, p := range *s.partitions.Load() {
		if p != nil {
			visit(int32(number), p)
		}
	}
}

// RecordLabels are the fields of a record that label a series.
type RecordLabels struct {
	Present chat.FieldSet // fields that the record has
	IDs     [chat.IDFields]int64
	Other   bool // all that came after the allowed number of series
}

func labelsOf(r *chat.Record, fields chat.FieldSet) RecordLabels {
	l := RecordLabels{Present: r.Present & fields}
	for f := range l.IDs {
		if l.Present.Has(chat.Field(f)) {
			l.IDs[f] = r.IDs[f]
		}
	}
	return l
}

const (
	handledLabels  chat.FieldSet = 1<<chat.AppID | 1<<chat.AgentID | 1<<chat.ServerID
	decidedLabels  chat.FieldSet = 1<<chat.AppID | 1<<chat.ServerID
	receivedLabels chat.FieldSet = 1<<chat.AgentID | 1<<chat.PID | 1<<chat.ServerID
)

func (s *Stats) recordHandled(r *chat.Record) {
	s.handled.at(labelsOf(r, handledLabels)).Add(1)
}

// DecidedCounts is the number of records that some session was sent, and of those that none was.
type DecidedCounts struct{ Matched, Unmatched atomic.Uint64 }

func (s *Stats) recordDecided(r *chat.Record, matched bool) {
	total, counts := &s.Unmatched, s.decided.at(labelsOf(r, decidedLabels))
	count := &counts.Unmatched
	if matched {
		total, count = &s.Matched, &counts.Matched
	}
	total.Add(1)
	count.Add(1)
}

// Decided calls visit with what became of the decodable records by app_id and server_id.
func (s *Stats) Decided(visit func(RecordLabels, *DecidedCounts)) { s.decided.each(visit) }

func (s *Stats) recordReceived(r *chat.Record, sessions int64) {
	s.received.at(labelsOf(r, receivedLabels)).observe(sessions)
}

// Handled calls visit with the number of decodable records by app_id, agent_id and server_id.
func (s *Stats) Handled(visit func(RecordLabels, uint64)) {
	s.handled.each(func(l RecordLabels, n *atomic.Uint64) { visit(l, n.Load()) })
}

// Received calls visit with how many sessions a record was pushed to, by agent_id, pid and server_id.
func (s *Stats) Received(visit func(RecordLabels, *ReceiverCounts)) { s.received.each(visit) }

// ReceiverBuckets are the upper bounds of ReceiverCounts.
var ReceiverBuckets = [...]int64{1, 2, 4, 8, 16, 32, 64}

// ReceiverCounts is a histogram of the number of sessions that a record was pushed to.
type ReceiverCounts struct {
	Counts [len(ReceiverBuckets) + 1]atomic.Uint64 // each its own bucket, the last without bound
	Sum    atomic.Uint64
}

func (c *ReceiverCounts) observe(sessions int64) {
	i := 0
	for i < len(ReceiverBuckets) && sessions > ReceiverBuckets[i] {
		i++
	}
	c.Counts[i].Add(1)
	c.Sum.Add(uint64(sessions))
}

// series is one value for each combination of labels, up to a limit; what comes after shares one.
type series[V any] struct {
	max int

	mu     sync.Mutex
	values map[RecordLabels]*V // guarded by mu
}

func (s *series[V]) init(maxSeries int) {
	// The series of records without any label is there from the start: a family must be served
	// before its first record.
	s.values = map[RecordLabels]*V{{}: new(V)}
	s.max = maxSeries
}

func (s *series[V]) at(l RecordLabels) *V {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.values[l]
	if v == nil {
		if len(s.values) >= s.max {
			l = RecordLabels{Other: true}
			if v = s.values[l]; v != nil {
				return v
			}
		}
		v = new(V)
		s.values[l] = v
	}
	return v
}

func (s *series[V]) each(visit func(RecordLabels, *V)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l, v := range s.values {
		visit(l, v)
	}
}

// Histogram counts durations in seconds.
type Histogram struct {
	Bounds []float64       // upper bounds, rising; static after construction
	Counts []atomic.Uint64 // each its own bucket, the last without bound
	Nanos  atomic.Int64    // sum
}

// NewHistogram has the given upper bounds, in seconds.
func NewHistogram(bounds ...float64) *Histogram {
	return &Histogram{Bounds: bounds, Counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts n observations of d; a negative d, of clocks that disagree, counts as 0.
func (h *Histogram) Observe(d time.Duration, n int) {
	d = max(d, 0)
	i := 0
	for i < len(h.Bounds) && d.Seconds() > h.Bounds[i] {
		i++
	}
	h.Counts[i].Add(uint64(n))
	h.Nanos.Add(int64(d) * int64(n))
}
