package ladder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
	"chatmonitor/harness/stack"
)

// Config is one climb. All static.
type Config struct {
	Variant string
	Server  stack.Command // its log goes to Folder, whatever LogPath says
	Loadgen string        // path of the load generator
	// LoadFlags go to every load generator.
	LoadFlags []string
	PushFlags []string // and these to those that push
	Env       []string
	Kafka     []string
	Topic     string
	Plan      report.ClimbPlan
	// Sources gives addresses to connect from that were not given before.
	Sources func(connections int) []string
	Folder  string // for logs
	// Abandon: the machine is thrown away afterwards, so nothing is stopped. To
	// close a million sockets takes minutes where the processor is emulated.
	Abandon bool
	// Tell is called by two goroutines, one at a time.
	Tell func(Event) error
}

// climb is a climb under way.
type climb struct {
	config Config
	server *stack.Server
	target probe.Target
	watch  *watch
	ready  probe.Snapshot // before the first connection
	loads  []*load        // that stay
	held   held           // by those that stay
}

type held struct {
	connections    int
	connectSeconds float64
}

// errWrong: the server gave wrong answers.
var errWrong = errors.New("wrong answers")

// Climb takes the server up and tells what happens; the last event is the end,
// whatever came before. It returns an error only if there was nobody to tell, or
// ctx ended.
func Climb(ctx context.Context, config Config) error {
	if err := Validate(config.Plan); err != nil {
		return err
	}
	config.Tell = oneAtATime(config.Tell)
	c := &climb{config: config}
	end, err := c.run(ctx)
	leaveErr := c.leave()
	if err != nil {
		return errors.Join(err, leaveErr)
	}
	return errors.Join(config.Tell(Event{End: &end}), leaveErr)
}

func oneAtATime(tell func(Event) error) func(Event) error {
	turn := make(chan struct{}, 1)
	return func(e Event) error {
		turn <- struct{}{}
		defer func() { <-turn }()
		return tell(e)
	}
}

func (c *climb) run(ctx context.Context) (end report.ClimbEnd, err error) {
	if err := c.startServer(ctx); err != nil {
		return report.ClimbEnd{Outcome: report.Stopped, Reason: err.Error()}, ctx.Err()
	}
	climbing, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go c.watchServer(climbing, stop)
	c.beginWatch()
	watched, untold := make(chan struct{}), make(chan error, 1)
	go func() {
		err := c.watch.run(watched)
		if err != nil {
			stop(err)
		}
		untold <- err
	}()
	stoppedBy := c.steps(climbing, &end)
	close(watched)
	if err := <-untold; err != nil && !errors.Is(err, errStuck) {
		return end, err
	}
	if ctx.Err() != nil {
		return end, context.Cause(ctx)
	}
	c.judge(&end, stoppedBy)
	return end, nil
}

func (c *climb) logPath(name string) string {
	return filepath.Join(c.config.Folder, c.config.Variant+"-"+name+".log")
}

const (
	readyDeadline  = 2 * time.Minute
	answerDeadline = 10 * time.Minute // a collection over gigabytes on an emulated processor
)

func (c *climb) startServer(ctx context.Context) error {
	ctx, cancel := c.within(ctx, readyDeadline, "the server took too long to get ready")
	defer cancel()
	command := c.config.Server
	command.LogPath = c.logPath("server")
	server, err := stack.StartServer(ctx, command)
	if err != nil {
		return err
	}
	c.server = server
	c.target = probe.Target{Proc: probe.System, PID: server.PID(), Admin: probe.Admin{Address: server.Admin, Timeout: answerDeadline}}
	return nil
}

func (c *climb) within(ctx context.Context, d time.Duration, because string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%s (%v)", because, d))
}

// beginWatch takes down how things are without connections. The server itself has a
// few sockets by then.
func (c *climb) beginWatch() {
	c.watch = &watch{
		proc: probe.System, pid: c.server.PID(), started: time.Now(),
		base: probe.System.Vital(c.server.PID()).TCPInUse, tell: c.config.Tell, patience: c.config.Plan.Patience,
	}
	c.watch.begin("starting", 0)
}

// watchServer ends the climb, with the reason, when the server ends: the load
// generators would only see connections break.
func (c *climb) watchServer(ctx context.Context, stop context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-c.server.Exited():
		stop(c.server.Failure("holding connections"))
	}
}

func (c *climb) steps(ctx context.Context, end *report.ClimbEnd) error {
	if err := pause(ctx, c.config.Plan.Settle); err != nil {
		return err
	}
	c.ready = c.target.Take(ctx, "ready", 0, true)
	for _, s := range stages(c.config.Plan) {
		if err := c.step(ctx, s); err != nil {
			return err
		}
	}
	return c.ask(ctx, end)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// serverGrace is for the end of a server whose --drain is short.
const serverGrace = 15 * time.Second

// leave stops what was started.
func (c *climb) leave() error {
	if c.config.Abandon || c.server == nil {
		return nil
	}
	var err error
	for _, l := range c.loads {
		err = errors.Join(err, l.Stop(serverGrace))
	}
	select {
	case <-c.server.Exited():
		return err // the end has told how
	default:
		return errors.Join(err, c.server.Stop(serverGrace))
	}
}
