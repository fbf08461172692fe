// Package pace says when each event of an open-loop load is due, and waits for that moment.
//
// The due time is a pure function of the start, the rate and the event's number: nothing that happened before
// (a slow answer, a late send) moves it. Latency counted from the due time therefore includes the time during
// which a closed loop would politely have sent nothing:
//
//	due        0    1    2    3    4    5        what was intended
//	sent       |    |    |         |||| |        what the sender managed; sent - due is its lag
//	received    |    |    |         |||| |       received - due is the response time
//
// The package knows no connection and no message, and it keeps no statistics.
package pace

import "time"

const nanosecondsPerSecond = 1e9

// Schedule is an even stream of events, or one process's share of it: every Step-th event from First on.
type Schedule struct {
	StartNs   int64   // CLOCK_MONOTONIC time at which event 0 of the whole stream is due
	PerSecond float64 // rate of the whole stream
	First     int     // number of this share's first event
	Step      int     // distance between this share's events; 0 counts as 1
	Count     int     // events in this share
}

// Number gives the place in the whole stream of the i-th event of this share.
func (s Schedule) Number(i int) int {
	return s.First + i*max(s.Step, 1)
}

// Due gives the time at which the i-th event of this share is due.
func (s Schedule) Due(i int) int64 {
	return Due(s.StartNs, s.Number(i), s.PerSecond)
}

// Due gives the time at which event n of an even stream is due. It is computed from n alone, so rounding never
// adds up: the error stays below one nanosecond for more than a hundred days.
func Due(startNs int64, n int, perSecond float64) int64 {
	return startNs + int64(float64(n)/perSecond*nanosecondsPerSecond)
}

// Count gives how many events of an even stream are due in its first d, the one at the very start included.
func Count(d time.Duration, perSecond float64) int {
	if d <= 0 || perSecond <= 0 {
		return 0
	}
	n := int(d.Seconds() * perSecond)
	for Due(0, n, perSecond) < int64(d) {
		n++
	}
	for n > 0 && Due(0, n-1, perSecond) >= int64(d) {
		n--
	}
	return n
}
