package monitor

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"chatmonitor/server/chat"
)

func (w *world) listener() *peer {
	p := w.open()
	p.ask(`{"path":"/listen","params":{"rule":{"app_id":1}}}`)
	p.texts = nil
	return p
}

func (w *world) wantPage(want Page) {
	w.t.Helper()
	got := w.stats.Ledger().Partitions["1"]
	if !maps.Equal(got.Undecodable, want.Undecodable) || !maps.Equal(got.Dropped, want.Dropped) {
		w.t.Errorf("undecodable %v, dropped %v; want %v, %v", got.Undecodable, got.Dropped, want.Undecodable, want.Dropped)
	}
	got.Undecodable, got.Dropped, want.Undecodable, want.Dropped = nil, nil, nil, nil
	got.Balanced = got.Balanced && w.stats.Ledger().Balanced
	if !got.equal(want) {
		w.t.Errorf("the page is %+v, want %+v", got, want)
	}
}

func (p Page) equal(q Page) bool {
	return p.Balanced == q.Balanced && p.From == q.From && p.Next == q.Next && p.Offsets == q.Offsets && p.Gaps == q.Gaps &&
		p.Consumed == q.Consumed && p.Matched == q.Matched && p.Unmatched == q.Unmatched &&
		p.Deliveries == q.Deliveries && p.Handed == q.Handed && p.Buffered == q.Buffered
}

func TestTheLedgerBalances(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	reads, buffers, refuses, leaves := w.listener(), w.listener(), w.listener(), w.listener()
	buffers.buffers, refuses.refuses = true, true
	w.publish(100, `{"app_id":1}`) // read by reads and leaves, buffered, refused
	w.wantPage(Page{From: 100, Next: 101, Offsets: 1, Consumed: 1})
	w.work()
	w.publish(101, `{"app_id":2}`)
	w.hub.Skip(chat.Cursor{Partition: 1, Offset: 105}, chat.WrongType) // 102 to 104 were compacted
	w.publish(106, `{"app_id":1}`)                                     // read, buffered, not to be had by who leaves before its turn
	reads.onPush = func() { leaves.session.Closed() }
	w.work()
	dropped, undecodable := map[string]uint64{"slow_consumer": 1, "closed": 1}, map[string]uint64{"wrong_type": 1}
	want := Page{
		Balanced: true, From: 100, Next: 107, Offsets: 7, Gaps: 3, Consumed: 4, Matched: 2, Unmatched: 1, Undecodable: undecodable,
		Deliveries: 7, Handed: 3, Buffered: 2, Dropped: dropped,
	}
	w.wantPage(want)
	if len(buffers.waiting) != 2 || len(refuses.closed) != 1 {
		t.Fatalf("%d buffered, refused and closed %v", len(buffers.waiting), refuses.closed)
	}
	buffers.waiting[0].Flushed()
	buffers.waiting[1].Lost()
	dropped["closed"]++
	want.Handed, want.Buffered = 4, 0
	w.wantPage(want)
	if n := w.stats.Dropped(Undelivered).Load(); n != 2 {
		t.Errorf("%d pushes dropped in the metrics", n)
	}
	w.publish(5, `{"app_id":2}`) // another log, which begins anew
	w.work()
	want.From, want.Next, want.Offsets, want.Consumed, want.Unmatched = 5, 6, 8, 5, 2
	w.wantPage(want)
}

func TestAPanicIsInTheLedger(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	w.listener().onPush = func() { panic("oops") }
	w.listener()
	w.publish(0, `{"app_id":1}`)
	w.work()
	w.wantPage(Page{Balanced: true, Next: 1, Offsets: 1, Consumed: 1, Matched: 1, Deliveries: 2, Handed: 1, Dropped: map[string]uint64{"internal_error": 1}})
}

func TestAnswersAreNotInTheLedger(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	p := w.open()
	p.buffers = true
	p.ask(`{"path":"/ping"}`)
	if len(p.waiting) != 1 || p.waiting[0] != nil {
		t.Fatalf("the account of an answer is %v", p.waiting)
	}
	p.waiting[0].Flushed() // and takes what it is told
	p.waiting[0].Lost()
	if n := w.stats.Dropped(Undelivered).Load(); n != 0 {
		t.Errorf("%d pushes dropped", n)
	}
}

func (w *world) notify(text string) {
	w.t.Helper()
	if err := w.hub.Notify(context.Background(), []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

func TestNoticesGoToEverySession(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	w.notify("to nobody")
	if len(w.woken) != 0 {
		t.Error("a shard without sessions was woken")
	}
	listens, idle, leaves := w.listener(), w.open(), w.open()
	w.publish(1, `{"app_id":1}`)
	w.notify("notice")
	listens.onPush = func() {
		if len(listens.texts) == 1 { // the record has come, the notice is about to
			leaves.session.Closed()
		}
	}
	w.work()
	if got := strings.Join(listens.texts, "\n"); !strings.HasPrefix(got, `{"path":"/chat"`) || !strings.HasSuffix(got, "\nnotice") {
		t.Errorf("who listens got %s", got)
	}
	if len(idle.texts) != 1 || idle.texts[0] != "notice" || len(leaves.texts) != 0 {
		t.Errorf("who does not listen got %v, who left %v", idle.texts, leaves.texts)
	}
	w.wantPage(Page{Balanced: true, From: 1, Next: 2, Offsets: 1, Consumed: 1, Matched: 1, Deliveries: 1, Handed: 1})
	if w.stats.Written.Load() != 1 || w.stats.Matched.Load() != 1 || w.shard.matches != nil {
		t.Errorf("a notice was counted, or its list kept: %d written, %d matched, %v", w.stats.Written.Load(), w.stats.Matched.Load(), w.shard.matches)
	}
}

func TestNoticesKeepToTheBudget(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	for range 100 {
		w.open().onPush = func() { w.pass(50 * time.Microsecond) }
	}
	w.notify("notice")
	calls := 1
	for w.shard.Work(2 * time.Millisecond) {
		calls++
	}
	if calls != 3 {
		t.Errorf("100 notices of 50 us took %d calls of 2 ms", calls)
	}
}
