package stack

import (
	"bytes"
	"strings"
	"sync"
)

// What is remembered of a child's output. The log file has everything.
const (
	keptLines    = 2000
	longestLine  = 1 << 20 // a longer one is cut into several
	lineTailSize = 20      // lines shown when a child fails
)

// lines splits a child's output into lines and lets others wait for one. It is
// an io.Writer for os/exec, which calls Write from one goroutine.
type lines struct {
	partial []byte // owned by the writer: a line whose end has not come

	mu      sync.Mutex
	kept    []string      // guarded by mu: the last keptLines
	dropped int           // guarded by mu: lines before kept[0]
	changed chan struct{} // guarded by mu: closed when a line is added
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

// Write takes the next piece of output; it never fails.
func (l *lines) Write(p []byte) (int, error) {
	l.partial = append(l.partial, p...)
	for {
		end := bytes.IndexByte(l.partial, '\n')
		if end < 0 {
			break
		}
		l.add(string(l.partial[:end]))
		l.partial = l.partial[end+1:]
	}
	if len(l.partial) >= longestLine {
		l.flush()
	}
	return len(p), nil
}

// flush makes a line of what has no end; call it when the output is over.
func (l *lines) flush() {
	if len(l.partial) > 0 {
		l.add(string(l.partial))
		l.partial = nil
	}
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, line)
	if len(l.kept) > keptLines {
		l.kept = l.kept[1:]
		l.dropped++
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// from returns the lines from number n on, the number after the last, and a
// channel that is closed when there is another.
func (l *lines) from(n int) (fresh []string, next int, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := max(n-l.dropped, 0)
	return l.kept[start:], l.dropped + len(l.kept), l.changed
}

// tail returns the last lines, indented, for an error message.
func (l *lines) tail() string {
	all, _, _ := l.from(0)
	if len(all) == 0 {
		return "    (it wrote nothing)"
	}
	if len(all) > lineTailSize {
		all = all[len(all)-lineTailSize:]
	}
	return "    " + strings.Join(all, "\n    ")
}
