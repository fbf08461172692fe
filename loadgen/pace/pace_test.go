package pace

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	const start = 1_000_000_000
	for _, row := range []struct {
		sentence  string
		n         int
		perSecond float64
		want      int64
	}{
		{"the first event is due at the start, whatever the rate", 0, 200, start},
		{"at 200 a second the next one is due 5 ms later", 1, 200, start + 5_000_000},
		{"after one second's worth of events exactly one second has passed", 200, 200, start + 1_000_000_000},
		{"a rate below one a second spaces events by more than a second", 1, 0.5, start + 2_000_000_000},
		{"a rate that does not divide a second is cut to the nanosecond below", 1, 3, start + 333_333_333},
		{"and the cuts do not add up: the third of three is on the second again", 3, 3, start + 1_000_000_000},
		{"a million a second is one each microsecond", 7, 1e6, start + 7_000},
		{"a day at 10,000 a second is still exact", 864_000_000, 10_000, start + 86_400_000_000_000},
		{"so is a hundred days", 86_400_000_000, 10_000, start + 8_640_000_000_000_000},
	} {
		if got := Due(start, row.n, row.perSecond); got != row.want {
			t.Errorf("%s: event %d at %g/s is due at %d, want %d", row.sentence, row.n, row.perSecond, got, row.want)
		}
	}
}

func TestCount(t *testing.T) {
	for _, row := range []struct {
		sentence  string
		d         time.Duration
		perSecond float64
		want      int
	}{
		{"ten seconds at 200 a second are 2,000 events: the one due at the end belongs to what follows", 10 * time.Second, 200, 2000},
		{"no time, no events", 0, 200, 0},
		{"a negative time has none either", -time.Second, 200, 0},
		{"no rate, no events", time.Second, 0, 0},
		{"the event at the very start counts, however slow the rate", time.Millisecond, 1, 1},
		{"a second at three a second holds three, though thirds of a second are cut", time.Second, 3, 3},
		{"part of an interval holds the event that opened it", 1100 * time.Millisecond, 10, 11},
		{"a tenth more than that holds no further one", 1199 * time.Millisecond, 10, 12},
	} {
		if got := Count(row.d, row.perSecond); got != row.want {
			t.Errorf("%s: %v at %g/s counts %d, want %d", row.sentence, row.d, row.perSecond, got, row.want)
		}
	}
}

func TestSharesMakeUpTheWholeStream(t *testing.T) {
	whole := Schedule{StartNs: 5, PerSecond: 700, Count: 100}
	seen := map[int]int64{}
	for process := range 3 {
		share := Schedule{StartNs: 5, PerSecond: 700, First: process, Step: 3, Count: (100 - process + 2) / 3}
		for i := range share.Count {
			number := share.Number(i)
			if _, taken := seen[number]; taken {
				t.Errorf("event %d of share %d is number %d, which another share has", i, process, number)
			}
			seen[number] = share.Due(i)
		}
	}
	if len(seen) != whole.Count {
		t.Errorf("%d events in all shares, %d in the whole", len(seen), whole.Count)
	}
	for i := range whole.Count {
		if due, ok := seen[i]; !ok || due != whole.Due(i) {
			t.Errorf("event %d is due at %d in its share (found: %v), at %d in the whole", i, due, ok, whole.Due(i))
		}
	}
}

func TestRunNeverFiresEarlyAndCatchesUp(t *testing.T) {
	late := Schedule{StartNs: Now() - time.Second.Nanoseconds(), PerSecond: 1000, Count: 1010}
	fired := 0
	err := new(Pacer).Run(context.Background(), late, func(i int, dueNs int64) {
		if i != fired || dueNs != late.Due(i) || Now() < dueNs {
			t.Errorf("event %d fired as number %d, due %d, at %d", i, fired, dueNs, Now())
		}
		fired++
	})
	if err != nil || fired != late.Count {
		t.Errorf("fired %d of %d events, error %v", fired, late.Count, err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("enough")
	ended := make(chan error, 1)
	first := make(chan struct{})
	go func() {
		ended <- new(Pacer).Run(ctx, Schedule{StartNs: Now(), PerSecond: 0.001, Count: 2}, func(int, int64) { close(first) })
	}()
	<-first
	cancel(reason)
	if err := <-ended; !errors.Is(err, reason) {
		t.Errorf("Run returned %v, want the cause", err)
	}
}

func TestSpinNeverFillsTheInterval(t *testing.T) {
	for _, row := range []struct {
		sentence  string
		perSecond float64
		want      time.Duration
	}{
		{"at a low rate the full spin is cheap", 200, longestSpin},
		{"at 10,000 a second it is a quarter of the 100 us between events", 10_000, 25 * time.Microsecond},
		{"at a million there is no time to spin", 1e6, 250},
	} {
		if got := spinFor(Schedule{PerSecond: row.perSecond, Count: 2}); got != row.want {
			t.Errorf("%s: at %g/s spins %v, want %v", row.sentence, row.perSecond, got, row.want)
		}
	}
}
