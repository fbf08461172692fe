package ladder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
	"chatmonitor/harness/stack"
)

// load is one load generator and the connections that it holds.
type load struct {
	*stack.Loadgen
	command []string
	asked   int
}

// start has a load generator connect its part, in the middle of what others hold.
func (c *climb) start(scenario string, s stage, p part, flags ...string) (*load, error) {
	name := fmt.Sprintf("%s-%d", scenario, s.connections)
	args := append([]string{scenario, "--control", "--quiet",
		"--url=ws://" + c.server.Address + "/ws",
		"--connections=" + strconv.Itoa(p.connections),
		"--first-group=" + strconv.Itoa(p.firstGroup),
		"--sources=" + strings.Join(c.config.Sources(p.connections), ","),
	}, flags...)
	command := stack.Command{
		Name: "load generator " + name, Path: c.config.Loadgen,
		Args: append(args, c.config.LoadFlags...), Env: c.config.Env, LogPath: c.logPath(name),
	}
	l, err := stack.StartLoadgen(command)
	if err != nil {
		return nil, err
	}
	return &load{Loadgen: l, command: command.Line(), asked: p.connections}, nil
}

// awaitHeld waits until all connections of the load are up; who watches the climb
// bounds the wait.
func (l *load) awaitHeld(ctx context.Context) (stack.Held, error) {
	up, result, err := l.AwaitHeld(ctx)
	if errors.Is(err, stack.ErrEndedAtGate) {
		return up, fmt.Errorf("%w: %.2000s", err, result)
	}
	if err != nil || up.Connections == l.asked {
		return up, err
	}
	short := fmt.Errorf("of %d connections that were to come up, %d did", l.asked, up.Connections)
	outcome, err := l.finish(ctx)
	if err != nil {
		return up, errors.Join(short, err)
	}
	return up, fmt.Errorf("%w: %s", short, strings.Join(outcome.result.InvalidBecause, "; "))
}

// outcome is what a load generator found.
type outcome struct {
	raw    json.RawMessage
	result *report.LoadgenResult
	code   int
}

// finish opens the gate and waits for the result and the end.
func (l *load) finish(ctx context.Context) (outcome, error) {
	if err := l.Go(); err != nil {
		return outcome{}, err
	}
	raw, err := l.AwaitResult(ctx)
	if err != nil {
		return outcome{}, err
	}
	result, err := report.Measurement{Loadgen: raw}.Result()
	if err != nil {
		return outcome{}, err
	}
	code, err := l.AwaitExit(ctx)
	return outcome{raw, result, code}, err
}

// loadgenWrong is the exit code for wrong answers of the server.
const loadgenWrong = 3

// verdict is errWrong with what was wrong. That a schedule was not kept is nobody's
// fault here: the sample shows that sessions are alive, and measures no time.
func (o outcome) verdict() error {
	r := o.result.Records
	if bad := r.Lost + r.Duplicated + r.Wrong + r.Reordered; o.code == loadgenWrong || bad > 0 {
		return fmt.Errorf("%w: %d deliveries were lost, duplicated, changed or reordered: %s", errWrong, bad, strings.Join(o.result.WrongBecause, "; "))
	}
	return nil
}

// step takes the server one step up and tells about it.
func (c *climb) step(ctx context.Context, s stage) error {
	began := time.Now().UTC()
	c.watch.begin(Connecting, s.connections)
	// The sample first: a server without rules pushes to those that come first.
	sample, sampleHeld, err := c.connect(ctx, s, s.sample, "push", c.pushFlags()...)
	if err != nil {
		return err
	}
	idle, idleHeld, err := c.connect(ctx, s, s.idle, "idle")
	if err != nil {
		return err
	}
	c.held.connections += idleHeld.Connections
	c.held.connectSeconds += idleHeld.ConnectSeconds + sampleHeld.ConnectSeconds

	c.watch.begin("reading memory", s.connections)
	step := Step{Connections: c.held.connections + sampleHeld.Connections, ConnectSeconds: idleHeld.ConnectSeconds + sampleHeld.ConnectSeconds}
	if err := pause(ctx, c.config.Plan.Settle); err != nil {
		return err
	}
	available, _ := probe.System.Vital(c.server.PID()).MemoryAvailableBytes.Value()
	step.AvailableBytes = int64(available)
	step.Measurement = c.measure(ctx, s, step.Connections, idle, sample)
	c.watch.begin("pushing", s.connections)
	pushed, err := c.push(ctx, sample)
	if err != nil {
		return err
	}
	step.Push = pushed.raw
	step.Measurement.Started, step.Measurement.Seconds = began, time.Since(began).Seconds()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(c.config.Tell(Event{Step: &step}), pushed.verdict())
}

// connect starts a load and waits for its connections. Loads that stay are kept.
func (c *climb) connect(ctx context.Context, s stage, p part, scenario string, flags ...string) (*load, stack.Held, error) {
	l, err := c.start(scenario, s, p, flags...)
	if err != nil {
		return nil, stack.Held{}, err
	}
	c.loads = append(c.loads, l)
	up, err := l.awaitHeld(ctx)
	return l, up, err
}

func (c *climb) pushFlags() []string {
	s := c.config.Plan.Sample
	flags := []string{
		"--receivers=" + strconv.Itoa(s.Receivers), "--rate=" + fmt.Sprint(s.Rate), "--duration=" + s.Duration.String(), "--warmup=0s",
		"--kafka=" + strings.Join(c.config.Kafka, ","), "--topic=" + c.config.Topic,
	}
	return append(flags, c.config.PushFlags...)
}

func (c *climb) push(ctx context.Context, sample *load) (outcome, error) {
	// Its own patience ends first, with a result.
	ctx, cancel := c.within(ctx, c.config.Plan.Sample.Duration+answerDeadline, "the result of the pushes took too long")
	defer cancel()
	return sample.finish(ctx)
}
