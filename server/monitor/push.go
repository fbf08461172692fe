package monitor

import (
	"sync"
	"sync/atomic"
	"time"

	"chatmonitor/server/chat"
)

// Conn is the network's side of one session. Only the shard's goroutine calls it.
type Conn interface {
	// Push sends p after everything that was pushed before, without blocking. It reports whether
	// the connection took it; one that is over its outbound budget does not, and closes instead.
	Push(p *Push) bool
	// Cork says that several pushes follow at once, and Uncork that they are over: what comes in between
	// may be held back, to be written as one. Nothing is held back beyond Uncork, which also follows
	// when the connection has closed meanwhile.
	Cork()
	Uncork()
	// Close ends the connection for the given reason; the network layer then calls Session.Closed.
	Close(reason Reason)
}

// Push is one text message on its way to one client or to many: the payload, and the framed form
// that the network layer makes of it once for all receivers.
type Push struct {
	encode  func() []byte // nil: payload is set
	payload []byte
	framed  any
	once    sync.Once
}

// NewPush is a push of the given payload, which must not change afterwards.
func NewPush(payload []byte) *Push { return &Push{payload: payload} }

// Framed is what frame made of the payload. frame is called once in a push's life; every network
// layer passes the same function each time.
func (p *Push) Framed(frame func(payload []byte) any) any {
	p.once.Do(func() {
		if p.encode != nil {
			p.payload = p.encode()
		}
		p.framed = frame(p.payload)
	})
	return p.framed
}

// publication is one record on its way through the shards.
type publication struct {
	push      Push
	record    chat.Record
	value     []byte
	at        chat.Cursor
	timestamp time.Time

	fold       sync.Once
	foldedText []byte

	unanswered atomic.Int32 // shards that have still to answer, and Publish itself
	receivers  atomic.Int64
}

// text is the record's text, folded once for all shards, and not at all if no rule asks.
func (p *publication) text() []byte {
	p.fold.Do(func() { p.foldedText = []byte(chat.Fold(p.record.Text)) })
	return p.foldedText
}
