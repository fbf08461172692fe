package monitor

import (
	"fmt"
	"strings"
	"testing"

	"chatmonitor/server/chat"
)

// addKeywords gives the index rules with the given keywords each, and no other condition.
func (x *Index) addKeywords(rules int, keyword func(i int) []string) {
	for i := range rules {
		x.Add(int32(i), fmt.Sprint(i), &chat.Rule{Keywords: keyword(i)})
	}
}

// steps is what a search for the rules that want p's record takes.
func (x *Index) steps(p *publication) int {
	const most = 1 << 40
	x.Begin(p)
	return most - x.Continue(most, func(int32) {})
}

// A text that repeats the first two runes of a thousand keywords costs no more than one that has them once.
func TestAPrefixIsAskedOnce(t *testing.T) {
	x := newIndex(nil)
	x.addKeywords(1000, func(i int) []string { return []string{fmt.Sprint("HA", i), fmt.Sprint("HB", i), "X"} })
	once, often := line(1), line(1)
	once.record.Text = "ha"
	often.record.Text = strings.Repeat("ha", 200)
	if one, many := x.steps(once), x.steps(often); many > 2*one || one > 10_000 {
		t.Errorf("a text with the prefix of 1,000 rules takes %d steps, one with it 200 times %d", one, many)
	}
}

// Looking for a keyword in a long text takes as long as many steps, and a rule may have many keywords.
func TestKeywordsInALongTextStopAtTheBudget(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	const keywords = 50
	var rule chat.Rule
	for i := range keywords {
		rule.Keywords = append(rule.Keywords, fmt.Sprint("HAHAX", i))
	}
	p := w.open()
	p.session.setRule(-1, "it", &rule)
	w.publish(1, `{"text":"`+strings.Repeat("ha", 128<<10)+`"}`)
	calls := 1
	for w.shard.Work(-1) {
		calls++
	}
	if calls < keywords {
		t.Errorf("%d keywords were looked for in 256 KiB with %d looks at the clock", keywords, calls)
	}
}

// A rule may go, or move to another's place, while its keywords are being looked for.
func TestRulesChangeBetweenKeywords(t *testing.T) {
	for steps := 1; steps < 20; steps++ {
		for gone := range 3 {
			w := newTwins()
			for _, k := range []string{"nothing", "ha", "hb"} {
				w.add(otherRule(fmt.Sprintf(`{"keywords":["x1","x2",%q]}`, k)))
			}
			p := line(1)
			p.record.Text = "haHB"
			found := make(map[int32]bool)
			w.index.Begin(p)
			w.index.Continue(steps, func(owner int32) { found[owner] = true })
			w.remove(gone)
			for w.index.Continue(1, func(owner int32) { found[owner] = true }) == 0 {
			}
			for _, owner := range w.scan.match(p) {
				if !found[owner] {
					t.Errorf("rule %d was not found when rule %d went after %d steps", owner, gone+1, steps)
				}
			}
			if found[1] {
				t.Errorf("rule 1 was found when rule %d went after %d steps", gone+1, steps)
			}
		}
	}
}

// What prefixes cost is counted when a session's rules go bit by bit.
func TestRulesWithManyKeywordsGoBitByBit(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	p := w.open()
	var rule chat.Rule
	for i := range 50 {
		rule.Keywords = append(rule.Keywords, fmt.Sprint(string(rune('A'+i)), "X"))
	}
	for i := range 500 {
		p.session.setRule(-1, fmt.Sprint(i), &rule)
	}
	index := w.shard.index
	entries := index.entries.n
	p.session.Closed()
	if removed := entries - index.entries.n; removed > maxEntriesRemoved+256 {
		t.Errorf("%d entries of %d went at once", removed, entries)
	}
	w.work()
	if index.rules.n != 0 || index.entries.n != 0 {
		t.Errorf("%d rules, %d entries are left", index.rules.n, index.entries.n)
	}
}

// A long text is folded by whoever publishes it, if anybody has keywords.
func TestALongTextIsFoldedByThePublisher(t *testing.T) {
	w := newWorld(t, NewRouter(), 10)
	s := w.open().session
	long := `{"text":"` + strings.Repeat("x", 100<<10) + `"}`
	folded := func(value string) bool {
		w.publish(1, value)
		p := <-w.shard.inbox
		defer w.hub.answered(p, 0, 0)
		return len(p.foldedText) > 0
	}
	s.setRule(-1, "any", &chat.Rule{})
	if folded(long) {
		t.Error("a text was folded that nobody asks for")
	}
	s.setRule(-1, "keyword", &chat.Rule{Keywords: []string{"X"}})
	if !folded(long) {
		t.Error("a long text is left to the shard's goroutine")
	}
	if folded(`{"text":"short"}`) {
		t.Error("a short text was folded before anybody asked")
	}
}

// A search does not come across rules that name other values, nor those that name a field which the record
// lacks.
func TestASearchPassesByOtherRules(t *testing.T) {
	for f := chat.AppID; f <= chat.Channel; f++ {
		x := newIndex(nil)
		for i := range 1000 {
			var r chat.Rule
			if f == chat.Channel {
				r.Channels = []string{fmt.Sprintf("%03d", i)}
			} else {
				r.IDs[f] = []int64{int64(i)}
			}
			x.Add(int32(i), "it", &r)
		}
		p := &publication{}
		if n := x.steps(p); n > 0 {
			t.Errorf("%v: a record without it takes %d steps", f, n)
		}
		p.record.Present, p.record.Channel = 1<<f, "000"
		if n := x.steps(p); n > 10 {
			t.Errorf("%v: a record that one of 1,000 rules wants takes %d steps", f, n)
		}
	}
}
