package feed

import "testing"

// A stall is told after 4 ticks; after one that was over at once the next has to last
// twice as long, up to 64; a long one, or a calm minute, and all is as before.
func TestFlapping(t *testing.T) {
	var f flapping
	stall := func(ticks int) {
		f.tick(false)
		for range ticks {
			f.tick(true)
		}
		f.resumed()
	}
	want := func(patience int, after string) {
		t.Helper()
		if got := f.patience(); got != patience {
			t.Errorf("%s: a stall is told after %d ticks, want %d", after, got, patience)
		}
	}
	want(4, "at the start")
	for _, patience := range []int{8, 16, 32, 64, 64} {
		stall(1)
		want(patience, "after brief stalls")
	}
	stall(briefTicks)
	want(4, "after a long one")
	stall(0)
	stall(briefTicks - 1)
	want(16, "after two brief ones")
	for range calmTicks - 1 {
		f.tick(false)
	}
	want(16, "in nearly a calm minute")
	f.tick(false)
	want(4, "after a calm minute")
}
