package feed

// flapping is what the clients of a feed that stalls again and again are spared: each
// notice goes to every session, and a million writes may be what the next stall comes
// from. It is counted in ticks of the watch.
type flapping struct {
	brief int // stalls in a row that were over soon after the clients had been told
	told  int // ticks since they were
	calm  int // ticks since the feed resumed
}

const (
	// A stall that is over sooner after it was told need not have been.
	briefTicks = 10
	// So long without a stall, and the past is forgotten.
	calmTicks = 60
	// The patience doubles so many times: 4, 8, 16, 32, 64 ticks.
	mostDoublings = 4
)

// patience is for how many ticks a partition has to fail before the clients are told.
func (f *flapping) patience() int { return stalledTicks << min(f.brief, mostDoublings) }

// tick counts time, with what the clients believe.
func (f *flapping) tick(stalled bool) {
	if stalled {
		f.told, f.calm = f.told+1, 0
		return
	}
	if f.calm++; f.calm >= calmTicks {
		f.brief = 0
	}
}

// resumed is the end of a stall that the clients were told of.
func (f *flapping) resumed() {
	if f.told < briefTicks {
		f.brief++
	} else {
		f.brief = 0
	}
	f.told = 0
}
