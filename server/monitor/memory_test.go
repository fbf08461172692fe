package monitor

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"chatmonitor/server/chat"
)

// heapBytes is the live heap.
func heapBytes() int {
	runtime.GC()
	runtime.GC() // what the first one found in sync.Pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A million sessions have one rule of two fields each. What a rule takes is its name, what /rules prints
// and its part of the index; a session without rules has none of it.
func TestMemoryOfAMillionRules(t *testing.T) {
	const sessions = 1_000_000
	const mostBytes = 160
	for _, sharing := range []int{1, 1000} {
		empty := heapBytes()
		c := newCrowd(sessions)
		opened := heapBytes()
		c.listen(sessions / sharing)
		full := heapBytes()
		for _, s := range c.sessions[:sessions-sessions/100] {
			s.removeRule(0)
		}
		left := heapBytes()
		session, rule := (opened-empty)/sessions, (full-opened)/sessions
		t.Logf("%d sessions a key: %d bytes a session, of which 8 are the test's; %d bytes a rule; %d bytes for each of the 1 %% that stay",
			sharing, session, rule, (left-opened)/(sessions/100))
		if rule > mostBytes {
			t.Errorf("%d sessions a key: a rule takes %d bytes, want %d at most", sharing, rule, mostBytes)
		}
		if most := sessions / 100 * mostBytes; left-opened > most {
			t.Errorf("%d sessions a key: when 1 %% of the rules are left, they take %d bytes, want %d at most", sharing, left-opened, most)
		}
		if list := string(c.sessions[sessions-1].shard.index.Rule(0).AppendJSON(nil)); list == "" {
			t.Error("a rule prints as nothing")
		}
		runtime.KeepAlive(c)
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"Session", unsafe.Sizeof(Session{}), 48},
		{"rule", unsafe.Sizeof(rule{}), 40},
		{"entry", unsafe.Sizeof(entry{}), 16},
		{"segment", unsafe.Sizeof(segment{}), 4096},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, c.got, c.want)
		}
	}
}

// A record to 1,000 sessions allocates no more than a record to one.
func TestDeliveryDoesNotAllocate(t *testing.T) {
	allocs := func(sessions, records int) float64 {
		c := newCrowd(sessions)
		c.listen(1)
		p := line(0)
		return testing.AllocsPerRun(50, func() {
			for range records {
				if err := c.hub.Publish(context.Background(), chat.Cursor{}, time.Now(), nil, p.record); err != nil {
					t.Error(err)
				}
			}
			for c.shard.Work(time.Second) {
			}
		})
	}
	for _, records := range []int{1, 10} {
		if one, many := allocs(1, records), allocs(1000, records); many > one {
			t.Errorf("%d records to one session make %v allocations, to 1,000 sessions %v", records, one, many)
		}
	}
}

func TestSessionsWithoutRulesKeepNothingForRules(t *testing.T) {
	c := newCrowd(1000)
	if x := c.shard.index; x.rules.pages != nil || x.entries.pages != nil || x.chains.directory != nil || c.sessions[0].rare != nil {
		t.Error("there is memory for rules")
	}
	s := c.sessions[0]
	for i := range 3 {
		s.setRule(-1, fmt.Sprint(i), fieldRule(1, 1))
	}
	for range 3 {
		s.removeRule(0)
	}
	if s.rare != nil {
		t.Error("a session whose rules have gone keeps a list of them")
	}
}
