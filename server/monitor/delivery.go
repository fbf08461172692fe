package monitor

import "time"

// delivery is the records that a shard is delivering. Records that wait together are searched for
// together, so that a session which several of them match gets them in one write: a write costs a
// hundred times what a match does. None is waited for.
//
// Matches are collected before anything is written: a failing write closes its session, which changes
// the index.
type delivery struct {
	batch    []delivered
	searched bool // the search is over for all of batch
	matches  paged[match]
	found    func(owner int32)
	steps    int // of a search between two looks at the clock

	next    int32  // matches before it have been served
	serving *match // whose push is under way
	corked  Conn   // not nil between its Cork and Uncork
}

// delivered is a record of a batch, or the notice at its end.
type delivered struct {
	p       *publication
	matches int // sessions that it is for
	pushed  int // those that took it

	// Of pushed, since the last look at the clock.
	handed, buffered int
}

// match is a session that a record goes to.
type match struct {
	session *Session
	next    int32 // the session's match with a later record of the batch
	record  uint16
	later   bool // it is the next of another
}

const (
	// A batch ends with the record that makes it so long. While a batch is searched for, its first record
	// waits; for the many matches that takes a hundredth of the time that their writes will take.
	maxBatchRecords = 64
	maxBatchMatches = 1 << 15
	// Between two looks at the clock, this many pushes: a write costs 10 to 15 us of kernel time.
	pushesPerLook = 16
	// And this many steps of a search, of up to a microsecond each if nothing is in the cache.
	stepsPerLook = 512
	// Pages of matches that are kept for the next batch.
	keptMatchPages = maxBatchMatches / pageItems
)

func (d *delivery) add(p *publication) { d.batch = append(d.batch, delivered{p: p}) }

// collect adds a session to those that get the record which is searched for, if it is not among them.
func (d *delivery) collect(s *Session) {
	record := uint16(len(d.batch) - 1)
	this := match{session: s, next: none, record: record}
	if s.last < d.matches.n {
		if latest := d.matches.at(s.last); latest.session == s {
			if latest.record == record {
				return
			}
			latest.next, this.later = d.matches.n, true
		}
	}
	s.last = d.matches.push(this)
	d.batch[record].matches++
}

// forAll makes the sessions those that get the notice, behind all that is for them. Nothing joins its batch.
func (d *delivery) forAll(sessions *paged[*Session]) {
	record := len(d.batch) - 1
	for i := range sessions.n {
		d.matches.push(match{session: *sessions.at(i), next: none, record: uint16(record)})
	}
	d.batch[record].matches = int(sessions.n)
	d.searched = true
}

// roomy says whether another record may join the batch.
func (d *delivery) roomy() bool {
	return len(d.batch) < maxBatchRecords && d.matches.n < maxBatchMatches
}

// settle ends the search: each record's account learns how many sessions it is for.
func (d *delivery) settle() {
	d.searched = true
	for i := range d.batch {
		r := &d.batch[i]
		r.p.push.account.matched(r.matches)
	}
}

// clear forgets the batch.
func (d *delivery) clear() {
	clear(d.batch)
	d.batch, d.searched, d.next = d.batch[:0], false, 0
	d.matches.reset(keptMatchPages)
}

// advance searches and delivers, and reports whether the batch was done before the deadline.
func (s *Shard) advance(deadline time.Time) bool {
	return s.search(deadline) && s.deliver(deadline)
}

// search collects the matches of the batch, and of more records if some wait.
func (s *Shard) search(deadline time.Time) bool {
	d := &s.delivery
	steps := d.steps
	for !d.searched {
		if steps = s.index.Continue(steps, d.found); steps > 0 {
			if !d.roomy() || !s.takeRecord() || d.searched {
				d.settle()
			}
			continue
		}
		if s.hub.now().After(deadline) {
			return false
		}
		steps = d.steps
	}
	return true
}

// deliver pushes the batch.
func (s *Shard) deliver(deadline time.Time) bool {
	d := &s.delivery
	for d.next < d.matches.n {
		s.pushSome()
		now := s.hub.now()
		s.observe(now)
		if d.next < d.matches.n && now.After(deadline) {
			return false
		}
	}
	for _, r := range d.batch {
		s.hub.answered(r.p, r.matches, r.pushed)
	}
	d.clear()
	return true
}

// observe counts what has been pushed since the last look at the clock.
func (s *Shard) observe(now time.Time) {
	for i := range s.delivery.batch {
		r := &s.delivery.batch[i]
		n := r.handed + r.buffered
		if n == 0 {
			continue
		}
		r.p.push.account.pushed(r.handed, r.buffered)
		r.pushed += n
		r.handed, r.buffered = 0, 0
		if !r.p.notice {
			s.hub.stats.Written.Add(uint64(n))
			s.hub.stats.Latency.Observe(now.Sub(r.p.timestamp), n)
		}
	}
}

// pushSome serves the next sessions, with about pushesPerLook pushes. One whose push panics is ended, and
// the next one served.
func (s *Shard) pushSome() {
	d := &s.delivery
	defer func() {
		if cause := recover(); cause != nil {
			s.hub.panicked("push", cause)
			d.abandon()
			d.matches.at(d.next).session.fail()
			d.uncork()
			d.next++
		}
	}()
	for pushes := 0; d.next < d.matches.n && pushes < pushesPerLook; d.next++ {
		if m := d.matches.at(d.next); !m.later {
			pushes += d.push(m)
		}
	}
}

// push pushes to one session all that is for it. It counts what it tried.
func (d *delivery) push(m *match) (pushes int) {
	if m.next == none {
		d.pushOne(m)
		return 1
	}
	if d.corked = m.session.conn; d.corked != nil {
		d.serving = m
		d.corked.Cork()
	}
	d.pushOne(m)
	for pushes = 1; m.next != none; pushes++ {
		m = d.matches.at(m.next)
		d.pushOne(m)
	}
	d.uncork()
	return pushes
}

// pushOne pushes to a session, unless it has closed since it matched.
func (d *delivery) pushOne(m *match) {
	r := &d.batch[m.record]
	account := r.p.push.account
	conn := m.session.conn
	if conn == nil {
		account.drop(Undelivered)
		return
	}
	d.serving = m
	outcome, why := conn.Push(&r.p.push)
	d.serving = nil
	switch outcome {
	case Handed:
		r.handed++
	case Buffered:
		r.buffered++
	default:
		account.drop(why)
	}
}

// abandon accounts for the push that panicked, and for those to the same session that would have followed.
func (d *delivery) abandon() {
	for m := d.serving; m != nil; {
		d.batch[m.record].p.push.account.drop(InternalError)
		if m.next == none {
			break
		}
		m = d.matches.at(m.next)
	}
	d.serving = nil
}

func (d *delivery) uncork() {
	if conn := d.corked; conn != nil {
		d.corked = nil
		conn.Uncork()
	}
}
