package ladder

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
)

// watch looks at the server's machine while something else is under way, tells
// about it, and knows afterwards what was seen last.
type watch struct {
	// static
	proc     probe.Proc
	pid      int
	started  time.Time
	base     probe.Reading // sockets without connections
	tell     func(Event) error
	patience time.Duration

	mu     sync.Mutex
	doing  string       // guarded by mu
	target int          // guarded by mu
	last   report.Vital // guarded by mu: while the server was alive
	most   int          // guarded by mu
	rose   time.Time    // guarded by mu: when there were last more connections than ever in this step
	high   int          // guarded by mu: most connections of this step
}

const (
	lookEvery = time.Second
	tellEvery = 3 // looks
)

// errStuck: the server lives, and no connection came up for long.
var errStuck = errors.New("nothing came up any more")

// run looks until done is closed. It returns errStuck if a step that is being
// connected does not get on.
func (w *watch) run(done <-chan struct{}) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for looks := 1; ; looks++ {
		select {
		case <-done:
			return nil
		case <-tick.C:
		}
		vital, alive := w.look()
		if !alive {
			continue // the one who waits for the server hears of it
		}
		if stuck := w.note(vital, time.Now()); stuck {
			return fmt.Errorf("%w: %d connections for %v", errStuck, vital.Connections, w.patience)
		}
		if looks%tellEvery != 0 {
			continue
		}
		if err := w.tell(Event{Vital: &vital}); err != nil {
			return err
		}
	}
}

// begin says what comes next.
func (w *watch) begin(doing string, target int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doing, w.target, w.rose, w.high = doing, target, time.Now(), 0
}

func (w *watch) seen() (last report.Vital, most int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.most
}

// Connecting is what a climb does while connections come up.
const Connecting = "connecting"

func (w *watch) note(v report.Vital, now time.Time) (stuck bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last, w.most = v, max(w.most, v.Connections)
	if v.Connections > w.high || w.doing != Connecting {
		w.high, w.rose = v.Connections, now
	}
	return now.Sub(w.rose) > w.patience
}

// look reads how things are; not alive: the server has ended.
func (w *watch) look() (v report.Vital, alive bool) {
	read := w.proc.Vital(w.pid)
	resident, alive := read.RSSBytes.Value()
	if !alive {
		return report.Vital{}, false
	}
	w.mu.Lock()
	v = report.Vital{Doing: w.doing, Target: w.target}
	w.mu.Unlock()
	v.Seconds = time.Since(w.started).Seconds()
	v.ServerBytes = int64(resident)
	if came, known := read.TCPInUse.Minus(w.base).Value(); known {
		v.Connections = max(0, int(came)/2) // both ends are here
	}
	available, _ := read.MemoryAvailableBytes.Value()
	v.AvailableBytes = int64(available)
	return v, true
}

// keptKernelLines is how many of the kernel's lines about memory are kept.
const keptKernelLines = 20

// kernelSaid returns the kernel's last lines about memory, as far as they may be
// read.
func kernelSaid(path string) []string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // no privilege: then nobody knows
	}
	defer unix.Close(fd)
	var said []string
	record := make([]byte, 8<<10)
	for {
		n, err := unix.Read(fd, record)
		switch {
		case errors.Is(err, unix.EPIPE): // older records were overwritten meanwhile
			continue
		case err != nil || n == 0:
			return said[max(0, len(said)-keptKernelLines):]
		}
		for line := range strings.Lines(string(record[:n])) {
			if text := kernelMessage(line); isAboutMemory(text) {
				said = append(said, text)
			}
		}
	}
}

// kernelMessage takes the prefix "6,1234,5678901,-;" off.
func kernelMessage(line string) string {
	if _, text, found := strings.Cut(line, ";"); found {
		line = text
	}
	return strings.TrimSpace(line)
}

func isAboutMemory(text string) bool {
	for _, phrase := range []string{"Out of memory", "oom-kill", "oom_reaper", "invoked oom-killer", "page allocation failure", "allocation failed", "TCP: out of memory"} {
		if strings.Contains(text, phrase) {
			return true
		}
	}
	return false
}
