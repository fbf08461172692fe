package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const progressInterval = time.Second

// counts is what can be told of a run under way; those of several processes add up.
type counts struct {
	Doing      string `json:"doing"`
	Up         int64  `json:"up"`
	Asked      int64  `json:"asked"`
	Lost       int64  `json:"lost"`
	Sent       int64  `json:"sent"`
	ToSend     int64  `json:"to_send"`
	Received   int64  `json:"received"`
	LatestP99  int64  `json:"latest_p99_ns"` // of the last full second; the worst process's
	SecondsAgo int64  `json:"seconds_ago"`   // since this began
	Seconds    int64  `json:"seconds"`       // that this takes; 0 if unknown
}

func (c counts) add(d counts) counts {
	return counts{
		Doing: d.Doing, Up: c.Up + d.Up, Asked: c.Asked + d.Asked, Lost: c.Lost + d.Lost,
		Sent: c.Sent + d.Sent, ToSend: c.ToSend + d.ToSend, Received: c.Received + d.Received,
		LatestP99: max(c.LatestP99, d.LatestP99), SecondsAgo: max(c.SecondsAgo, d.SecondsAgo), Seconds: max(c.Seconds, d.Seconds),
	}
}

func (c counts) String() string {
	var b strings.Builder
	b.WriteString(c.Doing)
	if c.Asked > 0 {
		fmt.Fprintf(&b, ": %d of %d connections up", c.Up, c.Asked)
	}
	if c.Lost > 0 {
		fmt.Fprintf(&b, ", %d lost", c.Lost)
	}
	if c.ToSend > 0 {
		fmt.Fprintf(&b, "; %d of %d sent, %d received", c.Sent, c.ToSend, c.Received)
	}
	if c.LatestP99 > 0 {
		fmt.Fprintf(&b, ", p99 %s", milliseconds(c.LatestP99))
	}
	if c.Seconds > 0 {
		fmt.Fprintf(&b, "; %d s of %d s", min(c.SecondsAgo, c.Seconds), c.Seconds)
	} else {
		fmt.Fprintf(&b, "; %d s", c.SecondsAgo)
	}
	return b.String()
}

// teller tells somebody about progress.
type teller interface {
	tell(c counts)
	end()
}

// nobody is told nothing.
type nobody struct{}

func (nobody) tell(counts) {}
func (nobody) end()        {}

// people are told in one line that is rewritten on a terminal, else in a line each time. Write errors are nobody's
// business: a closed stderr is no reason to end a run.
type people struct {
	w        io.Writer
	terminal *os.File // nil: plain lines
	told     bool
}

func tellPeople(w io.Writer, quiet bool) teller {
	if quiet {
		return nobody{}
	}
	file, isFile := w.(*os.File)
	isPlain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	if !isFile || isPlain || !term.IsTerminal(int(file.Fd())) {
		file = nil
	}
	return &people{w: w, terminal: file}
}

func (p *people) tell(c counts) {
	p.told = true
	if p.terminal != nil {
		fmt.Fprintf(p.w, "\r%s\x1b[K", p.cut(c.String()))
		return
	}
	fmt.Fprintln(p.w, c)
}

// cut leaves of a line what the terminal has room for: one that is wrapped could not be rewritten.
func (p *people) cut(line string) string {
	columns, _, err := term.GetSize(int(p.terminal.Fd()))
	if err != nil || columns < 1 {
		return line
	}
	return line[:min(len(line), columns-1)]
}

func (p *people) end() {
	if p.told && p.terminal != nil {
		fmt.Fprintln(p.w)
	}
}

// progress tells once a second what goes on.
type progress struct {
	to      teller
	stop    chan struct{}
	stopped chan struct{}

	// guarded by mu
	mu    sync.Mutex
	look  func() counts
	since time.Time // zero if what is looked at knows its age
}

// startProgress begins; end it.
func startProgress(to teller) *progress {
	p := &progress{to: to, stop: make(chan struct{}), stopped: make(chan struct{})}
	go p.run()
	return p
}

// now sets what is told from here on.
func (p *progress) now(look func() counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look, p.since = look, time.Now()
}

// relay sets what is told from here on, of others who say since when they do what they do.
func (p *progress) relay(look func() counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look, p.since = look, time.Time{}
}

func (p *progress) run() {
	defer close(p.stopped)
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.tick()
		case <-p.stop:
			return
		}
	}
}

func (p *progress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.look == nil {
		return
	}
	c := p.look()
	if !p.since.IsZero() {
		c.SecondsAgo = int64(time.Since(p.since).Round(time.Second).Seconds())
	}
	p.to.tell(c)
}

// end returns when nothing more will be told.
func (p *progress) end() {
	close(p.stop)
	<-p.stopped
	p.to.end()
}
