package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"chatmonitor/loadgen/pace"
	"chatmonitor/loadgen/protocol"
	"chatmonitor/loadgen/sample"
)

// producer is where records go.
type producer interface {
	// Produce takes a record without waiting. acknowledged is called once, from any goroutine.
	Produce(value []byte, acknowledged func(partition int32, offset int64, err error))
	Close()
}

// pushCommand produces records and accounts for every push.
type pushCommand struct {
	targetFlags
	feedFlags
	outputFlags
}

func (c *pushCommand) report() outputFlags { return c.outputFlags }

func (c *pushCommand) validate() error {
	return errors.Join(c.targetFlags.validate(), c.feedFlags.validate())
}

func (c *pushCommand) run(ctx context.Context, p *program) (*outcome, error) {
	out, err := p.openProducer(ctx, c.feedFlags)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	feed := newFeed(c.feedFlags, c.targetFlags, out)
	return hold(ctx, p, holding{
		scenario: "push", target: c.targetFlags, output: c.outputFlags,
		onPush: feed.receive, load: feed.load,
	})
}

const (
	// lead is the time between the decision to start and the first due time, so that the first record is not late.
	lead = 5 * time.Millisecond
	// lookInterval is how often the end of a run looks whether everything has arrived.
	lookInterval = 10 * time.Millisecond
)

// cursor is a record's place in Kafka; offset is kept plus one, so that the zero cursor is no place.
type cursor struct {
	partition  int32
	offsetPlus int64
}

// feed is the records of a run on their way: produced on a schedule, received by the connections, accounted for.
type feed struct {
	// static before the first record
	target   targetFlags
	flags    feedFlags
	out      producer
	script   protocol.Script
	schedule pace.Schedule
	warmup   int      // records that are not measured
	groups   []uint32 // record i goes to groups[i%len]
	faults   *faults
	fleet    *fleet

	// owned by the goroutine that paces
	lag      *sample.Histogram
	next     []byte // the next record, written while there is time
	produced int

	// owned by the loop's goroutine
	ledger            *sample.Ledger
	order             *sample.Order
	reader            protocol.Reader
	scratch           []byte
	seen              []cursor
	response, service *sample.Histogram
	wrong, reordered  int

	// atomics
	handedNs  []int64 // when each record was given to the producer
	answered  atomic.Int64
	expected  atomic.Int64 // deliveries of records that were acknowledged
	delivered atomic.Int64
	heardNs   atomic.Int64 // of the last delivery or acknowledgement

	// guarded by mu
	mu           sync.Mutex
	placed       []cursor
	acknowledged int
	refusals     map[string]int
}

func newFeed(flags feedFlags, target targetFlags, out producer) *feed {
	return &feed{
		flags:    flags,
		target:   target,
		out:      out,
		warmup:   pace.Count(flags.Warmup, flags.Rate),
		lag:      sample.NewHistogram(),
		response: sample.NewHistogram(),
		service:  sample.NewHistogram(),
		order:    sample.NewOrder(target.Connections),
		refusals: map[string]int{},
	}
}

// load produces all records, waits for what they cause, and writes the account.
func (f *feed) load(ctx context.Context, s *session) error {
	if err := s.fleet.ask(ctx, func() error { f.prepare(s); return nil }); err != nil {
		return err
	}
	s.progress.now(f.describe)
	if err := f.produce(ctx); err != nil {
		return err
	}
	if err := f.settle(ctx); err != nil {
		return err
	}
	if err := s.fleet.check(ctx); err != nil {
		return err
	}
	return s.fleet.ask(ctx, func() error { f.conclude(s.outcome); return nil })
}

// prepare runs on the loop's goroutine, when it is known which connections are up.
func (f *feed) prepare(s *session) {
	f.fleet, f.faults = s.fleet, s.faults
	total := pace.Count(f.flags.Warmup+f.flags.Duration, f.flags.Rate)
	members := f.membersByGroup()
	f.groups = shuffled(len(members), f.target.Seed)
	f.ledger = sample.NewLedger(total, func(i int) int { return members[f.group(i)] })
	f.handedNs = make([]int64, total)
	f.placed, f.seen = make([]cursor, total), make([]cursor, total)
	f.schedule = pace.Schedule{StartNs: pace.Now() + lead.Nanoseconds(), PerSecond: f.flags.Rate, Count: total}
	f.script = protocol.Script{Seed: f.target.Seed, StartNs: f.schedule.StartNs, StartUnixMs: time.Now().Add(lead).UnixMilli()}
	f.next = f.write(nil, 0)
}

func (f *feed) membersByGroup() []int {
	members := make([]int, (f.target.Connections+f.target.Receivers-1)/f.target.Receivers)
	for i, phase := range f.fleet.phases {
		if phase == ready {
			members[i/f.target.Receivers]++
		}
	}
	return members
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

func (f *feed) group(record int) int { return int(f.groups[record%len(f.groups)]) }

func (f *feed) write(b []byte, i int) []byte {
	return f.script.AppendRecord(b, f.schedule.Number(i), f.group(i), f.schedule.Due(i))
}

// produce runs on a thread of its own until the last record was handed over.
func (f *feed) produce(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- pace.Run(ctx, f.schedule, f.hand) }()
	return <-ended
}

