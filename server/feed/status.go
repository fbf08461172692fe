package feed

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// Status is how the feed fares, as /ready shows it.
type Status struct {
	Topic      string                     `json:"topic"`
	CaughtUp   bool                       `json:"caught_up"` // every partition has been opened once
	Connected  bool                       `json:"connected"` // the last look at the topic was answered
	Stalled    bool                       `json:"stalled"`   // clients have been told that records do not come
	Trouble    string                     `json:"trouble,omitempty"`
	Partitions map[string]PartitionStatus `json:"partitions"`
}

// PartitionStatus is one partition's part of Status.
type PartitionStatus struct {
	State      State      `json:"state"`
	NextOffset int64      `json:"next_offset"` // -1 while it is not known
	LagRecords int64      `json:"lag_records"`
	LastFetch  *time.Time `json:"last_fetch,omitempty"` // when Kafka last answered for it
	Since      time.Time  `json:"since"`                // of the state
	LastError  string     `json:"last_error,omitempty"` // why it fails, or did
}

// State is what becomes of a partition.
type State string

// The states of a partition.
const (
	Waiting State = "waiting" // not opened yet
	Reading State = "reading"
	Failing State = "failing" // it is tried again
	Silent  State = "silent"  // it is open, and its broker does not answer
)

// partition is where a reader is.
type partition struct {
	number int32

	next    atomic.Int64 // offset; -1 until it is located
	asked   atomic.Int64 // offset of the last fetch: what came before it has come to the reader, or is not for it
	waiting atomic.Int32 // records that have come and are not published

	mu      sync.Mutex
	state   State     // guarded by mu
	since   time.Time // guarded by mu
	err     string    // guarded by mu: the last error
	sources []string  // guarded by mu: addresses of the brokers that it is read from
	opened  bool      // guarded by mu: once

	// Owned by the watch.
	told     State // what has been logged
	heard    time.Time
	badTicks int
	badSince time.Time
}

func newPartition(number int32) *partition {
	p := &partition{number: number, state: Waiting, told: Waiting, since: time.Now()}
	p.next.Store(-1)
	return p
}

// turn changes the state. A change without an error keeps the last one for people to see.
func (p *partition) turn(s State, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != s {
		p.state, p.since = s, time.Now()
	}
	p.opened = p.opened || s == Reading
	if err != nil {
		p.err = err.Error()
	}
}

func (p *partition) look() (state State, sources []string, lastError string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.sources, p.err
}

// passed is the offset before which nothing is left to publish.
func (p *partition) passed() int64 {
	next, asked := p.next.Load(), p.asked.Load()
	if p.waiting.Load() > 0 {
		return next
	}
	return max(next, asked)
}

func (p *partition) setSources(addresses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if addresses != nil {
		p.sources = addresses
	}
}

func (p *partition) status(answered time.Time, lag int64) PartitionStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PartitionStatus{State: p.state, NextOffset: p.next.Load(), LagRecords: lag, Since: p.since.UTC(), LastError: p.err}
	if !answered.IsZero() {
		s.LastFetch = &answered
	}
	return s
}

// Status is how the feed fares.
func (f *Feed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Status{
		Topic: f.options.Topic, CaughtUp: f.caughtUp, Connected: f.connected, Stalled: f.stalled, Trouble: f.trouble,
		Partitions: make(map[string]PartitionStatus, len(f.partitions)),
	}
	for number, p := range f.partitions {
		figures := f.options.Stats.Partition(number)
		var answered time.Time
		if nanos := figures.LastFetch.Load(); nanos > 0 {
			answered = time.Unix(0, nanos).UTC()
		}
		s.Partitions[strconv.Itoa(int(number))] = p.status(answered, figures.Lag.Load())
	}
	return s
}

// all lists the partitions in their order.
func (f *Feed) all() []*partition {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*partition, 0, len(f.partitions))
	for _, p := range f.partitions {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *partition) int { return int(a.number) - int(b.number) })
	return list
}

// partition is the one of that number.
func (f *Feed) partition(number int32) (p *partition, isNew bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p = f.partitions[number]
	if p == nil {
		p, isNew = newPartition(number), true
		f.partitions[number] = p
	}
	return p, isNew
}

// fetching notes that a partition's next fetch is from that offset.
func (f *Feed) fetching(number int32, offset int64) {
	f.mu.Lock()
	p := f.partitions[number]
	f.mu.Unlock()
	if p != nil {
		p.asked.Store(offset)
	}
}

// forgetPartitions is for a topic that is another one.
func (f *Feed) forgetPartitions() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.partitions)
}

func (f *Feed) isAnother(id sarama.Uuid) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return id != sarama.Uuid{} && f.topicID != sarama.Uuid{} && id != f.topicID && !slices.Contains(f.retired, id)
}

// isRetired reports whether the topic was read before the one that is: not every broker knows that yet.
func (f *Feed) isRetired(id sarama.Uuid) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.retired, id)
}

func (f *Feed) topicIsUnknown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.topicID == sarama.Uuid{}
}

func (f *Feed) firstListing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.listed
}

// found notes that the topic was looked up, and lets the readers that failed try again.
func (f *Feed) found(id sarama.Uuid) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trouble != "" || !f.listed {
		f.log.Info("feed: the topic is found", "topic", f.options.Topic, "brokers", f.options.Brokers, "partitions", len(f.partitions))
	}
	if id != (sarama.Uuid{}) && id != f.topicID && !slices.Contains(f.retired, id) {
		if f.topicID != (sarama.Uuid{}) {
			f.retired = append(f.retired, f.topicID)
		}
		f.topicID = id
	}
	f.listed, f.connected, f.trouble = true, true, ""
	f.catchUp()
	close(f.listing)
	f.listing = make(chan struct{})
}

// lookFailed counts a failure, and logs it when it is not the one before.
func (f *Feed) lookFailed(err error) {
	f.options.Stats.FeedErrors.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	_, answered := err.(errNoTopic)
	if answered {
		f.listed = true // what comes later is new
	}
	if f.trouble == "" || answered != f.connected {
		f.log.Warn("feed: Kafka is not as it should be; trying again", "err", err)
	}
	f.connected, f.trouble = answered, err.Error()
}

// opened notes that a partition is being read.
func (f *Feed) opened(p *partition) {
	p.turn(Reading, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.catchUp()
}

// catchUp finds out whether every partition has been opened. It is called under mu.
func (f *Feed) catchUp() {
	if f.caughtUp || len(f.partitions) == 0 || !f.connected {
		return
	}
	for _, p := range f.partitions {
		if !p.wasOpened() {
			return
		}
	}
	f.caughtUp = true
}

func (p *partition) wasOpened() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened
}

// failed notes that a partition is not read any more.
func (f *Feed) failed(p *partition, err error) {
	f.options.Stats.FeedErrors.Add(1)
	p.turn(Failing, err)
}

// failing reports whether some partition is not being read.
func (f *Feed) failing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.partitions {
		if state, _, _ := p.look(); state == Failing || state == Silent {
			return true
		}
	}
	return false
}
