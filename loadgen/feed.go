package main

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"chatmonitor/loadgen/protocol"
	"chatmonitor/loadgen/sample"
)

// producer is where records go.
type producer interface {
	// Produce takes a record without waiting. acknowledged is called once, from any goroutine.
	Produce(value []byte, acknowledged func(partition int32, offset int64, err error))
	Close()
}

// cursor is a record's place in Kafka; offset is kept plus one, so that the zero cursor is no place.
type cursor struct {
	partition  int32
	offsetPlus int64
}

// feed is the records of a run on their way: produced on a schedule, received by the connections, accounted for.
// With one group of all, every process receives the records of every process; else each receives its own.
type feed struct {
	// static once begun
	flags    paceFlags
	seed     uint64
	share    share
	oneGroup bool
	out      producer
	excluded func(conn int) bool // gets records that are not part of the account; nil: none
	stream   *stream
	script   protocol.Script
	groups   []uint32 // this process's records go round these; none if it sends none
	members  []int    // by group
	faults   *faults

	// owned by the goroutine that paces
	next []byte // the next record, written while there is time

	// owned by the loop's goroutine
	ledger           *sample.Ledger
	order            *sample.Order
	reader           protocol.Reader
	scratch          []byte
	seen             []cursor
	spans            *sample.Spans // nil unless first and last receivers are asked for
	wrong, reordered int
	refused          []int // records that nobody acknowledged to any process

	// atomics
	answered  atomic.Int64
	delivered atomic.Int64

	// guarded by mu
	mu           sync.Mutex
	placed       []cursor
	acknowledged int
	refusals     map[string]int
}

// openFeed connects to Kafka.
func openFeed(ctx context.Context, p *program, flags paceFlags, to feedFlags, seed uint64, held share) (*feed, error) {
	out, err := p.openProducer(ctx, to)
	if err != nil {
		return nil, err
	}
	return &feed{
		flags:    flags,
		seed:     seed,
		share:    held,
		out:      out,
		script:   protocol.Script{Seed: seed, TextBytes: to.TextBytes},
		stream:   flags.stream(held.feeders),
		order:    sample.NewOrder(held.connections()),
		refusals: map[string]int{},
	}, nil
}

func (f *feed) close() error {
	f.out.Close()
	return f.stream.end()
}

// run is a whole load: all records, and what they cause.
func (f *feed) run(ctx context.Context, s *session) error {
	if err := f.begin(ctx, s); err != nil {
		return err
	}
	if err := f.produce(ctx); err != nil {
		return err
	}
	if err := f.settle(ctx, s); err != nil {
		return err
	}
	return s.fleet.check(ctx)
}

// begin passes the gate and fixes what follows from when that was, and from which connections are up.
func (f *feed) begin(ctx context.Context, s *session) error {
	at, err := s.open(ctx)
	if err != nil {
		return err
	}
	err = s.fleet.ask(ctx, func() error { return f.prepare(s, at) })
	s.progress.now(func() counts { return f.counts(s) })
	return err
}

func (f *feed) prepare(s *session, at start) error {
	f.faults = s.faults
	f.script.StartNs, f.script.StartUnixMs = at.Ns, at.UnixMs
	f.members = f.membersByGroup(s.fleet.phases)
	f.groups = shuffled(f.share.groupsIn(f.share.fed.members), f.seed)
	f.placed, f.seen = make([]cursor, f.stream.total), make([]cursor, f.stream.total)
	if f.spans != nil {
		f.spans = sample.NewSpans(f.stream.total)
	}
	if err := f.stream.begin(at, s.files); err != nil {
		return err
	}
	if f.sends() > 0 {
		f.next = f.write(nil, f.stream.part.index)
	}
	f.ledger = sample.NewLedger(f.stream.total, f.share.receivers, f.receivers) // last: it tells receive that all is ready
	return nil
}

func (f *feed) membersByGroup(phases []phase) []int {
	members := make([]int, f.share.groupsIn(f.share.members()))
	for i := range f.share.members() {
		if phases[i] == ready && !f.isExcluded(i) {
			members[f.share.group(i)]++
		}
	}
	return members
}

func (f *feed) isExcluded(conn int) bool {
	return conn >= f.share.members() || f.excluded != nil && f.excluded(conn)
}