func (f *feed) hand(i int, dueNs int64) {
	nowNs := pace.Now()
	atomic.StoreInt64(&f.handedNs[i], nowNs)
	f.out.Produce(f.next, func(partition int32, offset int64, err error) { f.acknowledge(i, cursor{partition, offset + 1}, err) })
	f.produced++
	if f.isMeasured(i) {
		f.lag.Record(nowNs - dueNs)
	}
	if i+1 < f.schedule.Count {
		f.next = f.write(make([]byte, 0, len(f.next)+64), i+1) // the producer keeps the last one
	}
}

func (f *feed) isMeasured(i int) bool { return f.schedule.Number(i) >= f.warmup }

func (f *feed) acknowledge(i int, at cursor, err error) {
	f.mu.Lock()
	if err == nil {
		f.placed[i] = at
		f.acknowledged++
		f.expected.Add(int64(f.ledger.Members(i)))
	} else {
		countText(f.refusals, err.Error())
	}
	f.mu.Unlock()
	f.heardNs.Store(pace.Now())
	f.answered.Add(1)
}

// settle waits until all records are answered for and all deliveries are in, or nothing more seems to come.
func (f *feed) settle(ctx context.Context) error {
	f.heardNs.Store(max(f.heardNs.Load(), pace.Now()))
	for !f.isSettled() && pace.Now()-f.heardNs.Load() < f.flags.Settle.Nanoseconds() {
		if err := sleep(ctx, lookInterval); err != nil {
			return err
		}
	}
	return nil
}

func (f *feed) isSettled() bool {
	return f.answered.Load() == int64(f.produced) && f.delivered.Load() >= f.expected.Load()
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
	i, ok := f.index(push.Record)
	if !ok {
		return
	}
	f.scratch = f.write(f.scratch[:0], i)
	if !bytes.Equal(push.Record, f.scratch) {
		f.blame("a record that differs from what was produced")
	}
	if f.group(i) != conn/f.target.Receivers {
		f.blame("a push to a connection whose rule does not match")
		return
	}
	if !f.ledger.Deliver(i, conn%f.target.Receivers) {
		return
	}
	f.delivered.Add(1)
	f.heardNs.Store(nowNs)
	f.checkCursor(conn, i, cursor{push.Partition, push.Offset + 1})
	if f.isMeasured(i) {
		f.response.Record(nowNs - f.schedule.Due(i))
		f.service.Record(nowNs - atomic.LoadInt64(&f.handedNs[i]))
	}
}

// index tells which record of this run it is.
func (f *feed) index(record []byte) (i int, ok bool) {
	number, ok := protocol.NumberOf(record)
	if ok {
		i, ok = f.schedule.Index(number)
	}
	if !ok || atomic.LoadInt64(&f.handedNs[i]) == 0 {
		f.blame("a record that this run has not produced")
		return 0, false
	}
	return i, true
}

func (f *feed) checkCursor(conn, i int, at cursor) {
	if !f.order.Advance(conn, at.partition, at.offsetPlus-1) {
		f.reordered++
	}
	if f.seen[i] == (cursor{}) {
		f.seen[i] = at
	} else if f.seen[i] != at {
		f.blame("a record whose cursor differs between receivers")
	}
}

func (f *feed) blame(text string) {
	f.wrong++
	f.faults.add(text)
}

// conclude writes the account, on the loop's goroutine.
func (f *feed) conclude(out *outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	account := &records{
		Asked:        f.schedule.Count,
		Produced:     f.produced,
		Acknowledged: f.acknowledged,
		Deliveries:   f.ledger.Delivered(),
		Duplicated:   f.ledger.Duplicated(),
		Reordered:    f.reordered,
	}
	for i, at := range f.placed {
		if at == (cursor{}) {
			continue
		}
		account.DeliveriesExpected += f.ledger.Members(i)
		account.Lost += f.ledger.Missing(i)
		if f.seen[i] != (cursor{}) && f.seen[i] != at {
			f.blame("a cursor that is not the record's place in Kafka")
		}
	}
	account.Wrong = f.wrong
	out.records = account
	out.rate = f.rate()
	out.histograms = map[string]*sample.Histogram{response: f.response, service: f.service, lag: f.lag}
	for text, n := range f.refusals {
		out.troubles = append(out.troubles, fmt.Sprintf("Kafka: %s (%d times)", text, n))
	}
}

// rate tells how fast the measured records were handed over: late ones stretch the time.
func (f *feed) rate() *rate {
	first, last := min(f.warmup, f.schedule.Count-1), f.schedule.Count-1
	lateNs := max(0, f.handedNs[last]-f.schedule.Due(last))
	seconds := time.Duration(f.schedule.Due(last+1) - f.schedule.Due(first) + lateNs).Seconds()
	return &rate{AskedPerSecond: f.flags.Rate, AchievedPerSecond: float64(last+1-first) / seconds}
}

func (f *feed) describe(since time.Duration) string {
	return fmt.Sprintf("push: %.0f s of %.0f s, %d of %d records acknowledged, %d deliveries of %d",
		since.Seconds(), (f.flags.Warmup + f.flags.Duration).Seconds(),
		f.answered.Load(), f.schedule.Count, f.delivered.Load(), f.expected.Load())
}
