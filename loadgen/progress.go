package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

const progressInterval = time.Second

// progress tells people once a second what goes on: one line that is rewritten on a terminal, else a line each time.
type progress struct {
	w         io.Writer
	rewrites  bool
	mu        sync.Mutex
	describe  func() string
	startedAt time.Time
	stop      chan struct{}
	stopped   chan struct{}
}

func startProgress(w io.Writer, quiet bool) *progress {
	p := &progress{w: w, stop: make(chan struct{}), stopped: make(chan struct{})}
	if quiet {
		close(p.stopped)
		return p
	}
	file, isFile := w.(*os.File)
	isPlain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	p.rewrites = isFile && !isPlain && term.IsTerminal(int(file.Fd()))
	go p.run()
	return p
}

// now sets what is told from here on; since is the time since this call.
func (p *progress) now(describe func(since time.Duration) string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.startedAt = time.Now()
	p.describe = func() string { return describe(time.Since(p.startedAt)) }
}

func (p *progress) run() {
	defer close(p.stopped)
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	told := false
	for {
		select {
		case <-ticker.C:
			told = p.tell() || told
		case <-p.stop:
			if told && p.rewrites {
				fmt.Fprintln(p.w)
			}
			return
		}
	}
}

// tell ignores write errors: a closed stderr is no reason to end a run.
func (p *progress) tell() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.describe == nil {
		return false
	}
	if p.rewrites {
		fmt.Fprintf(p.w, "\r%s\x1b[K", p.describe())
	} else {
		fmt.Fprintln(p.w, p.describe())
	}
	return true
}

// end returns when nothing more will be written.
func (p *progress) end() {
	close(p.stop)
	<-p.stopped
}
