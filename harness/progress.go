package main

import (
	"fmt"
	"io"
	"time"
)

// progress tells people how far a run is. What remains is the plan's estimate,
// corrected by how the finished part went against its own.
type progress struct {
	w       io.Writer
	now     func() time.Time
	started time.Time

	planned   []time.Duration
	done      int
	doneSince time.Time // end of the last finished part
	spent     time.Duration
	estimated time.Duration // of what is finished
}

func newProgress(w io.Writer, now func() time.Time, planned []time.Duration) *progress {
	start := now()
	return &progress{w: w, now: now, started: start, doneSince: start, planned: planned}
}

// finish ends the current part of the plan.
func (p *progress) finish() {
	now := p.now()
	p.spent += now.Sub(p.doneSince)
	p.doneSince = now
	p.estimated += p.planned[p.done]
	p.done++
}

func (p *progress) remaining() time.Duration {
	var left time.Duration
	for _, part := range p.planned[p.done:] {
		left += part
	}
	if p.estimated > 0 {
		left = time.Duration(float64(left) * p.spent.Seconds() / p.estimated.Seconds())
	}
	return max(left-p.now().Sub(p.doneSince), 0)
}

// say writes a line with the time that has passed and that is left.
func (p *progress) say(format string, args ...any) {
	fmt.Fprintf(p.w, "[%s, %s left] %2d/%d %s\n", clock(p.now().Sub(p.started)), clock(p.remaining()),
		min(p.done+1, len(p.planned)), len(p.planned), fmt.Sprintf(format, args...))
}

func clock(d time.Duration) string {
	seconds := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}
