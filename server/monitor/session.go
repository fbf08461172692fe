package monitor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"chatmonitor/server/chat"
)

// Session is the application's side of one WebSocket connection: its rules, and its requests in
// their order. It belongs to its shard's goroutine, as every method does. A million of them are kept: it
// is 48 bytes.
type Session struct {
	conn  Conn // nil once the connection is closed
	shard *Shard
	rare  *rare    // nil most of the time
	only  [1]int32 // the place of its rule, if it has one; none otherwise
	last  int32    // its latest place in the shard's deliveries, if what is there is its own
	slot  int32    // place in the shard's list of sessions
	named uint32   // rule names made so far
}

// rare is what few sessions have at a time.
type rare struct {
	rules   []int32  // places of the rules, in order, if there is more than one
	waiting *backlog // not nil while a slow request is under way, or other sessions have their turn
}

// What may wait of one session, whose requests are answered one by one: as much as the rules that it may have
// by default. Each message costs some bytes besides its own.
const (
	maxWaitingBytes     = 1 << 20
	waitingMessageBytes = 64
)

// A request that changes more places of the index than that, each some tenths of a microsecond, is the last of
// its session until the shard has looked after its sockets. So are so many requests that have waited.
const (
	manyChanges = 32
	manyWaited  = 64
)

// Rules and entries of the index that a closed session takes with it at once: each some tenths of a
// microsecond.
const maxEntriesRemoved = 2048

// backlog is the requests that wait, the oldest first.
type backlog struct {
	texts [][]byte
	bytes int
}

// add reports false if there is no room. One request may always wait, however long.
func (b *backlog) add(text []byte) bool {
	bytes := len(text) + waitingMessageBytes
	if b.bytes > 0 && b.bytes+bytes > maxWaitingBytes {
		return false
	}
	b.texts = append(b.texts, slices.Clone(text))
	b.bytes += bytes
	return true
}

// next takes the oldest. There must be one.
func (b *backlog) next() (text []byte) {
	text, b.texts[0] = b.texts[0], nil
	b.texts = b.texts[1:]
	b.bytes -= len(text) + waitingMessageBytes
	return text
}

// Receive takes one whole text message. text is valid UTF-8 and is not kept.
func (s *Session) Receive(text []byte) {
	switch w := s.waiting(); {
	case w == nil:
		s.serve(text)
	case !w.add(text):
		s.conn.Close(Backlogged)
	}
}

// Closed tells the session that its connection is no more, or will take no more pushes.
func (s *Session) Closed() {
	if s.conn == nil {
		return
	}
	s.conn = nil
	s.setWaiting(nil)
	s.shard.hub.stats.Sessions.Add(-1)
	s.dismantle()
}

// dismantle takes the rules of a closed session out of the index, and then the session out of the shard. So
// many that it would hold the shard up go in several calls.
func (s *Session) dismantle() {
	for entries := 0; len(s.rules()) > 0; {
		if entries >= maxEntriesRemoved {
			s.shard.post(s.dismantle)
			return
		}
		before := s.shard.index.entries.n
		s.removeRule(len(s.rules()) - 1)
		entries += int(before-s.shard.index.entries.n) + 1
	}
	s.shard.forget(s)
}

func (s *Session) serve(text []byte) {
	q := &Request{session: s}
	q.parse(text)
	route := s.shard.hub.router.find(q)
	if route.slow {
		s.serveSlow(q, slices.Clone(text), route.handler)
		return
	}
	before := s.shard.index.changes
	if s.shard.hub.guard(q, route.handler) {
		s.answer(q)
	} else {
		s.fail()
	}
	if s.conn != nil && s.shard.index.changes-before > manyChanges {
		s.pause(new(backlog))
	}
}

// pause has the session's requests wait until the shard has looked after its sockets.
func (s *Session) pause(b *backlog) {
	s.setWaiting(b)
	s.shard.post(s.goOn)
}

// goOn serves what has waited, until a request has the others wait again.
func (s *Session) goOn() {
	if s.conn == nil {
		return
	}
	w := s.waiting()
	s.setWaiting(nil)
	for n := 0; len(w.texts) > 0; n++ {
		if n == manyWaited {
			s.pause(w)
			return
		}
		s.serve(w.next())
		switch {
		case s.conn == nil:
			return
		case s.waiting() != nil:
			s.setWaiting(w) // nothing is in the new one yet
			return
		}
	}
}

