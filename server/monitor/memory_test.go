package monitor

import (
	"context"
	"fmt"
	"runtime"
	"strings"
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

// memory is what a million sessions take, with one rule of two fields each: a rule's name, what /rules
// prints, and its part of the index.
type memory struct {
	sessionBytes int // of a session without rules
	ruleBytes    int // of a rule
	leftBytes    int // of each rule that stays when 99 % have gone
}

// measureMemory has so many sessions share each pair of values.
func measureMemory(sharing int) memory {
	const sessions = 1_000_000
	test := sessions * int(unsafe.Sizeof((*Session)(nil))) // crowd's own list
	empty := heapBytes()
	c := newCrowd(sessions)
	opened := heapBytes()
	c.listen(sessions / sharing)
	full := heapBytes()
	for _, s := range c.sessions[:sessions-sessions/100] {
		s.removeRule(0)
	}
	left := heapBytes()
	runtime.KeepAlive(c)
	return memory{(opened - empty - test) / sessions, (full - opened) / sessions, (left - opened) / (sessions / 100)}
}

func TestMemoryOfAMillionRules(t *testing.T) {
	const mostBytes = 160
	for _, sharing := range []int{1, 1000} {
		m := measureMemory(sharing)
		t.Logf("%d sessions share a key: %+v", sharing, m)
		if m.ruleBytes > mostBytes || m.leftBytes > mostBytes {
			t.Errorf("%d sessions share a key: %+v, want %d bytes a rule at most", sharing, m, mostBytes)
		}
	}
}

// BenchmarkMemory measures no time.
func BenchmarkMemory(b *testing.B) {
	for _, sharing := range []int{1, 1000} {
		b.Run(fmt.Sprintf("rules=1000000/sharing=%d", sharing), func(b *testing.B) {
			for range b.N {
				m := measureMemory(sharing)
				b.ReportMetric(float64(m.sessionBytes), "B/session")
				b.ReportMetric(float64(m.ruleBytes), "B/rule")
				b.ReportMetric(float64(m.leftBytes), "B/rule-left")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// What a long rule took returns with it, also where its place in the list is kept.
func TestLongRulesReturnTheirMemory(t *testing.T) {
	x := newIndex(func(_, _, _ int32) {})
	empty := heapBytes()
	long := &chat.Rule{Channels: []string{strings.Repeat("x", 1<<20)}}
	for range 10 {
		x.Add(0, "it", long)
	}
	for x.rules.n > 0 {
		x.Remove(0)
	}
	x.encode = nil
	if left := heapBytes() - empty; left > 3<<20 {
		t.Errorf("ten rules of 1 MiB leave %d bytes", left)
	}
	runtime.KeepAlive(x)
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

// A record to 1,000 sessions allocates no more than a record to one; what the runtime allocates meanwhile is
// counted, too.
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
		if one, many := allocs(1, records), allocs(1000, records); many > one+3 {
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
