package monitor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"chatmonitor/server/chat"
)

// script drives a shard by bytes, each of which decides something, and its dumb twin beside it: what
// every session must get, and what it may get, of every record. They differ where the rules change while
// a record is under way.
type script struct {
	t       *testing.T
	bytes   []byte
	shard   *Shard
	hub     *Hub
	now     time.Time
	clients []*client
	records []*sentRecord
	settled int // records before it are no longer under way
}

// client is a session, as its twin knows it.
type client struct {
	script  *script
	number  int
	session *Session
	open    bool
	rules   map[string]*chat.Rule
	got     []int64 // offsets of the records
	leaveAt int     // after so many pushes it goes; 0: it stays
	corked  bool
	held    []int64
}

type sentRecord struct {
	record    chat.Record
	folded    string
	must, may map[*client]bool
}

func newScript(t *testing.T, b []byte) *script {
	s := &script{t: t, bytes: b, now: time.Unix(1000, 0)}
	s.hub = NewHub(Options{
		Shards: 1, InFlight: 1000, Router: NewRouter(), Stats: NewStats(4), Now: s.tick,
		Limits: Limits{MaxRules: 6, MaxRulesBytes: 1 << 20, Rule: chat.RuleLimits{MaxEntries: 64, MaxKeywords: 16}},
	})
	s.shard = s.hub.Shards()[0]
	s.shard.Bind(func() {})
	s.shard.delivery.steps = 3
	return s
}

// tick is a clock that never stands still, so that every slice of work is as short as can be.
func (s *script) tick() time.Time {
	s.now = s.now.Add(time.Millisecond)
	return s.now
}

// choose takes a byte of the script, and makes it a number below n.
func (s *script) choose(n int) int {
	if len(s.bytes) == 0 {
		return 0
	}
	b := s.bytes[0]
	s.bytes = s.bytes[1:]
	return int(b) % n
}

func (s *script) run() {
	for len(s.bytes) > 0 {
		switch s.choose(8) {
		case 0:
			s.open()
		case 1, 2:
			s.pick((*client).listen)
		case 3:
			s.pick((*client).unlisten)
		case 4:
			s.pick((*client).leave)
		case 5, 6:
			s.publish()
		case 7:
			if !s.shard.Work(0) {
				s.settled = len(s.records)
			}
		}
	}
	for s.shard.Work(0) {
	}
	s.check()
}

func (s *script) open() {
	c := &client{script: s, number: len(s.clients), open: true, rules: make(map[string]*chat.Rule)}
	c.session = s.shard.Open(c)
	if s.choose(8) == 0 {
		c.leaveAt = 1 + s.choose(3)
	}
	s.clients = append(s.clients, c)
}

func (s *script) pick(do func(*client)) {
	if len(s.clients) == 0 {
		return
	}
	if c := s.clients[s.choose(len(s.clients))]; c.open {
		do(c)
	}
}

func (c *client) listen() {
	name := fmt.Sprint("n", c.script.choose(4))
	source := c.script.rule()
	rule, err := chat.ParseRule([]byte(source), c.script.hub.limits.Rule)
	if err != nil {
		c.script.t.Fatalf("%s: %v", source, err)
	}
	c.session.Receive(fmt.Appendf(nil, `{"path":"/listen","params":{"rule_id":%q,"rule":%s}}`, name, source))
	c.rules[name] = rule
	c.script.decide(c)
}

func (c *client) unlisten() {
	name := fmt.Sprint("n", c.script.choose(4))
	c.session.Receive(fmt.Appendf(nil, `{"path":"/unlisten","params":{"rule_id":%q}}`, name))
	delete(c.rules, name)
	c.script.decide(c)
}

func (c *client) leave() {
	c.open = false
	clear(c.rules)
	c.script.decide(c)
	c.session.Closed()
}

// decide enters a change of a client's rules in the account of the records under way.
func (s *script) decide(c *client) {
	for _, r := range s.records[s.settled:] {
		if c.wants(r) {
			r.may[c] = true
		} else {
			delete(r.must, c)
		}
	}
}

func (c *client) wants(r *sentRecord) bool {
	for _, rule := range c.rules {
		if rule.Matches(&r.record, r.folded) {
			return true
		}
	}
	return false
}

