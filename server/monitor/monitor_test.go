package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chatmonitor/server/chat"
)

// world is a hub whose one shard is driven by the test, with a clock that the test moves.
type world struct {
	t     *testing.T
	hub   *Hub
	shard *Shard
	stats *Stats
	woken chan struct{}
	pool  *Pool
	log   bytes.Buffer

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T, router *Router, inFlight int) *world {
	w := &world{t: t, stats: NewStats(4), woken: make(chan struct{}, 1000), pool: NewPool(1, 1), now: time.Unix(1000, 0)}
	w.hub = NewHub(Options{
		Shards: 1, InFlight: inFlight,
		Limits: Limits{MaxRules: 3, MaxRulesBytes: 4 << 10, Rule: chat.RuleLimits{MaxEntries: 8, MaxKeywords: 8}},
		Router: router, Pool: w.pool, Stats: w.stats, Log: slog.New(slog.NewTextHandler(&w.log, nil)), Now: w.clock,
	})
	w.shard = w.hub.Shards()[0]
	w.shard.Bind(func() { w.woken <- struct{}{} })
	t.Cleanup(w.pool.Close)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) publish(offset int64, value string) {
	w.t.Helper()
	record, err := chat.DecodeRecord([]byte(value), 1<<20)
	if err == nil {
		err = w.hub.Publish(context.Background(), chat.Cursor{Partition: 1, Offset: offset}, w.clock(), []byte(value), record)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) work() {
	for w.shard.Work(time.Second) {
	}
}

// peer is a Conn that keeps what it is given.
type peer struct {
	texts   []string
	closed  []Reason
	onPush  func()
	refuses bool
	buffers bool
	waiting []*Account // of what it has buffered
	session *Session

	corked bool
	corks  int // times that something was written between Cork and Uncork
}

func (p *peer) Cork()   { p.corked = true; p.corks++ }
func (p *peer) Uncork() { p.corked = false }

func (p *peer) Push(push *Push) (Outcome, Reason) {
	if p.onPush != nil {
		p.onPush()
	}
	if p.refuses {
		p.Close(SlowConsumer)
		return Dropped, SlowConsumer
	}
	p.texts = append(p.texts, push.Framed(func(b []byte, _ *Account) any { return string(b) }).(string))
	if p.buffers {
		p.waiting = append(p.waiting, push.Account())
		return Buffered, 0
	}
	return Handed, 0
}

func (p *peer) Close(r Reason) {
	p.closed = append(p.closed, r)
	p.session.Closed()
}

func (w *world) open() *peer {
	p := &peer{}
	p.session = w.shard.Open(p)
	return p
}

func (p *peer) ask(text string) string {
	p.session.Receive([]byte(text))
	return p.texts[len(p.texts)-1]
}

func TestRequests(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	p := w.open()
	for _, c := range []struct{ text, answer string }{
		{`{"path":"/rules","id":1}`, `{"path":"/rules","id":1,"result":{"rules":[]}}`},
		{`{"path":"/listen","params":{"rule":{"app_id":[1, "2"]}}}`, `{"path":"/listen","result":{"rule_id":"r1"}}`},
		{`{"path":"/listen","params":{"rule":{},"rule_id":"r2"}}`, `{"path":"/listen","result":{"rule_id":"r2"}}`},
		{`{"path":"/listen","params":{"rule":{"pid":5}}}`, `{"path":"/listen","result":{"rule_id":"r3"}}`},
		{`{"path":"/listen","params":{"rule":{}}}`, `"code":"too_many_rules"`},
		{`{"path":"/listen","params":{"rule":{"pid":6},"rule_id":"r3"}}`, `{"path":"/listen","result":{"rule_id":"r3"}}`},
		{`{"path":"/listen","params":{"rule":{"pid":-1},"rule_id":"r3"}}`, `"code":"bad_rule"`},
		{`{"path":"/unlisten","params":{"rule_id":"no"}}`, `"code":"unknown_rule"`},
		{`{"path":"/unlisten","params":{"rule_id":"r1"}}`, `{"path":"/unlisten","result":{}}`},
		{`{"path":"/rules"}`, `{"path":"/rules","result":{"rules":[{"rule_id":"r2","rule":{}},{"rule_id":"r3","rule":{"pid":6}}]}}`},
		{`{"path":"/ping","params":[1, 2]}`, `{"path":"/ping","result":{"time":1000000,"echo":[1, 2]}}`},
		{`{"path":"/ping"}`, `{"path":"/ping","result":{"time":1000000}}`},
		{`{"path":"/Ping","id":null}`, `"id":null,"error":{"code":"unknown_path"`},
		{`{"id":7}`, `{"id":7,"error":{"code":"bad_request"`},
		{`{`, `{"error":{"code":"bad_request"`},
	} {
		if got := p.ask(c.text); !strings.Contains(got, c.answer) {
			t.Errorf("%s: got %s, want %s", c.text, got, c.answer)
		}
	}
	if n := w.shard.rules.Load(); n != 2 {
		t.Errorf("the shard counts %d rules", n)
	}
	shapes := make(map[chat.FieldSet]int64)
	w.stats.RulesByShape(func(shape chat.FieldSet, rules int64) {
		if rules != 0 {
			shapes[shape] = rules
		}
	})
	if want := map[chat.FieldSet]int64{0: 1, 1 << chat.PID: 1}; !maps.Equal(shapes, want) {
		t.Errorf("rules by shape: %v, want %v", shapes, want)
	}
	p.session.Closed()
	p.session.Closed() // twice is once
	if n := w.shard.rules.Load(); n != 0 || w.shard.sessions.n != 0 || w.shard.index.inUse != 0 {
		t.Errorf("%d rules, %d sessions are left", n, w.shard.sessions.n)
	}
}

func TestTheRulesOfASessionTakeSoMuchAtMost(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	p := w.open()
	listen := func(id string, bytes int) string {
		return p.ask(fmt.Sprintf(`{"path":"/listen","params":{"rule_id":"%s","rule":{"channel":"%s"}}}`, id, strings.Repeat("c", bytes)))
	}
	const refused = `"code":"too_many_rules"`
	for _, c := range []struct {
		id    string
		bytes int
		want  string
	}{
		{"large", 5 << 10, refused}, {"one", 2 << 10, `"result"`}, {"two", 2 << 10, refused}, {"two", 1 << 10, `"result"`},
		{"two", 2 << 10, refused}, {"one", 3 << 10, refused}, {"one", 1, `"result"`}, {"two", 3 << 10, `"result"`},
	} {
		if got := listen(c.id, c.bytes); !strings.Contains(got, c.want) {
			t.Errorf("%s with %d bytes: %s, want %s", c.id, c.bytes, got, c.want)
		}
	}
	if got := p.ask(`{"path":"/rules"}`); !strings.Contains(got, `{"rule_id":"one","rule":{"channel":"c"}}`) || len(got) < 3<<10 {
		t.Errorf("the rules are %.200s", got)
	}
}

func TestPublish(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	w.publish(1, `{"app_id":1}`) // nobody has a rule: nobody is woken
	if len(w.woken) != 0 || w.stats.Unmatched.Load() != 1 {
		t.Fatal("a shard without rules was asked")
	}
	a, b := w.open(), w.open()
	a.ask(`{"path":"/listen","params":{"rule":{"app_id":1}}}`)
	a.ask(`{"path":"/listen","params":{"rule":{}}}`)
	b.ask(`{"path":"/listen","params":{"rule":{"app_id":2}}}`)
	a.texts, b.texts = nil, nil
	w.publish(2, `{"app_id":1}`)
	w.publish(3, `{"app_id":2}`)
	if len(w.woken) != 1 {
		t.Fatalf("woken %d times for one call of Work", len(w.woken))
	}
	w.work()
	one := `{"path":"/chat","params":{"cursor":{"partition":1,"offset":2},"record":{"app_id":1}}}`
	two := `{"path":"/chat","params":{"cursor":{"partition":1,"offset":3},"record":{"app_id":2}}}`
	if got := strings.Join(a.texts, "\n"); got != one+"\n"+two {
		t.Errorf("a got %s", got)
	}
	if got := strings.Join(b.texts, "\n"); got != two {
		t.Errorf("b got %s", got)
	}
	if w.stats.Matched.Load() != 2 || w.stats.Written.Load() != 3 {
		t.Errorf("matched %d, written %d", w.stats.Matched.Load(), w.stats.Written.Load())
	}
	w.stats.Received(func(l RecordLabels, c *ReceiverCounts) {
		if c.Counts[0].Load() != 1 || c.Counts[1].Load() != 1 || c.Sum.Load() != 3 {
			t.Errorf("receivers: %v", c)
		}
	})
}

func TestWorkStopsAtItsBudget(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	var peers []*peer
	for range 100 {
		p := w.open()
		p.ask(`{"path":"/listen","params":{"rule":{}}}`)
		p.texts = nil
		p.onPush = func() { w.pass(50 * time.Microsecond) }
		peers = append(peers, p)
	}
	w.publish(1, `{}`)
	calls := 1
	for w.shard.Work(2 * time.Millisecond) {
		calls++
		if calls == 2 { // one leaves between two slices, and one has left its rule
			peers[0].session.Closed() // of those with the same rule, the first is the last to be served
		}
	}
	if calls != 3 { // 48 deliveries of 50 us are the first look at the clock beyond 2 ms
		t.Errorf("100 deliveries of 50 us took %d calls of 2 ms", calls)
	}
	for i, p := range peers {
		if want := 1; i > 0 && len(p.texts) != want || i == 0 && len(p.texts) != 0 {
			t.Errorf("peer %d got %d", i, len(p.texts))
		}
	}
}

// Records that wait together go to a session in one write, in their order; one that comes alone is not
// held back.
func TestRecordsThatWaitAreJoined(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	both, second := w.open(), w.open()
	both.ask(`{"path":"/listen","params":{"rule":{}}}`)
	second.ask(`{"path":"/listen","params":{"rule":{"app_id":2}}}`)
	both.texts, second.texts = nil, nil
	both.onPush = func() {
		if !both.corked {
			t.Error("a push was written alone, though others waited")
		}
	}
	for offset := range int64(5) {
		w.publish(offset, fmt.Sprintf(`{"app_id":%d}`, offset))
	}
	w.work()
	both.onPush = nil
	if both.corks != 1 || both.corked || second.corks != 0 {
		t.Errorf("of five records that waited, one session got %d writes, corked still %v; the one with a single match %d", both.corks, both.corked, second.corks)
	}
	for offset, text := range both.texts {
		if want := fmt.Sprintf(`"offset":%d}`, offset); !strings.Contains(text, want) {
			t.Errorf("push %d is %s, want %s", offset, text, want)
		}
	}
	if len(both.texts) != 5 || len(second.texts) != 1 || w.stats.Written.Load() != 6 || w.stats.Matched.Load() != 5 {
		t.Errorf("%d and %d pushes, %d written, %d matched", len(both.texts), len(second.texts), w.stats.Written.Load(), w.stats.Matched.Load())
	}
	w.publish(9, `{}`)
	w.work()
	if both.corks != 1 || len(both.texts) != 6 {
		t.Errorf("a record alone: %d pushes, corked %d times", len(both.texts), both.corks)
	}
}

// A search stops at the budget, too: of ten thousand rules that share a key and do not match.
func TestSearchStopsAtTheBudget(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	rule := otherRule(`{"keywords":["gold"]}`)
	for range 10_000 {
		w.open().session.setRule(-1, "it", rule)
	}
	w.publish(1, `{"text":"gone"}`)
	calls := 1
	for w.shard.Work(-1) {
		calls++
	}
	if want := 10_000 / stepsPerLook; calls < want/2 {
		t.Errorf("a search of 10,000 steps looked at the clock %d times", calls)
	}
}

// A session with all the rules that it may have does not hold the shard up when it goes, and gets nothing
// any more at once.
func TestALargeSessionGoesBitByBit(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	large, other := w.open(), w.open()
	rule := fieldRule(1, 0)
	for i := range int64(255) {
		rule.IDs[chat.ServerID] = append(rule.IDs[chat.ServerID], i+1)
	}
	for i := range 1000 {
		large.session.setRule(-1, fmt.Sprint(i), rule)
	}
	other.session.setRule(-1, "it", fieldRule(1, 7))
	index := w.shard.index
	entries := index.entries.n
	w.shard.delivery.steps = 2
	w.publish(1, `{"app_id":1,"server_id":7}`)
	w.shard.Work(-1) // the record has been searched for as far as the other's rule, the latest
	large.session.Closed()
	if removed := entries - index.entries.n; removed > maxEntriesRemoved+256 || w.stats.Sessions.Load() != 1 {
		t.Fatalf("%d entries went at once; %d sessions are counted", removed, w.stats.Sessions.Load())
	}
	calls := 1
	for ; w.shard.Work(-1); calls++ {
	}
	if n := w.stats.Partition(1).Account.deliveries.Load(); n != 1 {
		t.Errorf("the record was for %d sessions, want the one that is open", n)
	}
	if len(large.texts) > 0 || len(other.texts) != 1 {
		t.Errorf("%d pushes to the closed session, %d to the other", len(large.texts), len(other.texts))
	}
	if index.rules.n != 1 || w.shard.sessions.n != 1 || calls < 100 {
		t.Errorf("after %d calls %d rules and %d sessions are left, want one", calls, index.rules.n, w.shard.sessions.n)
	}
}

func TestPublishWaitsForAFullShard(t *testing.T) {
	w := newWorld(t, NewRouter(), 2)
	w.open().ask(`{"path":"/listen","params":{"rule":{}}}`)
	w.publish(1, `{}`)
	w.publish(2, `{}`)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.hub.Publish(ctx, chat.Cursor{}, w.clock(), []byte(`{}`), chat.Record{}) }()
	select {
	case err := <-ended:
		t.Fatalf("the third record did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.work()
	if n := w.stats.Matched.Load() + w.stats.Unmatched.Load(); n != 3 {
		t.Errorf("%d records of 3 have been answered for", n)
	}
}

func TestARefusedPushDoesNotCount(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	slow, other := w.open(), w.open()
	slow.ask(`{"path":"/listen","params":{"rule":{}}}`)
	other.ask(`{"path":"/listen","params":{"rule":{}}}`)
	slow.refuses = true
	w.publish(1, `{}`)
	w.publish(2, `{}`)
	w.work()
	third := w.open()
	third.ask(`{"path":"/listen","params":{"rule":{"app_id":3}}}`)
	third.refuses = true
	w.publish(3, `{"app_id":3}`)
	other.session.Closed()
	w.work()
	w.stats.Decided(func(l RecordLabels, n *DecidedCounts) {
		if l.IDs[chat.AppID] == 3 && (n.Matched.Load() != 1 || n.Unmatched.Load() != 0) {
			t.Errorf("a record that was refused by the one session that wanted it: %d matched, %d unmatched", n.Matched.Load(), n.Unmatched.Load())
		}
	})
	if w.stats.Matched.Load() != 3 || w.stats.Unmatched.Load() != 0 {
		t.Errorf("matched %d, unmatched %d", w.stats.Matched.Load(), w.stats.Unmatched.Load())
	}
	if w.stats.Written.Load() != 2 || len(slow.closed) != 1 || slow.closed[0] != SlowConsumer {
		t.Errorf("written %d, slow one closed %v", w.stats.Written.Load(), slow.closed)
	}
}

func TestAPanicEndsItsSessionAlone(t *testing.T) {
	router := NewRouter()
	router.Handle("/panic", HandlerFunc(func(*Request) { panic("oops") }))
	router.HandleSlow("/slow-panic", HandlerFunc(func(*Request) { panic("oops") }))
	w := newWorld(t, router, 10)
	a, b, c, d := w.open(), w.open(), w.open(), w.open()
	a.session.Receive([]byte(`{"path":"/panic"}`))
	b.session.Receive([]byte(`{"path":"/slow-panic"}`))
	<-w.woken
	w.work()
	c.ask(`{"path":"/listen","params":{"rule":{}}}`)
	d.ask(`{"path":"/listen","params":{"rule":{}}}`)
	c.onPush = func() { panic("oops") }
	w.publish(1, `{}`)
	w.work()
	for name, p := range map[string]*peer{"quick": a, "slow": b, "push": c} {
		if len(p.closed) != 1 || p.closed[0] != InternalError {
			t.Errorf("%s: closed %v", name, p.closed)
		}
	}
	if len(d.texts) != 2 || w.stats.AppErrors.Load() != 3 {
		t.Errorf("the bystander got %v; %d panics counted", d.texts, w.stats.AppErrors.Load())
	}
}

func TestSlowRequestsKeepTheirOrder(t *testing.T) {
	release := make(chan struct{})
	router := NewRouter()
	router.HandleSlow("/slow", HandlerFunc(func(r *Request) {
		<-release
		r.Answer(r.Params())
	}))
	w := newWorld(t, router, 10)
	p, other, third := w.open(), w.open(), w.open()
	for i, path := range []string{"/slow", "/ping", "/slow", "/ping"} {
		p.session.Receive(fmt.Appendf(nil, `{"path":%q,"id":%d,"params":%d}`, path, i, i))
	}
	if len(p.texts) != 0 {
		t.Fatalf("answered before the slow request: %v", p.texts)
	}
	// One worker is busy; one more request may wait; the next is refused.
	waitFor(t, func() bool { return len(w.pool.jobs) == 0 })
	other.session.Receive([]byte(`{"path":"/slow","params":1}`))
	if got := third.ask(`{"path":"/slow"}`); !strings.Contains(got, `"busy"`) {
		t.Errorf("a full pool answered %s", got)
	}
	for len(p.texts) < 4 || len(other.texts) < 1 {
		select {
		case release <- struct{}{}:
		case <-w.woken:
			w.work()
		}
	}
	for i, text := range p.texts {
		if !strings.Contains(text, fmt.Sprintf(`"id":%d`, i)) || strings.Contains(text, "error") {
			t.Errorf("answer %d is %s", i, text)
		}
	}
}

func TestTooManyRequestsBehindASlowOne(t *testing.T) {
	release := make(chan struct{})
	router := NewRouter()
	router.HandleSlow("/slow", HandlerFunc(func(*Request) { <-release }))
	w := newWorld(t, router, 10)
	p := w.open()
	for range maxWaitingBytes/waitingMessageBytes + 2 {
		p.session.Receive([]byte(`{"path":"/slow"}`))
		if len(p.closed) > 0 {
			break
		}
	}
	if len(p.closed) != 1 || p.closed[0] != Backlogged {
		t.Errorf("closed %v", p.closed)
	}
	close(release)
	<-w.woken
	w.work() // the answer finds nobody
	if len(p.texts) != 0 {
		t.Errorf("a closed session was answered: %v", p.texts)
	}
}

func TestTooManyBytesBehindASlowOne(t *testing.T) {
	release := make(chan struct{})
	router := NewRouter()
	router.HandleSlow("/slow", HandlerFunc(func(*Request) { <-release }))
	w := newWorld(t, router, 10)
	p := w.open()
	large := fmt.Appendf(nil, `{"path":"/slow","params":%q}`, strings.Repeat("x", maxWaitingBytes/4))
	for range 4 { // one is served, three wait
		p.session.Receive(large)
	}
	if len(p.closed) != 0 {
		t.Errorf("closed %v before the limit", p.closed)
	}
	// The next one to be served leaves the others behind it, and they still count.
	release <- struct{}{}
	<-w.woken
	w.work()
	for range 2 {
		p.session.Receive(large)
	}
	if len(p.closed) != 1 || p.closed[0] != Backlogged {
		t.Errorf("closed %v at the limit", p.closed)
	}
	close(release)
	<-w.woken
}

// One request may wait, however long it is.
func TestALongRequestWaits(t *testing.T) {
	release := make(chan struct{})
	router := NewRouter()
	router.HandleSlow("/slow", HandlerFunc(func(*Request) { <-release }))
	w := newWorld(t, router, 10)
	p := w.open()
	p.session.Receive([]byte(`{"path":"/slow"}`))
	p.session.Receive(fmt.Appendf(nil, `{"path":"/ping","params":%q}`, strings.Repeat("x", maxWaitingBytes)))
	close(release)
	<-w.woken
	w.work()
	if len(p.closed) != 0 || len(p.texts) != 2 || len(p.texts[1]) < maxWaitingBytes {
		t.Errorf("closed %v, %d answers", p.closed, len(p.texts))
	}
}

// A session whose requests change much has the others of its shard wait for one of them at a time.
func TestRequestsThatChangeMuchTakeTurns(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	w.shard.hub.limits = Limits{MaxRules: 10, MaxRulesBytes: 1 << 20, Rule: chat.RuleLimits{MaxEntries: manyChanges + 1}}
	p := w.open()
	var list []string
	for i := range manyChanges + 1 {
		list = append(list, strconv.Itoa(i))
	}
	many := fmt.Sprintf(`{"path":"/listen","params":{"rule_id":"a","rule":{"app_id":[%s]}}}`, strings.Join(list, ","))
	p.session.Receive([]byte(`{"path":"/listen","params":{"rule_id":"a","rule":{"app_id":1}}}`))
	for range 3 {
		p.session.Receive([]byte(many))
	}
	for range manyWaited + 1 {
		p.session.Receive([]byte(`{"path":"/ping"}`))
	}
	p.session.Receive([]byte(`{"path":"/unlisten","params":{"rule_id":"a"}}`))
	p.session.Receive([]byte(`{"path":"/rules"}`))
	for _, want := range []int{2, 3, 4, 4 + manyWaited, 4 + manyWaited + 2, 4 + manyWaited + 3} {
		if len(p.texts) != want {
			t.Fatalf("%d answers, want %d", len(p.texts), want)
		}
		w.shard.take() // one call
	}
	if last := p.texts[len(p.texts)-1]; !strings.Contains(last, `{"rules":[]}`) {
		t.Errorf("the last answer is %s", last)
	}
	if p.session.rare != nil {
		t.Error("what waited is kept")
	}
	p.session.Receive([]byte(many))
	p.session.Receive([]byte(many))
	p.Close(PeerGone)
	w.work() // what waited finds nobody
	if n := w.shard.rules.Load(); n != 0 || len(p.texts) != 4+manyWaited+4 {
		t.Errorf("%d rules, %d answers of a closed session", n, len(p.texts))
	}
}

// A batch takes in no more than so many records, or the record that has so many matches.
func TestABatchIsBounded(t *testing.T) {
	w := newWorld(t, NewRouter(), 2*maxBatchRecords)
	p := w.open()
	p.ask(`{"path":"/listen","params":{"rule":{}}}`)
	for offset := range int64(maxBatchRecords + 2) {
		w.publish(offset, `{}`)
	}
	w.work()
	if p.corks != 2 || len(p.texts) != 1+maxBatchRecords+2 {
		t.Errorf("%d pushes in %d batches, want two", len(p.texts)-1, p.corks)
	}
	many := newCrowd(maxBatchMatches)
	many.listen(1)
	for offset := range int64(2) {
		if err := many.hub.Publish(context.Background(), chat.Cursor{Offset: offset}, time.Now(), nil, line(0).record); err != nil {
			t.Fatal(err)
		}
	}
	many.shard.takeRecord()
	many.shard.search(time.Now().Add(time.Hour))
	if n := len(many.shard.delivery.batch); n != 1 {
		t.Errorf("%d records joined a batch that was long enough with the first", n-1)
	}
}

// A bucket of a histogram holds its upper bound; clocks that disagree make no negative time.
func TestLatencyBuckets(t *testing.T) {
	h := NewHistogram(0.001, 1)
	h.Observe(-time.Hour, 1)
	h.Observe(time.Millisecond, 2)
	h.Observe(time.Millisecond+1, 4)
	h.Observe(time.Second, 8)
	h.Observe(time.Second+1, 16)
	if a, b, c := h.Counts[0].Load(), h.Counts[1].Load(), h.Counts[2].Load(); a != 3 || b != 12 || c != 16 {
		t.Errorf("buckets hold %d, %d, %d", a, b, c)
	}
	if want := 2*time.Millisecond + 4*(time.Millisecond+1) + 8*time.Second + 16*(time.Second+1); h.Nanos.Load() != int64(want) {
		t.Errorf("the sum is %v, want %v", time.Duration(h.Nanos.Load()), want)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	for pid := range 10 {
		w.publish(int64(pid), fmt.Sprintf(`{"app_id":%d}`, pid))
	}
	var series, others int
	w.stats.Handled(func(l RecordLabels, n uint64) {
		series++
		if l.Other {
			others = int(n)
		}
	})
	if series != 5 || others != 7 { // the empty one, three of ten, and other
		t.Errorf("%d series, %d records under other", series, others)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in 10 s")
		}
	}
}
