package ladder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
)

// idleScenario is the scenario under which reports find memory per connection.
const idleScenario = "idle"

// measure reads the server's memory, with all connections of the step held.
func (c *climb) measure(ctx context.Context, s stage, connections int, idle, sample *load) report.Measurement {
	m := report.Measurement{
		Variant: c.config.Variant, Scenario: idleScenario, Round: 1, Connections: connections,
		ServerCommand: c.config.Server.Line(), LoadgenCommand: idle.command,
		Snapshots: []probe.Snapshot{
			c.ready,
			c.target.Take(ctx, "held", connections, false),
			c.target.Take(ctx, "held", connections, true),
		},
	}
	for _, name := range []string{"server", fmt.Sprintf("idle-%d", s.connections), fmt.Sprintf("push-%d", s.connections)} {
		m.Logs = append(m.Logs, filepath.Base(c.logPath(name)))
	}
	m.Loadgen = c.loadsTogether(connections, sample)
	return m
}

// loadsTogether is the load generators that hold connections at this moment as one:
// their own results come at the end.
func (c *climb) loadsTogether(connections int, sample *load) json.RawMessage {
	var all struct {
		Schema      int    `json:"schema"`
		Scenario    string `json:"scenario"`
		Processes   int    `json:"processes"`
		Connections struct {
			Asked          int     `json:"asked"`
			Held           int     `json:"held"`
			ConnectSeconds float64 `json:"connect_seconds"`
		} `json:"connections"`
		Self struct {
			RSSBytes           int64   `json:"rss_bytes"`
			BytesPerConnection int64   `json:"bytes_per_connection"`
			CPUSeconds         float64 `json:"cpu_seconds"`
		} `json:"self"`
		Valid bool `json:"valid"`
	}
	all.Schema, all.Scenario, all.Valid = 1, idleScenario, true
	all.Connections.Asked, all.Connections.Held = connections, connections
	all.Connections.ConnectSeconds = c.held.connectSeconds
	for _, l := range c.loads {
		if l != sample && isPush(l) {
			continue // that of an earlier step
		}
		all.Processes++
		took := probe.System.Process(l.PID())
		rss, _ := took.RSSBytes.Value()
		user, _ := took.CPUUserSeconds.Value()
		system, _ := took.CPUSystemSeconds.Value()
		all.Self.RSSBytes += int64(rss)
		all.Self.CPUSeconds += user + system
	}
	all.Self.BytesPerConnection = all.Self.RSSBytes / int64(max(connections, 1))
	raw, err := json.Marshal(all)
	if err != nil {
		panic(err) // numbers that are none of JSON's cannot come up
	}
	return raw
}

func isPush(l *load) bool { return l.command[1] == "push" }

// ask has every connection that stayed answer a ping, and then leave.
func (c *climb) ask(ctx context.Context, end *report.ClimbEnd) error {
	c.watch.begin("asking every connection", c.held.connections)
	var staying []*load
	for _, l := range c.loads {
		if !isPush(l) {
			staying = append(staying, l)
		}
	}
	// One after the other: those that are done leave, and who leaves costs more than
	// who answers.
	account := &report.Answered{}
	var wrong error
	ctx, cancel := c.within(ctx, time.Duration(len(staying))*2*answerDeadline, "the last answers took too long")
	defer cancel()
	for _, l := range staying {
		found, err := l.finish(ctx)
		if err != nil {
			return err
		}
		account.Asked += l.asked
		account.Answered += found.result.Connections.Held - found.result.Connections.Dropped
		wrong = errors.Join(wrong, found.verdict())
	}
	end.Answered = account
	if wrong == nil && account.Answered < account.Asked {
		wrong = fmt.Errorf("%w: of %d connections, %d did not answer at the end", errWrong, account.Asked, account.Asked-account.Answered)
	}
	if wrong == nil {
		end.Left = c.lookAfterwards(ctx)
	}
	return wrong
}

// lookAfterwards reads what the server keeps when everybody has gone.
func (c *climb) lookAfterwards(ctx context.Context) *probe.Snapshot {
	c.watch.begin("waiting until all have left", 0)
	fewest := math.MaxInt
	for deadline := time.Now().Add(c.config.Plan.Patience); time.Now().Before(deadline); {
		v, alive := c.watch.look()
		if !alive || v.Connections >= fewest { // what is left is not ours
			break
		}
		fewest = v.Connections
		if pause(ctx, 2*c.config.Plan.Settle) != nil {
			return nil
		}
	}
	left := c.target.Take(ctx, "left", 0, true)
	return &left
}

// judge says how the climb ended.
func (c *climb) judge(end *report.ClimbEnd, stoppedBy error) {
	end.Last, end.Most = c.watch.seen()
	if stoppedBy == nil {
		end.Outcome = report.Complete
		return
	}
	end.Outcome, end.Reason = report.Stopped, stoppedBy.Error()
	if errors.Is(stoppedBy, errWrong) {
		end.Outcome = report.Strayed
	}
	// When a server ends, connections break first: the load generators may be the
	// first to complain.
	select {
	case <-c.server.Exited():
		end.Outcome, end.Reason = report.ServerEnded, c.server.Failure("holding connections").Error()
	case <-time.After(lookEvery):
	}
	said := kernelSaid("/dev/kmsg")
	if wasKilled(said, c.pids()) || end.Outcome == report.ServerEnded && isOutOfMemory(end.Reason) {
		end.Outcome, end.Kernel = report.OutOfMemory, said
	}
}

// pids are those of all that was started.
func (c *climb) pids() []int {
	all := []int{c.server.PID()}
	for _, l := range c.loads {
		all = append(all, l.PID())
	}
	return all
}

// wasKilled tells whether one of the processes is among those that the kernel ended
// for want of memory.
func wasKilled(said []string, pids []int) bool {
	return slices.ContainsFunc(said, func(line string) bool {
		return slices.ContainsFunc(pids, func(pid int) bool {
			return strings.Contains(line, fmt.Sprintf("Killed process %d ", pid))
		})
	})
}

// isOutOfMemory knows the last words of Go's runtime.
func isOutOfMemory(lastWords string) bool {
	return strings.Contains(lastWords, "out of memory") || strings.Contains(lastWords, "cannot allocate memory")
}
