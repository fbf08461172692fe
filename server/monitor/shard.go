package monitor

import (
	"sync"
	"sync/atomic"
	"time"

	"chatmonitor/server/chat"
)

// Shard is the sessions, and the index of their rules, that one goroutine owns.
type Shard struct {
	// Static after construction; wake after Bind.
	hub   *Hub
	wake  func()
	inbox chan *publication // its capacity is the number of records that may wait

	// For any goroutine.
	rules atomic.Int64 // rules of all sessions: a shard without any is not asked
	open  atomic.Int64 // sessions: a shard without any gets no notices
	armed atomic.Bool  // a call of Work is outstanding
	mu    sync.Mutex
	calls []func() // guarded by mu

	// Owned by the shard's goroutine.
	sessions []*Session
	index    Index
	collect  func(*subscription)
	current  *publication // the record being delivered; nil: none
	records  uint64       // records looked at so far
	matches  []*Session   // of current; those before next have been served
	next     int
	pushed   int // sessions that current was pushed to
}

// Between two looks at the clock, this many deliveries: a write costs 10 to 15 us of kernel time.
const deliveriesPerLook = 16

func newShard(h *Hub, capacity int) *Shard {
	s := &Shard{hub: h, inbox: make(chan *publication, capacity)}
	s.collect = func(rule *subscription) {
		if session := rule.session; session.matchedAt != s.records {
			session.matchedAt = s.records
			s.matches = append(s.matches, session)
		}
	}
	return s
}

// Bind says how the shard's goroutine is made to call Work. It comes before the first Open. wake must
// not block, may be called from any goroutine, and is not called again before Work has returned false.
func (s *Shard) Bind(wake func()) { s.wake = wake }

// Open begins a session on conn.
func (s *Shard) Open(conn Conn) *Session {
	session := &Session{shard: s, conn: conn, slot: int32(len(s.sessions))}
	s.sessions = append(s.sessions, session)
	s.open.Add(1)
	s.hub.stats.Sessions.Add(1)
	return session
}

func (s *Shard) forget(session *Session) {
	last := len(s.sessions) - 1
	moved := s.sessions[last]
	s.sessions[session.slot], moved.slot = moved, session.slot
	s.sessions[last] = nil
	s.sessions = s.sessions[:last]
	s.open.Add(-1)
	s.hub.stats.Sessions.Add(-1)
}

func (s *Shard) addRule(r *subscription, rule *chat.Rule) {
	s.index.Add(r, rule)
	s.rules.Add(1)
	s.hub.stats.rulesByShape[rule.Fields()].Add(1)
}

func (s *Shard) removeRule(r *subscription) {
	rule := r.rule()
	s.index.Remove(r, rule)
	s.rules.Add(-1)
	s.hub.stats.rulesByShape[rule.Fields()].Add(-1)
}

// Work handles what waits, for about the given time, and reports whether something still waits. Then
// the caller has it called again, but not before it has looked after its sockets.
func (s *Shard) Work(budget time.Duration) (more bool) {
	deadline := s.hub.now().Add(budget)
	for {
		if s.current == nil && !s.take() {
			return false
		}
		if s.current != nil && !s.deliver(deadline) || s.hub.now().After(deadline) {
			return true
		}
	}
}

// take runs the posted calls and begins the next record. It reports false, with the shard unarmed,
// if there was nothing to do.
func (s *Shard) take() bool {
	if s.runCalls() {
		return true
	}
	select {
	case p := <-s.inbox:
		s.begin(p)
		return true
	default:
	}
	// A sender that comes between the look above and the Store sees armed and does not wake us;
	// so look once more, and stay armed if it is so and nobody else has armed the shard meanwhile.
	s.armed.Store(false)
	return s.waits() && s.armed.CompareAndSwap(false, true)
}

func (s *Shard) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inbox) > 0 || len(s.calls) > 0
}

func (s *Shard) runCalls() bool {
	s.mu.Lock()
	calls := s.calls
	s.calls = nil
	s.mu.Unlock()
	for _, call := range calls {
		call()
	}
	return len(calls) > 0
}

// begin collects the matches before anything is written: a failing write closes its session, which
// changes the index.
func (s *Shard) begin(p *publication) {
	s.records++
	s.matches, s.next, s.pushed = s.matches[:0], 0, 0
	if s.current = p; p.notice {
		s.matches = append(s.matches, s.sessions...)
		return
	}
	s.index.Match(p, s.collect)
	p.push.account.matched(len(s.matches))
}

// deliver pushes the current record, and reports whether it was done before the deadline.
func (s *Shard) deliver(deadline time.Time) bool {
	p := s.current
	for s.next < len(s.matches) {
		upTo := min(s.next+deliveriesPerLook, len(s.matches))
		n := s.pushSome(p, upTo)
		now := s.hub.now()
		if n > 0 && !p.notice {
			s.pushed += n
			s.hub.stats.Written.Add(uint64(n))
			s.hub.stats.Latency.Observe(now.Sub(p.timestamp), n)
		}
		if s.next < len(s.matches) && now.After(deadline) {
			return false
		}
	}
	s.current = nil
	matches := len(s.matches)
	if clear(s.matches); p.notice {
		s.matches = nil // there may be a million sessions, and a notice is rare
	}
	s.hub.answered(p, matches, s.pushed)
	return true
}

// pushSome pushes to the matches before upTo. A session that closed since it matched is passed over.
// One whose push panics is ended, and the next one served.
func (s *Shard) pushSome(p *publication, upTo int) (pushed int) {
	var handed, buffered int
	defer func() {
		if cause := recover(); cause != nil {
			s.hub.panicked("push", cause)
			s.matches[s.next].fail()
			s.next++
			p.push.account.drop(InternalError)
		}
		p.push.account.pushed(handed, buffered)
		pushed = handed + buffered
	}()
	for ; s.next < upTo; s.next++ {
		conn := s.matches[s.next].conn
		if conn == nil {
			p.push.account.drop(Undelivered)
			continue
		}
		switch outcome, why := conn.Push(&p.push); outcome {
		case Handed:
			handed++
		case Buffered:
			buffered++
		default:
			p.push.account.drop(why)
		}
	}
	return pushed
}

// offer hands p to the shard; it blocks while the inbox is full, and reports false if done ends first.
func (s *Shard) offer(done <-chan struct{}, p *publication) bool {
	select {
	case s.inbox <- p:
	default:
		select {
		case s.inbox <- p:
		case <-done:
			return false
		}
	}
	s.arm()
	return true
}

// post has call run on the shard's goroutine. Those who post are bounded themselves.
func (s *Shard) post(call func()) {
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	s.arm()
}

func (s *Shard) arm() {
	if s.armed.CompareAndSwap(false, true) {
		s.wake()
	}
}
