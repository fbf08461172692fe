package main

import "time"

// pings counts the pings of one silence. Time is counted in ticks.
type pings struct {
	heard uint32 // the sign of life that they came after
	sent  uint8
}

// due says whether a ping is due after so much silence, which then counts as sent. A peer is pinged once
// for each full idle time of its silence. wait is the time until the next question.
func (p *pings) due(heard, now, idle uint32) (due bool, wait uint32) {
	if p.heard != heard {
		*p = pings{heard: heard}
	}
	silent := now - heard
	if next := idle * (1 + uint32(p.sent)); silent < next {
		return false, next - silent
	}
	p.sent++
	return true, idle
}

func ticks(d time.Duration) uint32 { return uint32(max(1, (d+tickEvery-1)/tickEvery)) }

// A peer that was silent for this many idle times is ended.
const silences = 3
