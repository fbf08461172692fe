package reactor

import (
	"testing"
	"time"
)

func TestDrainIsSpread(t *testing.T) {
	for _, c := range []struct {
		total   int64
		elapsed time.Duration
		want    int
	}{
		{1, 0, 1}, {2, 0, 1}, {2, 5 * time.Second, 1}, {11, 0, 1}, {11, 3 * time.Second, 6}, {11, 5999 * time.Millisecond, 10},
	} {
		d := &drain{from: time.Unix(0, 0), spread: 6 * time.Second, total: c.total}
		sent := 0
		for d.take(d.from.Add(c.elapsed)) {
			sent++
		}
		if sent != c.want {
			t.Errorf("%d WebSockets, after %v: %d sent away, want %d", c.total, c.elapsed, sent, c.want)
		}
	}
	d := &drain{from: time.Unix(0, 0), spread: 0, total: 5}
	for range 10 { // also those that came since
		if !d.take(d.from) {
			t.Fatal("after the spread somebody may stay")
		}
	}
}
