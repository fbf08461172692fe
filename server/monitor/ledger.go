package monitor

import (
	"strconv"
	"sync/atomic"

	"chatmonitor/server/chat"
)

// Account is a partition's page of the ledger: what was read of it, and what became of each delivery of a
// record to a session. Each sum is counted on its own, none is what is left of another, so that the page
// balances only if nothing was forgotten. A nil Account takes every entry and keeps none.
//
//	offsets    = consumed + gaps
//	consumed   = matched + unmatched + undecodable
//	deliveries = handed + buffered + dropped, by reason
//
// While records are under way, the left sides are ahead.
type Account struct {
	dropped [reasons]atomic.Uint64
	totals  *Stats // dropped is counted there, too

	deliveries atomic.Uint64 // sessions with a rule that a record meets
	handed     atomic.Uint64 // the kernel has the whole frame
	buffered   atomic.Int64  // the process has it, or a part of it

	matches, unmatched atomic.Uint64 // records
	undecodable        [chat.Undecodables]atomic.Uint64

	// Written by the goroutine that publishes the partition's records.
	from     atomic.Int64 // the first offset of the log that is read now
	next     atomic.Int64 // after the last; 0 with offsets 0: none yet
	offsets  atomic.Int64 // that were passed, of logs before this one, too
	gaps     atomic.Int64 // offsets without a record: compacted, not for consumers, or gone
	consumed atomic.Uint64
}

// consume enters that a record was read. Only one goroutine does, with the offsets rising, unless the log
// is another one.
func (a *Account) consume(offset int64) {
	passed, next := a.offsets.Load(), a.next.Load()
	switch {
	case passed == 0 || offset < next:
		a.from.Store(offset)
	case offset > next:
		a.gaps.Store(a.gaps.Load() + offset - next)
		passed += offset - next
	}
	a.next.Store(offset + 1)
	a.offsets.Store(passed + 1)
	a.consumed.Store(a.consumed.Load() + 1)
}

func (a *Account) matched(sessions int) {
	if a != nil && sessions > 0 {
		a.deliveries.Add(uint64(sessions))
	}
}

func (a *Account) pushed(handed, buffered int) {
	if a == nil {
		return
	}
	if handed > 0 {
		a.handed.Add(uint64(handed))
	}
	if buffered > 0 {
		a.buffered.Add(int64(buffered))
	}
}

func (a *Account) drop(why Reason) {
	if a != nil {
		a.dropped[why].Add(1)
		a.totals.Dropped(why).Add(1)
	}
}

// Flushed enters that the kernel has now taken the whole of a push that was buffered.
func (a *Account) Flushed() {
	if a != nil {
		a.handed.Add(1)
		a.buffered.Add(-1)
	}
}

// Lost enters that a push was buffered, in whole or in part, when its connection closed.
func (a *Account) Lost() {
	if a != nil {
		a.drop(Undelivered)
		a.buffered.Add(-1)
	}
}

// Ledger is the accounts of all partitions as they stand, by partition.
type Ledger struct {
	Balanced   bool            `json:"balanced"` // every page; false also while records are under way
	Partitions map[string]Page `json:"partitions"`
}

// Page is one partition's part of the Ledger.
type Page struct {
	Balanced bool  `json:"balanced"`
	From     int64 `json:"from"`    // offset of the first record that was read
	Next     int64 `json:"next"`    // offset after the last
	Offsets  int64 `json:"offsets"` // Next - From, and the same of topics of that name before this one
	Gaps     int64 `json:"gaps"`    // offsets among them that had no record, or not any more

	Consumed    uint64            `json:"consumed"` // records
	Matched     uint64            `json:"matched"`
	Unmatched   uint64            `json:"unmatched"`
	Undecodable map[string]uint64 `json:"undecodable"` // by reason, without zeros

	Deliveries uint64            `json:"deliveries"` // of records to sessions
	Handed     uint64            `json:"handed"`     // to the kernel
	Buffered   int64             `json:"buffered"`
	Dropped    map[string]uint64 `json:"dropped"` // by reason, without zeros
}

// Ledger reads the accounts, one number after the other.
func (s *Stats) Ledger() Ledger {
	l := Ledger{Balanced: true, Partitions: make(map[string]Page)}
	s.Partitions(func(number int32, p *Partition) {
		page := p.Account.page()
		l.Partitions[strconv.Itoa(int(number))] = page
		l.Balanced = l.Balanced && page.Balanced
	})
	return l
}

func (a *Account) page() Page {
	p := Page{
		From: a.from.Load(), Next: a.next.Load(), Offsets: a.offsets.Load(), Gaps: a.gaps.Load(),
		Consumed: a.consumed.Load(), Matched: a.matches.Load(), Unmatched: a.unmatched.Load(), Undecodable: make(map[string]uint64),
		Deliveries: a.deliveries.Load(), Handed: a.handed.Load(), Buffered: a.buffered.Load(), Dropped: make(map[string]uint64),
	}
	records, deliveries := p.Matched+p.Unmatched, int64(p.Handed)+p.Buffered
	for u := range chat.Undecodables {
		if n := a.undecodable[u].Load(); n > 0 {
			p.Undecodable[u.String()] = n
			records += n
		}
	}
	for _, r := range DropReasons() {
		if n := a.dropped[r].Load(); n > 0 {
			p.Dropped[r.String()] = n
			deliveries += int64(n)
		}
	}
	p.Balanced = p.Consumed == records && int64(p.Consumed)+p.Gaps == p.Offsets && int64(p.Deliveries) == deliveries
	return p
}
