package monitor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"chatmonitor/server/chat"
)

// Session is the application's side of one WebSocket connection: its rules, and its requests in
// their order. It belongs to its shard's goroutine, as every method does.
type Session struct {
	shard     *Shard
	conn      Conn // nil once the connection is closed
	rules     []*subscription
	waiting   *backlog // not nil while a slow request is under way
	matchedAt uint64   // the shard's count of records when one last matched: a record is pushed once
	slot      int32    // place in the shard's list of sessions
	named     uint32   // rule names made so far
}

// What may wait behind a slow request of the same session.
const (
	maxWaitingMessages = 128
	maxWaitingBytes    = 256 << 10
)

type backlog struct {
	texts [][]byte
	bytes int
}

// Receive takes one whole text message. text is valid UTF-8 and is not kept.
func (s *Session) Receive(text []byte) {
	if s.waiting != nil {
		s.wait(text)
		return
	}
	s.serve(text)
}

// Closed tells the session that its connection is no more, or will take no more pushes.
func (s *Session) Closed() {
	if s.conn == nil {
		return
	}
	s.conn = nil
	s.waiting = nil
	for _, rule := range s.rules {
		s.shard.removeRule(rule)
	}
	s.rules = nil
	s.shard.forget(s)
}

func (s *Session) wait(text []byte) {
	w := s.waiting
	if len(w.texts) >= maxWaitingMessages || w.bytes+len(text) > maxWaitingBytes {
		s.conn.Close(Backlogged)
		return
	}
	w.texts = append(w.texts, slices.Clone(text))
	w.bytes += len(text)
}

func (s *Session) serve(text []byte) {
	q := &Request{session: s}
	q.parse(text)
	route := s.shard.hub.router.find(q)
	if route.slow {
		s.serveSlow(q, slices.Clone(text), route.handler)
		return
	}
	if s.shard.hub.guard(q, route.handler) {
		s.answer(q)
	} else {
		s.fail()
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
	s.waiting = new(backlog)
	taken := s.shard.hub.pool.Go(func() {
		ok := s.shard.hub.guard(q, h)
		s.shard.post(func() { s.finishSlow(q, ok) })
	})
	if !taken {
		s.waiting = nil
		q.Refuse(&chat.Error{Code: chat.Busy, Message: "the server is busy with other requests; ask again later"})
		s.answer(q)
	}
}

func (s *Session) finishSlow(q *Request, ok bool) {
	if s.conn == nil {
		return
	}
	w := s.waiting
	s.waiting = nil
	if !ok {
		s.fail()
		return
	}
	s.answer(q)
	for i, text := range w.texts {
		if s.conn == nil {
			return
		}
		if s.waiting != nil { // the one before was slow, too: the rest waits behind it
			s.waiting.texts = append(s.waiting.texts, w.texts[i:]...)
			for _, t := range w.texts[i:] {
				s.waiting.bytes += len(t)
			}
			return
		}
		s.serve(text)
	}
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
	if replaced < 0 && len(s.rules) >= limits.MaxRules {
		q.Refuse(&chat.Error{Code: chat.TooManyRules, Message: fmt.Sprintf("the session has %d rules already, as many as are allowed; replace or /unlisten one", len(s.rules))})
		return
	}
	if l.RuleID == "" {
		l.RuleID = s.newRuleID()
	}
	rule := newSubscription(s, l.RuleID, l.Rule)
	s.shard.addRule(rule, l.Rule)
	if replaced >= 0 {
		s.shard.removeRule(s.rules[replaced])
		s.rules[replaced] = rule
	} else {
		s.rules = append(s.rules, rule)
	}
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
	s.shard.removeRule(s.rules[i])
	s.rules = slices.Delete(s.rules, i, i+1)
	q.Answer([]byte("{}"))
}

func (s *Session) listRules(q *Request) {
	list := make([]chat.NamedRule, len(s.rules))
	for i, r := range s.rules {
		list[i] = chat.NamedRule{ID: r.id, Rule: r.source}
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

// find is the place of the rule of that name, or -1.
func (s *Session) find(id string) int {
	return slices.IndexFunc(s.rules, func(r *subscription) bool { return r.id == id })
}

// refuse answers with an error of the domain, which always is a *chat.Error.
func (r *Request) refuse(err error) {
	var e *chat.Error
	if !errors.As(err, &e) {
		panic(fmt.Sprintf("monitor: not an error of the protocol: %v", err))
	}
	r.Refuse(e)
}