func (s *script) rule() string {
	var members []string
	for _, field := range []string{"app_id", "server_id"} {
		switch n := s.choose(8); n {
		case 0, 1, 2:
			members = append(members, fmt.Sprintf("%q:%d", field, n))
		case 3:
			members = append(members, fmt.Sprintf("%q:[%d,%d]", field, s.choose(3), s.choose(3)))
		}
	}
	if s.choose(5) == 0 {
		members = append(members, fmt.Sprintf(`"channel":["c%d","%s"]`, s.choose(3), strings.Repeat("x", 30)))
	}
	if n := s.choose(6); n > 2 {
		var keywords []string
		for range n - 2 {
			keywords = append(keywords, fmt.Sprintf("%q", words[s.choose(len(words))]))
		}
		members = append(members, `"keywords":[`+strings.Join(keywords, ",")+"]")
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (s *script) publish() {
	r := &sentRecord{must: make(map[*client]bool), may: make(map[*client]bool)}
	r.record.Present = chat.FieldSet(s.choose(256)) & (1<<(chat.Text+1) - 1)
	r.record.IDs[chat.AppID], r.record.IDs[chat.ServerID] = int64(s.choose(3)), int64(s.choose(3))
	r.record.Channel = fmt.Sprint("c", s.choose(3))
	r.record.Text = words[s.choose(len(words))] + " " + words[s.choose(len(words))]
	r.folded = chat.Fold(r.record.Text)
	for _, c := range s.clients {
		if c.wants(r) {
			r.must[c], r.may[c] = true, true
		}
	}
	s.records = append(s.records, r)
	at := chat.Cursor{Offset: int64(len(s.records) - 1)}
	if err := s.hub.Publish(context.Background(), at, s.now, []byte(`{}`), r.record); err != nil {
		s.t.Fatal(err)
	}
}

// Push is Conn's.
func (c *client) Push(p *Push) (Outcome, Reason) {
	if !c.open {
		c.script.t.Fatalf("client %d was pushed to after it had closed", c.number)
	}
	text := p.Framed(func(b []byte, _ *Account) any { return string(b) }).(string)
	var offset int64
	if n, _ := fmt.Sscanf(text, `{"path":"/chat","params":{"cursor":{"partition":0,"offset":%d}`, &offset); n != 1 {
		return Handed, 0 // an answer
	}
	if c.corked {
		c.held = append(c.held, offset)
	} else {
		c.got = append(c.got, offset)
	}
	if c.leaveAt--; c.leaveAt == 0 {
		c.Uncork()
		c.leave()
		return Dropped, PeerGone
	}
	return Handed, 0
}

// Cork is Conn's.
func (c *client) Cork() { c.corked = true }

// Uncork is Conn's.
func (c *client) Uncork() {
	c.corked = false
	c.got = append(c.got, c.held...)
	c.held = nil
}

// Close is Conn's.
func (c *client) Close(reason Reason) { c.script.t.Fatalf("client %d is closed: %v", c.number, reason) }

func (s *script) check() {
	s.t.Helper()
	for _, c := range s.clients {
		if len(c.held) > 0 {
			s.t.Fatalf("client %d was left corked", c.number)
		}
		for i, offset := range c.got {
			if i > 0 && offset <= c.got[i-1] {
				s.t.Fatalf("client %d got the records %v, out of order or twice", c.number, c.got)
			}
			if !s.records[offset].may[c] {
				s.t.Fatalf("client %d got record %d, that it had no rule for", c.number, offset)
			}
		}
		for offset, r := range s.records {
			if _, got := slices.BinarySearch(c.got, int64(offset)); r.must[c] && !got {
				s.t.Fatalf("client %d did not get record %d: %+v; it got %v", c.number, offset, r.record, c.got)
			}
		}
		if c.open {
			c.leave()
		}
	}
	if l := s.hub.stats.Ledger(); !l.Balanced {
		s.t.Fatalf("the ledger does not balance: %+v", l)
	}
	x := s.shard.index
	if x.rules.n != 0 || x.entries.n != 0 || x.long.n != 0 || x.inUse != 0 || s.shard.sessions.n != 0 || s.shard.rules.Load() != 0 {
		s.t.Fatalf("all have gone, but %d rules, %d entries, %d long ones, %d sessions are left", x.rules.n, x.entries.n, x.long.n, s.shard.sessions.n)
	}
}

func TestRandomScripts(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 3))
		b := make([]byte, 1500)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		newScript(t, b).run()
	}
}

func FuzzScript(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x00\x01\x00\x05\x07\x07\x07"))
	f.Fuzz(func(t *testing.T, b []byte) { newScript(t, b[:min(len(b), 4000)]).run() })
}
