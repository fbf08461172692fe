package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Program starts servers of one variant.
type Program struct {
	Path string
	Args []string // before all other flags, such as --profile=plain
}

const envPrefix = "CHATMONITOR_"

// environment is the suite's own without any setting of the server, or of Go that goes before one, and with
// those given.
func environment(settings []string) []string {
	own := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, envPrefix) || strings.HasPrefix(e, "GOGC=") })
	return append(own, settings...)
}

// Outcome is what a program that ended has left.
type Outcome struct {
	Code           int
	Stdout, Stderr string
}

// Exec runs the program until it ends by itself.
func (p *Program) Exec(t testing.TB, settings []string, flags ...string) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, p.Path, slices.Concat(p.Args, flags)...)
	command.Env = environment(settings)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", p.Path, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %v did not end within %v; stderr:\n%s", p.Path, flags, patience, &stderr)
	}
	return Outcome{Code: command.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// Instance is a running server.
type Instance struct {
	Address string
	Admin   string
	PID     int

	process *os.Process
	log     *log
	logPipe *os.File
	ended   chan struct{}
	code    int // set before ended is closed

	hasAdmin bool
	mayFail  bool
	asked    bool // to end, by terminate
}

// Start starts a server and waits for its port. It is ended by SIGTERM at the end of t, if it has not
// ended by then, and must exit 0.
func (p *Program) Start(t testing.TB, flags ...string) *Instance {
	t.Helper()
	i := p.launch(t, flags)
	t.Cleanup(func() { i.stop(t) })
	i.awaitPort(t)
	return i
}

// launch starts a server and leaves it to the caller to stop it.
func (p *Program) launch(t testing.TB, flags []string) *Instance {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatalf("pipe for stderr: %v", err)
	}
	command := exec.Command(p.Path, slices.Concat(p.Args, flags)...)
	command.Env = environment(nil)
	command.Stderr = writer
	// Should the test program be killed, nothing is left behind.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = command.Start()
	if closeErr := writer.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		t.Fatalf("start %s: %v", p.Path, err)
	}
	i := &Instance{
		PID: command.Process.Pid, process: command.Process, log: newLog(), logPipe: reader, ended: make(chan struct{}),
		hasAdmin: slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--admin-listen=") }),
	}
	go i.log.read(reader)
	go i.wait(command)
	return i
}

func (i *Instance) wait(command *exec.Cmd) {
	_ = command.Wait() // the exit code tells
	i.code = command.ProcessState.ExitCode()
	close(i.ended)
}

func (i *Instance) awaitPort(t testing.TB) {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := i.log.changed()
		text := i.log.String()
		if i.hasAdmin {
			i.Admin = addressIn(text, `"admin listening"`)
		}
		if i.Address = addressIn(text, "listening"); i.Address != "" && (i.Admin != "" || !i.hasAdmin) {
			return
		}
		select {
		case <-changed:
		case <-i.ended:
			t.Fatalf("the server ended with %d before it listened; stderr:\n%s", i.code, i.log)
		case <-deadline:
			t.Fatalf("the server does not listen after %v; stderr:\n%s", patience, i.log)
		}
	}
}

func addressIn(text, message string) string {
	found := regexp.MustCompile(`msg=` + message + ` address=(\S+)`).FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	return found[1]
}

// Signal sends the server a signal.
func (i *Instance) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := i.process.Signal(s); err != nil {
		t.Fatalf("signal %v to process %d: %v", s, i.PID, err)
	}
}

// ExitCode waits for the end of the server.
func (i *Instance) ExitCode(t testing.TB) int {
	t.Helper()
	select {
	case <-i.ended:
	case <-time.After(patience):
		t.Fatalf("the server has not ended within %v; stderr:\n%s", patience, i.log)
	}
	return i.code
}

// Ended reports that the server has ended.
func (i *Instance) Ended() bool {
	select {
	case <-i.ended:
		return true
	default:
		return false
	}
}

// MayFail says that the case itself judges how the server ends.
func (i *Instance) MayFail() { i.mayFail = true }

// BreakLog closes the reading end of the server's stderr.
func (i *Instance) BreakLog(t testing.TB) {
	t.Helper()
	if err := i.logPipe.Close(); err != nil {
		t.Fatalf("close the pipe from stderr: %v", err)
	}
}

// terminate asks the server to end, unless it has. It asks once: a second signal is an order.
func (i *Instance) terminate(t testing.TB) {
	if i.Ended() || i.asked {
		return
	}
	i.asked = true
	if err := i.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("SIGTERM to process %d: %v", i.PID, err)
	}
}

// stop ends the server and judges how it has ended.
func (i *Instance) stop(t testing.TB) {
	i.terminate(t)
	select {
	case <-i.ended:
	case <-time.After(patience):
		t.Errorf("the server has not ended %v after SIGTERM and is killed", patience)
		if err := i.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("SIGKILL to process %d: %v", i.PID, err)
		}
		<-i.ended
	}
	_ = i.logPipe.Close() // the case may have broken it already
	if i.code != 0 && !i.mayFail {
		t.Errorf("the server ended with exit code %d", i.code)
	}
	if t.Failed() {
		t.Logf("stderr of the server at %s:\n%s", i.Address, i.log)
	}
}

// log keeps what a server writes to stderr.
type log struct {
	mu      sync.Mutex
	text    []byte        // guarded by mu: at most the last maxLogBytes
	waiting chan struct{} // guarded by mu: closed at the next change
}

const maxLogBytes = 64 << 10

func newLog() *log { return &log{waiting: make(chan struct{})} }

// read takes everything until the pipe's end, or until this end is closed.
func (l *log) read(r io.Reader) {
	buffer := make([]byte, 4096)
	for {
		n, err := r.Read(buffer)
		l.mu.Lock()
		l.text = append(l.text, buffer[:n]...)
		l.text = l.text[max(0, len(l.text)-maxLogBytes):]
		close(l.waiting)
		l.waiting = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// changed is closed when there is more.
func (l *log) changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// start starts a server that reads the trial's topic, with further flags; one given here replaces the
// suite's own of the same name.
func (tr *trial) start(flags ...string) *Instance {
	tr.Helper()
	return tr.Program.Start(tr.TB, tr.flags(flags)...)
}

func (tr *trial) flags(more []string) []string {
	flags := map[string]string{
		"--listen": "127.0.0.1:0", "--admin-listen": "127.0.0.1:0",
		"--kafka": strings.Join(tr.Brokers, ","), "--topic": tr.topic, "--drain": "1s",
	}
	for _, flag := range more {
		name, value, _ := strings.Cut(flag, "=")
		flags[name] = value
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if value := flags[name]; value != "" {
			name += "=" + value
		}
		all = append(all, name)
	}
	return all
}
