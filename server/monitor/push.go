package monitor

import (
	"sync"
	"sync/atomic"
	"time"

	"chatmonitor/server/chat"
)

// Conn is the network's side of one session. Only the shard's goroutine calls it.
type Conn interface {
	// Push sends p after everything that was pushed before, without blocking, and does not keep it. A
	// connection that is over its outbound budget drops it, for the reason that it is then closed for.
	// What becomes of a buffered push later, it tells the push's Account.
	Push(p *Push) (o Outcome, why Reason)
	// Cork says that several pushes follow at once, and Uncork that they are over: what comes in between
	// may be held back, to be written as one. Nothing is held back beyond Uncork, which also follows
	// when the connection has closed meanwhile.
	Cork()
	Uncork()
	// Close ends the connection for the given reason; the network layer then calls Session.Closed.
	Close(reason Reason)
}

// Outcome is what a connection made of a push.
type Outcome uint8

// The outcomes of a push.
const (
	Dropped  Outcome = iota // it will not be sent
	Buffered                // it waits in the process, in whole or in part
	Handed                  // the kernel has all of it
)

// Push is one text message on its way to one client or to many: the payload, and the framed form
// that the network layer makes of it once for all receivers.
type Push struct {
	record  *publication // nil: payload is set
	payload []byte
	account *Account // nil: not a record's
	framed  any
	once    sync.Once
}

// NewPush is a push of the given payload, which must not change afterwards.
func NewPush(payload []byte) *Push { return &Push{payload: payload} }

// Framed is what frame made of the payload and the account. frame is called once in a push's life; every
// network layer passes the same function each time.
func (p *Push) Framed(frame func(payload []byte, account *Account) any) any {
	p.once.Do(func() {
		if r := p.record; r != nil {
			p.payload = chat.AppendPush(make([]byte, 0, len(r.value)+pushOverheadBytes), r.at, r.value)
		}
		p.framed = frame(p.payload, p.account)
	})
	return p.framed
}

// A push is at most this much longer than its record.
const pushOverheadBytes = 80

// Account is where what becomes of the push is entered once it has been buffered; nil for a push that is
// not a record's.
func (p *Push) Account() *Account { return p.account }

// publication is one record, or one notice, on its way through the shards. It is used again for another
// when all shards have answered.
type publication struct {
	push      Push
	notice    bool // for every session, and not counted
	record    chat.Record
	value     []byte
	at        chat.Cursor
	timestamp time.Time

	fold       sync.Once
	foldedText []byte
	begin      [2]sync.Once
	beginnings [2][]uint64 // of pairs and runes

	unanswered atomic.Int32 // shards that have still to answer, and Publish itself
	matches    atomic.Int64 // sessions with a rule that it meets
	receivers  atomic.Int64 // those that took it
}

// text is the record's text, folded once for all shards, and not at all if no rule asks.
func (p *publication) text() []byte {
	p.fold.Do(func() { p.foldedText = []byte(chat.Fold(p.record.Text)) })
	return p.foldedText
}

// again makes the publication another one, that keeps no text and no more than a little memory.
func (p *publication) again() {
	const keptPrefixes = 256
	kept := p.beginnings
	*p = publication{}
	for i, list := range kept {
		if cap(list) <= keptPrefixes {
			p.beginnings[i] = list[:0]
		}
	}
}

// pairs and runes are the different pairs of runes in the folded text, and its different runes: see
// prefixes.go. They are made once for all shards, too.
func (p *publication) pairs() []uint64 {
	p.begin[0].Do(func() { p.beginnings[0] = appendPrefixes(p.beginnings[0], p.text(), false) })
	return p.beginnings[0]
}

func (p *publication) runes() []uint64 {
	p.begin[1].Do(func() { p.beginnings[1] = appendPrefixes(p.beginnings[1], p.text(), true) })
	return p.beginnings[1]
}

// A text of more bytes would take a shard's goroutine too long to fold and to take apart.
const longTextBytes = 4 << 10

// prepare does what shards would do if they were first.
func (p *publication) prepare() {
	p.pairs()
	p.runes()
}
