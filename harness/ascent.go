package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"chatmonitor/harness/ladder"
)

// ascent tells people how far a climb is.
type ascent struct {
	w       io.Writer
	now     func() time.Time
	started time.Time

	name      string // of the variant
	turn, of  int
	top       int
	connected []ladder.Vital // the latest while connections were coming up
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
func (a *ascent) vital(v ladder.Vital) {
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
func perSecond(readings []ladder.Vital) float64 {
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

func (a *ascent) end(e ladder.End) {
	a.say("%s", describeEnd(e))
}

// describeEnd says in a line how far a server came.
func describeEnd(e ladder.End) string {
	switch {
	case e.Outcome == ladder.Complete:
		return fmt.Sprintf("at the top; all of %s that stayed answered at the end", grouped(e.Answered.Answered))
	case e.Reason == "":
		return fmt.Sprintf("%s at %s connections", e.Outcome, grouped(e.Last.Connections))
	}
	return fmt.Sprintf("%s at %s connections, server %s, %s free: %s",
		e.Outcome, grouped(e.Last.Connections), mebibytes(e.Last.ServerBytes), mebibytes(e.Last.AvailableBytes), shortReason(e))
}

// shortReason is one line of what is known: the kernel's verdict where there is one.
func shortReason(e ladder.End) string {
	for _, line := range e.Kernel {
		if strings.Contains(line, "Killed process") {
			return "the kernel said: " + line
		}
	}
	line, _, _ := strings.Cut(e.Reason, "\n")
	return line
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
