package sample

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestSummaryIsWithinItsError(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	h := NewHistogram()
	values := make([]int64, 100_000)
	for i := range values {
		values[i] = int64(math.Exp(dice.Float64()*18)) + 1 // 1 ns to 65 ms, evenly in the logarithm
		h.Record(values[i])
	}
	slices.Sort(values)
	got := h.Summary()
	for _, row := range []struct {
		name  string
		got   int64
		exact int64
	}{
		{"min", got.MinNs, values[0]},
		{"p50", got.P50Ns, values[len(values)/2-1]},
		{"p90", got.P90Ns, values[len(values)*90/100-1]},
		{"p99", got.P99Ns, values[len(values)*99/100-1]},
		{"p99.9", got.P999Ns, values[len(values)*999/1000-1]},
		{"max", got.MaxNs, values[len(values)-1]},
	} {
		if off := math.Abs(float64(row.got-row.exact)) / float64(row.exact); off > 0.001 {
			t.Errorf("%s is %d, exactly %d: off by %.2f %%", row.name, row.got, row.exact, 100*off)
		}
	}
	if got.Count != int64(len(values)) {
		t.Errorf("count %d", got.Count)
	}
}

func TestMergeIsAsIfOneHadCountedAll(t *testing.T) {
	dice := rand.New(rand.NewPCG(3, 4))
	all, parts := NewHistogram(), []*Histogram{NewHistogram(), NewHistogram(), NewHistogram()}
	for i := range 10_000 {
		ns := dice.Int64N(int64(time.Second)) << (i % 3)
		all.Record(ns)
		parts[i%3].Record(ns)
	}
	all.Record(-1)
	parts[0].Record(-1)
	merged := NewHistogram()
	for _, part := range parts {
		merged.Merge(part)
	}
	if merged.Summary() != all.Summary() || merged.Clamped() != all.Clamped() {
		t.Errorf("merged %+v\nwant   %+v", merged.Summary(), all.Summary())
	}
	if !merged.hdr.Equals(all.hdr) {
		t.Error("the counts of some values differ")
	}
}

func TestOutOfRangeIsClampedAndCounted(t *testing.T) {
	h := NewHistogram()
	h.Record(-5)
	h.Record(longest.Nanoseconds() + 1)
	h.Record(time.Second.Nanoseconds())
	if h.Count() != 3 || h.Clamped() != 2 {
		t.Errorf("count %d, clamped %d", h.Count(), h.Clamped())
	}
}

func TestEmptySummaryIsZero(t *testing.T) {
	if got := NewHistogram().Summary(); got != (Summary{}) {
		t.Errorf("%+v", got)
	}
}

// twin is the ledger as one would write it without a thought for memory.
type twin struct {
	got        map[[2]int]bool
	duplicated int
}

func (w *twin) deliver(record, member int) bool {
	key := [2]int{record, member}
	if w.got[key] {
		w.duplicated++
		return false
	}
	w.got[key] = true
	return true
}

func TestLedgerAgainstItsTwin(t *testing.T) {
	const records = 40
	for _, places := range []int{1, 63, 64, 65, 200} {
		isTaken := func(record, place int) bool { return (record+place)%5 != 0 } // the others never came up
		members := func(record int) (n int) {
			for place := range places {
				if isTaken(record, place) {
					n++
				}
			}
			return n
		}
		dice := rand.New(rand.NewPCG(5, uint64(places)))
		l, w := NewLedger(records, places, members), &twin{got: map[[2]int]bool{}}
		for range 20_000 {
			record, place := dice.IntN(records), dice.IntN(places)
			if !isTaken(record, place) {
				continue
			}
			if got, want := l.Deliver(record, place), w.deliver(record, place); got != want {
				t.Fatalf("record %d to place %d of %d: first %v, want %v", record, place, places, got, want)
			}
		}
		if l.Delivered() != len(w.got) || l.Duplicated() != w.duplicated {
			t.Errorf("delivered %d, duplicated %d; want %d, %d", l.Delivered(), l.Duplicated(), len(w.got), w.duplicated)
		}
		for record := range records {
			missing := members(record)
			for place := range places {
				if w.got[[2]int{record, place}] {
					missing--
				}
			}
			if l.Missing(record) != missing {
				t.Errorf("record %d: %d missing, want %d", record, l.Missing(record), missing)
			}
		}
	}
}

func TestCompleteRecordsKeepNoBits(t *testing.T) {
	l := NewLedger(100, 1000, func(int) int { return 1000 })
	for record := range 100 {
		for place := range 1000 {
			if !l.Deliver(record, place) {
				t.Fatalf("record %d to place %d counts as repeated", record, place)
			}
		}
		if l.Deliver(record, 500) {
			t.Errorf("record %d was delivered to place 500 again, unnoticed", record)
		}
	}
	if len(l.wide) != 0 || len(l.spare) != 1 {
		t.Errorf("%d sets under way, %d spare", len(l.wide), len(l.spare))
	}
}

func TestOrder(t *testing.T) {
	o := NewOrder(2)
	for _, row := range []struct {
		sentence  string
		conn      int
		partition int32
		offset    int64
		rises     bool
	}{
		{"the first offset is any", 0, 3, 100, true},
		{"gaps are records that went to others", 0, 3, 105, true},
		{"the same again does not rise", 0, 3, 105, false},
		{"nor does an earlier one", 0, 3, 101, false},
		{"which does not lower the mark", 0, 3, 104, false},
		{"another partition counts by itself", 0, 0, 0, true},
		{"another connection does too", 1, 3, 50, true},
		{"no topic has that many partitions", 1, maxPartitions, 1, false},
		{"no partition is negative", 1, -1, 1, false},
		{"no offset is negative", 1, 1, -1, false},
	} {
		if got := o.Advance(row.conn, row.partition, row.offset); got != row.rises {
			t.Errorf("%s: connection %d, %d/%d: rises %v", row.sentence, row.conn, row.partition, row.offset, got)
		}
	}
}