// shuffled gives 0 to n-1 in an order that follows from the seed.
func shuffled(n int, seed uint64) []uint32 {
	order := make([]uint32, n)
	for i := range order {
		order[i] = uint32(i)
	}
	rand.New(rand.NewPCG(seed, uint64(n))).Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// sends gives how many records this process sends.
func (f *feed) sends() int { return f.stream.part.events(f.stream.total) }

// concerns tells whether this process's connections get record n.
func (f *feed) concerns(n int) bool { return f.oneGroup || f.stream.part.owns(n) }

// group gives a record's group within this process.
func (f *feed) group(n int) int {
	if f.oneGroup {
		return 0
	}
	return int(f.groups[n/f.stream.part.of%len(f.groups)])
}

// receivers gives how many connections of this process must get record n.
func (f *feed) receivers(n int) int {
	if !f.concerns(n) {
		return 0
	}
	return f.members[f.group(n)]
}

func (f *feed) write(b []byte, n int) []byte {
	return f.script.AppendRecord(b, n, f.share.groupOfRun(f.group(n)), f.stream.dueNs(n))
}

// produce hands over this process's records when they are due, on a thread of its own.
func (f *feed) produce(ctx context.Context) error { return f.stream.run(ctx, f.hand) }

func (f *feed) hand(n int) {
	f.out.Produce(f.next, func(partition int32, offset int64, err error) { f.acknowledge(n, cursor{partition, offset + 1}, err) })
	if after := n + f.stream.part.of; after < f.stream.total {
		f.next = f.write(make([]byte, 0, len(f.next)+64), after) // the producer keeps the last one
	}
}

func (f *feed) acknowledge(n int, at cursor, err error) {
	f.mu.Lock()
	if err == nil {
		f.placed[n] = at
		f.acknowledged++
	} else {
		countText(f.refusals, "Kafka: "+err.Error())
	}
	f.mu.Unlock()
	f.answered.Add(1)
}

// settle waits until every record is answered for and every delivery is in, or nothing more seems to come.
func (f *feed) settle(ctx context.Context, s *session) error {
	patience := f.flags.Settle
	allAnswered := func() bool { return f.answered.Load() == f.stream.sent.Load() }
	if err := f.stream.settle(ctx, patience, allAnswered); err != nil {
		return err
	}
	refused, err := s.gate.produced(ctx, f.unplaced())
	if err != nil {
		return err
	}
	f.refused = refused
	expected := f.expected()
	return f.stream.settle(ctx, patience, func() bool { return f.delivered.Load() >= expected })
}

// unplaced gives this process's records that were not acknowledged.
func (f *feed) unplaced() (refused []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range f.placed {
		if f.stream.part.owns(n) && f.placed[n] == (cursor{}) {
			refused = append(refused, n)
		}
	}
	return refused
}

// expected gives the deliveries that this process must see.
func (f *feed) expected() (deliveries int64) {
	for n := range f.stream.total {
		deliveries += int64(f.receivers(n))
	}
	for _, n := range f.refused {
		deliveries -= int64(f.receivers(n))
	}
	return deliveries
}

// receive takes one push, on the loop's goroutine.
func (f *feed) receive(conn int, text []byte, nowNs int64) {
	if f.ledger == nil {
		return // somebody else's, before the first of ours
	}
	push, err := f.reader.Push(text)
	if err != nil {
		f.blame("a push that is not the protocol's JSON")
		return
	}
	n, ok := f.number(push.Record)
	if !ok {
		return
	}
	f.scratch = f.write(f.scratch[:0], n)
	if !bytes.Equal(push.Record, f.scratch) {
		f.blame("a record that differs from what was produced")
	}
	if f.group(n) != f.share.group(conn) {
		f.blame("a push to a connection whose rule does not match")
		return
	}
	if !f.isExcluded(conn) {
		f.deliver(conn, n, cursor{push.Partition, push.Offset + 1}, nowNs)
	}
}

// number tells which record of this run it is.
func (f *feed) number(record []byte) (n int, ok bool) {
	n, ok = protocol.NumberOf(record)
	ok = ok && n < f.stream.total && f.concerns(n)
	if ok && f.stream.part.owns(n) {
		_, ok = f.stream.wasSent(n)
	}
	if !ok {
		f.blame("a record that this run has not produced")
	}
	return n, ok
}

func (f *feed) deliver(conn, n int, at cursor, nowNs int64) {
	if !f.ledger.Deliver(n, f.share.place(conn)) {
		return
	}
	f.delivered.Add(1)
	f.checkCursor(conn, n, at)
	f.stream.receive(n, nowNs)
	if f.spans != nil {
		f.spans.Receive(n, nowNs)
	}
}

func (f *feed) checkCursor(conn, n int, at cursor) {
	if !f.order.Advance(conn, at.partition, at.offsetPlus-1) {
		f.reordered++
	}
	if f.seen[n] == (cursor{}) {
		f.seen[n] = at
	} else if f.seen[n] != at {
		f.blame("a record whose cursor differs between receivers")
	}
}

func (f *feed) blame(text string) {
	f.wrong++
	f.faults.add(text)
}

// conclude writes the account, when the loop has ended.
func (f *feed) conclude(out *outcome) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.Records = &records{
		Asked:              f.sends(),
		Produced:           int(f.stream.sent.Load()),
		Acknowledged:       f.acknowledged,
		DeliveriesExpected: int(f.expected()),
		Deliveries:         f.ledger.Delivered(),
		Lost:               f.missing(),
		Duplicated:         f.ledger.Duplicated(),
		Reordered:          f.reordered,
	}
	f.comparePlaces()
	out.Records.Wrong = f.wrong
	out.Troubles = maps.Clone(f.refusals) // what the producer gives up when it is closed is no part of them
	if f.spans != nil {
		out.Spread = &spread{Spans: f.spans, StartNs: f.stream.startNs, PerSecond: f.stream.perSecond, Warmup: f.stream.warmup}
	}
	return f.stream.conclude(out)
}

func (f *feed) missing() (deliveries int) {
	for n := range f.stream.total {
		deliveries += f.ledger.Missing(n)
	}
	for _, n := range f.refused {
		deliveries -= f.ledger.Missing(n)
	}
	return deliveries
}

// comparePlaces holds the cursors that came with pushes against what Kafka had acknowledged.
func (f *feed) comparePlaces() {
	for n, at := range f.placed {
		if at != (cursor{}) && f.seen[n] != (cursor{}) && f.seen[n] != at {
			f.blame("a cursor that is not the record's place in Kafka")
		}
	}
}

func (f *feed) counts(s *session) counts {
	c := s.fleet.counts(s.outcome.Scenario)
	c.Sent, c.ToSend, c.Received = f.stream.sent.Load(), int64(f.sends()), f.delivered.Load()
	c.LatestP99 = f.stream.latest().P99Ns
	c.Seconds = int64((f.flags.Warmup + f.flags.Duration).Seconds())
	return c
}
