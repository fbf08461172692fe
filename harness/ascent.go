package main

import (
	"fmt"
	"io"
	"time"

	"chatmonitor/harness/ladder"
	"chatmonitor/harness/report"
)

// ascent tells people how far a climb is.
type ascent struct {
	w       io.Writer
	now     func() time.Time
	started time.Time

	name      string // of the variant
	turn, of  int
	top       int
	connected []report.Vital // the latest while connections were coming up
}

func newAscent(w io.Writer, now func() time.Time) *ascent {
	return &ascent{w: w, now: now, started: now()}
}

// next begins a variant.
func (a *ascent) next(name string, turn, of, top int) {
	a.name, a.turn, a.of, a.top, a.connected = name, turn, of, top, nil
}

func (a *ascent) say(format string, args ...any) {
	fmt.Fprintf(a.w, "[%s] %d/%d %s: %s\n", clock(a.now().Sub(a.started)), a.turn, a.of, a.name, fmt.Sprintf(format, args...))
}

// rateWindow is how many of the latest readings the rate is taken from.
const rateWindow = 10

// vital is one line every few seconds.
func (a *ascent) vital(v report.Vital) {
	text := fmt.Sprintf("%s, %s of %s connections", v.Doing, grouped(v.Connections), grouped(a.top))
	if v.Doing == ladder.Connecting {
		if n := len(a.connected); n > 0 && a.connected[n-1].Target != v.Target {
			a.connected = nil // what lay between was no connecting
		}
		a.connected = append(a.connected, v)
		a.connected = a.connected[max(0, len(a.connected)-rateWindow):]
		if rate := perSecond(a.connected); rate > 0 {
			left := time.Duration(float64(a.top-v.Connections) / rate * float64(time.Second))
			text += fmt.Sprintf(", %s/s, about %s of connecting left", grouped(int(rate)), clock(left))
		}
	}
	a.say("%s; server %s, %s free", text, mebibytes(v.ServerBytes), mebibytes(v.AvailableBytes))
}

// perSecond is the rate at which connections came up over the readings.
func perSecond(readings []report.Vital) float64 {
	if len(readings) < 2 {
		return 0
	}
	first, last := readings[0], readings[len(readings)-1]
	if last.Seconds <= first.Seconds {
		return 0
	}
	return float64(last.Connections-first.Connections) / (last.Seconds - first.Seconds)
}

func (a *ascent) step(s ladder.Step) {
	a.say("step: %s connections held, sample pushed to", grouped(s.Connections))
}

func (a *ascent) end(e report.ClimbEnd) {
	a.say("%s", e)
}

func mebibytes(bytes int64) string {
	return grouped(int(bytes>>20)) + " MiB"
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
