package app

import (
	"io"
	"log/slog"
	"time"

	"chatmonitor/server/monitor"
)

// Lines that may wait for a slow stderr.
const logQueue = 1024

// A stderr that is not read holds up the end by this much at most.
const flushTime = 500 * time.Millisecond

// lossyWriter hands lines to a goroutine that writes them, and drops them when it can't keep up: a
// full or broken stderr stops nobody. slog writes a whole line at a time.
type lossyWriter struct {
	lines chan []byte
	done  chan struct{}
	stats *monitor.Stats
}

func newLog(w io.Writer, stats *monitor.Stats) (*slog.Logger, *lossyWriter) {
	l := &lossyWriter{lines: make(chan []byte, logQueue), done: make(chan struct{}), stats: stats}
	go l.run(w)
	return slog.New(slog.NewTextHandler(l, nil)), l
}

func (l *lossyWriter) run(w io.Writer) {
	defer close(l.done)
	for line := range l.lines {
		if line == nil {
			return
		}
		if _, err := w.Write(line); err != nil {
			l.stats.LogDropped.Add(1)
		}
	}
}

func (l *lossyWriter) Write(line []byte) (int, error) {
	select {
	case l.lines <- append([]byte(nil), line...):
	default:
		l.stats.LogDropped.Add(1)
	}
	return len(line), nil
}

// flush gives the last lines a moment to be written, and ends the writing.
func (l *lossyWriter) flush() {
	patience := time.NewTimer(flushTime)
	defer patience.Stop()
	select {
	case l.lines <- nil:
	case <-patience.C:
		return
	}
	select {
	case <-l.done:
	case <-patience.C:
	}
}