func (q *Request) parse(text []byte) {
	q.message, q.problem = chat.ParseMessage(text)
	if q.problem == nil && !q.message.HasPath() {
		q.problem = errNoPath
	}
}

var errNoPath = errors.New("the path is missing or not a string")

// serveSlow runs the handler on the pool. What the pool's goroutine touches is the request and its
// own copy of the text; the session sees the answer when the shard's goroutine runs the posted call.
func (s *Session) serveSlow(q *Request, text []byte, h Handler) {
	q.parse(text)
	s.setWaiting(new(backlog))
	taken := s.shard.hub.pool.Go(func() {
		ok := s.shard.hub.guard(q, h)
		s.shard.post(func() { s.finishSlow(q, ok) })
	})
	if !taken {
		s.setWaiting(nil)
		q.Refuse(&chat.Error{Code: chat.Busy, Message: "the server is busy with other requests; ask again later"})
		s.answer(q)
	}
}

func (s *Session) finishSlow(q *Request, ok bool) {
	switch {
	case s.conn == nil:
		return
	case !ok:
		s.fail()
		return
	}
	s.answer(q)
	s.goOn()
}

func (s *Session) answer(q *Request) {
	if s.conn == nil {
		return
	}
	if q.answer == nil {
		q.Answer([]byte("{}"))
	}
	s.conn.Push(NewPush(q.answer))
}

func (s *Session) fail() {
	if s.conn != nil {
		s.conn.Close(InternalError)
	}
}

func (s *Session) listen(q *Request) {
	limits := &s.shard.hub.limits
	l, err := chat.ParseListen(q.Params(), limits.Rule)
	if err != nil {
		q.refuse(err)
		return
	}
	replaced := s.find(l.RuleID)
	if n := len(s.rules()); replaced < 0 && n >= limits.MaxRules {
		q.Refuse(&chat.Error{Code: chat.TooManyRules, Message: fmt.Sprintf("the session has %d rules already, as many as are allowed; replace or /unlisten one", n)})
		return
	}
	if s.rulesBytes(replaced)+len(q.Params()) > limits.MaxRulesBytes {
		q.Refuse(&chat.Error{Code: chat.TooManyRules, Message: fmt.Sprintf("the session's rules would take more than %d bytes together; /unlisten one, or name less in each", limits.MaxRulesBytes)})
		return
	}
	if l.RuleID == "" {
		l.RuleID = s.newRuleID()
	}
	if replaced >= 0 {
		s.shard.decide(s, s.rules()[replaced])
	}
	s.setRule(replaced, l.RuleID, l.Rule)
	q.Answer(chat.AppendRuleID(nil, l.RuleID))
}

func (s *Session) newRuleID() string {
	for {
		s.named++
		if id := "r" + strconv.FormatUint(uint64(s.named), 10); s.find(id) < 0 {
			return id
		}
	}
}

func (s *Session) unlisten(q *Request) {
	id, err := chat.ParseUnlisten(q.Params())
	if err != nil {
		q.refuse(err)
		return
	}
	i := s.find(id)
	if i < 0 {
		q.Refuse(&chat.Error{Code: chat.UnknownRule, Message: fmt.Sprintf("the session has no rule %q", id)})
		return
	}
	s.shard.decide(s, s.rules()[i])
	s.removeRule(i)
	q.Answer([]byte("{}"))
}

func (s *Session) listRules(q *Request) {
	index := s.shard.index
	list := make([]chat.NamedRule, len(s.rules()))
	for i, place := range s.rules() {
		list[i] = chat.NamedRule{ID: string(index.Name(place)), Rule: index.Rule(place)}
	}
	q.Answer(chat.AppendRules(nil, list))
}

func (s *Session) ping(q *Request) {
	result := strconv.AppendInt([]byte(`{"time":`), s.shard.hub.now().UnixMilli(), 10)
	if echo := q.Params(); echo != nil {
		result = append(append(result, `,"echo":`...), echo...)
	}
	q.Answer(append(result, '}'))
}

// refuse answers with an error of the domain, which always is a *chat.Error.
func (r *Request) refuse(err error) {
	var e *chat.Error
	if !errors.As(err, &e) {
		panic(fmt.Sprintf("monitor: not an error of the protocol: %v", err))
	}
	r.Refuse(e)
}
