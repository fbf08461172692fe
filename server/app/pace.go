package app

import "time"

// Pace limits how many messages come in a second. Each message makes a connection's account due a step
// later; an account that is a second ahead is used up. That is a bucket with a second's worth of
// tokens, in the four bytes of one time (the generic cell rate algorithm).
type Pace struct{ stepMicros uint32 }

const burstMicros = 1_000_000

// NewPace allows so many messages a second; 0 is any number.
func NewPace(perSecond int) Pace {
	if perSecond == 0 {
		return Pace{}
	}
	return Pace{stepMicros: uint32(max(1, burstMicros/perSecond))}
}

// Limited reports that there is a limit, so that messages must be counted.
func (p Pace) Limited() bool { return p.stepMicros > 0 }

// Take counts a message at the time now, and reports false if it is one too many. due is the
// connection's account: it begins as the time at which the connection does, and begins again after a
// second or more without a message. That is the caller's to see to, since times wrap after 71
// minutes; an account that seems to be further ahead than it can be is taken for one long paid.
func (p Pace) Take(due *uint32, now uint32) bool {
	ahead := *due - now
	if ahead > burstMicros {
		*due, ahead = now, 0
	}
	if ahead+p.stepMicros > burstMicros {
		return false
	}
	*due += p.stepMicros
	return true
}

var paceEpoch = time.Now()

// PaceNow is the time that Take wants.
func PaceNow() uint32 { return uint32(time.Since(paceEpoch).Microseconds()) }
