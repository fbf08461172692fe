package main

import "testing"

func TestOnePingForEachIdleTimeOfASilence(t *testing.T) {
	var p pings
	const idle = 10
	for _, c := range []struct {
		heard, now uint32
		due        bool
		wait       uint32
	}{
		{0, 0, false, 10},
		{0, 9, false, 1},
		{0, 10, true, 10},
		{0, 11, false, 9},
		{0, 20, true, 10},
		{21, 25, false, 6}, // a sign of life: the count begins again
		{21, 31, true, 10},
		{1<<32 - 5, 4, false, 1}, // the clock has come round
		{1<<32 - 5, 5, true, 10},
	} {
		if due, wait := p.due(c.heard, c.now, idle); due != c.due || wait != c.wait {
			t.Errorf("heard %d, now %d: %v, %d", c.heard, c.now, due, wait)
		}
	}
}
