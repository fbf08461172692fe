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
	sessions paged[*Session]
	index    *Index
	delivery delivery
}

func newShard(h *Hub, capacity int) *Shard {
	s := &Shard{hub: h, inbox: make(chan *publication, capacity)}
	s.index = newIndex(func(owner, from, to int32) { (*s.sessions.at(owner)).ruleMoved(from, to) })
	s.delivery.steps = stepsPerLook
	s.delivery.found = func(owner int32) {
		if session := *s.sessions.at(owner); session.conn != nil { // else it is being dismantled
			s.delivery.collect(session)
		}
	}
	return s
}

// Bind says how the shard's goroutine is made to call Work. It comes before the first Open. wake must
// not block, may be called from any goroutine, and is not called again before Work has returned false.
func (s *Shard) Bind(wake func()) { s.wake = wake }

// Open begins a session on conn.
func (s *Shard) Open(conn Conn) *Session {
	session := &Session{shard: s, conn: conn, only: [1]int32{none}}
	session.slot = s.sessions.push(session)
	s.open.Add(1)
	s.hub.stats.Sessions.Add(1)
	return session
}

// forget takes a session, that has no rules any more, out of the list. The last one moves to its slot.
func (s *Shard) forget(session *Session) {
	moved := *s.sessions.at(s.sessions.n - 1)
	*s.sessions.at(session.slot), moved.slot = moved, session.slot
	for _, place := range moved.rules() {
		s.index.SetOwner(place, moved.slot)
	}
	s.sessions.pop()
	s.open.Add(-1)
}

func (s *Shard) addRule(session *Session, name string, rule *chat.Rule) (place int32) {
	s.rules.Add(1)
	s.hub.stats.rulesByShape[rule.Fields()].Add(1)
	return s.index.Add(session.slot, name, rule)
}

func (s *Shard) removeRule(place int32) {
	s.rules.Add(-1)
	s.hub.stats.rulesByShape[s.index.Rule(place).Fields()].Add(-1)
	s.index.Remove(place)
}

// decide looks at a rule of a session, which is about to go, for the record that is being searched for:
// were it replaced by another that wants the record, too, the search might come too late for the first and
// be past the second already.
func (s *Shard) decide(session *Session, place int32) {
	if p := s.index.Searching(); p != nil && s.index.Wants(place, p) {
		s.delivery.collect(session)
	}
}

// Work handles what waits, for about the given time, and reports whether something still waits. Then
// the caller has it called again, but not before it has looked after its sockets.
func (s *Shard) Work(budget time.Duration) (more bool) {
	deadline := s.hub.now().Add(budget)
	for {
		if len(s.delivery.batch) == 0 && !s.take() {
			return false
		}
		if len(s.delivery.batch) > 0 && !s.advance(deadline) || s.hub.now().After(deadline) {
			return true
		}
	}
}

// take runs a posted call, or begins the next records. It reports false, with the shard unarmed,
// if there was nothing to do.
func (s *Shard) take() bool {
	if s.runCall() || s.takeRecord() {
		return true
	}
	// A sender that comes between the look above and the Store sees armed and does not wake us;
	// so look once more, and stay armed if it is so and nobody else has armed the shard meanwhile.
	s.armed.Store(false)
	return s.waits() && s.armed.CompareAndSwap(false, true)
}

// takeRecord begins with the next record that waits, or reports false.
func (s *Shard) takeRecord() bool {
	select {
	case p := <-s.inbox:
		s.delivery.add(p)
		if p.notice {
			s.delivery.forAll(&s.sessions)
		} else {
			s.index.Begin(p)
		}
		return true
	default:
		return false
	}
}

func (s *Shard) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inbox) > 0 || len(s.calls) > 0
}

func (s *Shard) runCall() bool {
	s.mu.Lock()
	if len(s.calls) == 0 {
		s.mu.Unlock()
		return false
	}
	call := s.calls[0]
	s.calls[0] = nil
	if s.calls = s.calls[1:]; len(s.calls) == 0 {
		s.calls = nil
	}
	s.mu.Unlock()
	call()
	return true
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
