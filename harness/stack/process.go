package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Command says what child to run.
type Command struct {
	Name    string   // what messages call it, such as "reactor server"
	Path    string   // the binary
	Args    []string // without the program's name
	Env     []string // nil: the harness' own environment
	LogPath string   // where its standard error goes
}

// Line is the command as a run records it: with the program as it is seen from the
// working folder, since where that lies is the machine's own affair.
func (c Command) Line() []string {
	path := c.Path
	if folder, err := os.Getwd(); err == nil {
		if near, err := filepath.Rel(folder, path); err == nil && filepath.IsLocal(near) {
			path = near
		}
	}
	return append([]string{path}, c.Args...)
}

// Process is a running child. Whoever starts one stops it, always:
//
//   - Stop sends signals to its own pid only;
//   - it has its own process group, so a Ctrl-C in the terminal reaches the
//     harness alone, which then stops its children in order;
//   - the kernel kills it when the harness dies without having stopped it.
type Process struct {
	name   string
	cmd    *exec.Cmd
	logger *os.File
	stdin  io.WriteCloser
	stdout *lines
	stderr *lines

	exited  chan struct{} // closed when the child is gone and its output is read
	waitErr error         // valid once exited is closed
}

// Start runs the command.
func Start(c Command) (*Process, error) {
	logger, err := os.Create(c.LogPath)
	if err != nil {
		return nil, fmt.Errorf("stack: log file of %s: %w", c.Name, err)
	}
	p := &Process{
		name: c.Name, logger: logger, stdout: newLines(), stderr: newLines(),
		cmd: exec.Command(c.Path, c.Args...), exited: make(chan struct{}),
	}
	p.cmd.Env = c.Env
	p.cmd.Stdout = p.stdout
	p.cmd.Stderr = io.MultiWriter(p.stderr, logger)
	p.cmd.WaitDelay = 2 * time.Second // a grandchild that holds the pipes must not hold us
	// Pdeathsig fires when the thread that forked ends. Go's threads end only
	// under a goroutine that dies locked to one; this code locks none.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.stdin, err = p.cmd.StdinPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("stack: start %s: %w", c.Name, errors.Join(err, logger.Close()))
	}
	go p.wait()
	return p, nil
}

func (p *Process) wait() {
	err := p.cmd.Wait() // all output has been written when it returns
	p.stdout.flush()
	p.stderr.flush()
	if closeErr := p.logger.Close(); err == nil {
		err = closeErr
	}
	p.waitErr = err
	close(p.exited)
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the child has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode is the child's exit code once it has Exited; -1 if a signal ended it.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Failure describes a child that ended when it should not have, with the last
// lines that it logged.
func (p *Process) Failure(doing string) error {
	<-p.exited
	return fmt.Errorf("stack: %s ended (%s) while %s; the end of %s:\n%s",
		p.name, p.cmd.ProcessState, doing, filepath.Base(p.logger.Name()), p.stderr.tail())
}

// Stop asks the child to end, kills it when grace has passed, and returns when
// it is gone. A child that had to be killed, or that did not answer SIGTERM with
// exit code 0, is an error. Of a child that is already gone Stop says nothing:
// who waited for it knows.
func (p *Process) Stop(grace time.Duration) error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stack: stop %s: %w", p.name, errors.Join(err, p.Kill()))
	}
	select {
	case <-p.exited:
	case <-time.After(grace):
		err := fmt.Errorf("stack: %s was still running %v after SIGTERM and was killed", p.name, grace)
		return errors.Join(err, p.Kill())
	}
	if p.waitErr != nil {
		return p.Failure("being stopped")
	}
	return nil
}

// Kill ends the child at once and returns when it is gone.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stack: kill %s: %w", p.name, err)
	}
	<-p.exited
	return nil
}

// waitLine returns what find makes of the first line, from line number n on, in
// which it finds something, and the number of the line after it. The end of
// the child is an error, unless the line was among its last.
func (p *Process) waitLine(ctx context.Context, from *lines, n int, doing string, find func(string) (string, bool)) (string, int, error) {
	for {
		gone := p.hasExited() // before the lines are read: then they are the last
		fresh, next, changed := from.from(n)
		for i, line := range fresh {
			if found, ok := find(line); ok {
				return found, next - len(fresh) + i + 1, nil
			}
		}
		n = next
		if gone {
			return "", n, p.Failure(doing)
		}
		select {
		case <-changed:
		case <-p.exited:
		case <-ctx.Done():
			return "", n, fmt.Errorf("stack: %s: %s: %w; the end of %s:\n%s", p.name, doing,
				context.Cause(ctx), filepath.Base(p.logger.Name()), p.stderr.tail())
		}
	}
}

func (p *Process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}
