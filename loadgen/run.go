// Loadgen puts an open-loop load on a WebSocket server and tells what the server made of it.
//
// It holds the connections of many clients on one thread, sends on a schedule that no slow answer delays, counts
// latency from the time at which something was due, and checks every byte that comes back. It starts no server
// and no broker, and it judges one run only: comparing runs is somebody else's business.
//
//	main package    command line, scenarios, the result
//	pace            when things are due; waiting for it
//	client          the connections: one epoll loop, a few bytes each
//	protocol        the chat protocol, and the records of the load
//	sample          histograms, series, raw samples and the account of deliveries
//
// A scenario is data (type scenario) and a load: what it hears from the connections, and what it does with them.
//
//	command line -> scenario -> session: one process      -> outcome -> result
//	                         -> crew: copies of itself,   -> outcomes, merged
//	                            each one session
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitFine    = 0
	exitFailed  = 1 // the tool failed, usage included
	exitInvalid = 2 // the run must not be used
	exitWrong   = 3 // the server gave wrong answers
)

// program is what the tool needs of the world.
type program struct {
	stdin        io.Reader
	stdout       io.Writer
	stderr       io.Writer
	openProducer func(ctx context.Context, flags feedFlags) (producer, error)
	executable   string // a copy of itself, for further processes
}

type commands struct {
	Idle      idleCommand      `cmd:"" help:"Hold connections that do nothing, then check that every one still answers."`
	Connect   connectCommand   `cmd:"" help:"Open connections at a fixed rate, whether or not earlier ones are up."`
	Request   requestCommand   `cmd:"" help:"Send requests at a fixed rate, spread over the connections."`
	Push      pushCommand      `cmd:"" help:"Produce records to Kafka at a fixed rate and account for every push that they must cause."`
	Broadcast broadcastCommand `cmd:"" help:"Push each record to all connections: how long until the first and the last has it."`
	Churn     churnCommand     `cmd:"" help:"Push while other connections come and go at a fixed rate."`
	Slow      slowCommand      `cmd:"" help:"Push while a share of the connections has stopped reading: what the others notice of it."`
	Plan      planCommand      `cmd:"" default:"withargs" help:"Run scenarios from a file, one after the other; --plan FILE does the same."`
}

// command is one subcommand.
type command interface {
	validate() error
	run(ctx context.Context, p *program, args []string) (exitCode int, err error)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, openProducer: openKafka, executable: "/proc/self/exe"}
	raiseProcessors()
	return p.run(ctx, args)
}

// raiseProcessors adds a processor, in Go's sense, for each of the two threads that spend their time in system
// calls (events, pacing). Without, the runtime takes and gives processors all the time: its monitor thread alone
// then needs a tenth of a core (seen).
func raiseProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	}
}

func (p *program) run(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, isFile := p.stderr.(*os.File); !isFile {
		p.stderr = &sharedWriter{w: p.stderr} // further processes and progress write to it at once
	}
	chosen, err := p.parse(args)
	if errors.Is(err, errHelped) {
		return exitFine
	}
	if err != nil {
		return p.fail(err)
	}
	code, err := chosen.run(ctx, p, args)
	if errors.Is(err, errDismissed) {
		return exitFine
	}
	if err != nil {
		return p.fail(err)
	}
	return code
}

// sharedWriter lets one write at a time.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

func (p *program) fail(err error) int {
	fmt.Fprintf(p.stderr, "loadgen: %v\n", err)
	if errors.As(err, new(wrongError)) {
		return exitWrong
	}
	return exitFailed
}

// wrongError ends a run without a result: the server was so wrong that there was nothing to measure.
type wrongError struct{ error }

func (e wrongError) Unwrap() error { return e.error }

// errHelped: the arguments asked for help only, and it was given.
var errHelped = errors.New("helped")

// parse gives the command that the arguments name, validated.
func (p *program) parse(args []string) (chosen command, err error) {
	helped := false
	parser, err := p.parser(&helped)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if helped {
		return nil, errHelped
	}
	if err != nil {
		return nil, fmt.Errorf("%w (see %s --help)", err, asked(args, err))
	}
	chosen, ok := parsed.Selected().Target.Addr().Interface().(command)
	if !ok {
		panic("loadgen: a subcommand that is no command: " + parsed.Command())
	}
	return chosen, chosen.validate()
}

// asked is the command whose help has what the error is about. Without a name it is a plan, or a mistake.
func asked(args []string, err error) string {
	var wrong *kong.ParseError
	if errors.As(err, &wrong) {
		if node := wrong.Context.Selected(); node != nil && slices.Contains(args, node.Name) {
			return "loadgen " + node.Name
		}
	}
	return "loadgen"
}

func (p *program) parser(helped *bool) (*kong.Kong, error) {
	parser, err := kong.New(&commands{},
		kong.Name("loadgen"),
		kong.Description(description),
		kong.Vars{"rate": "200", "receivers": "1"}, // some commands set others
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(int) { *helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
	)
	if err != nil {
		return nil, fmt.Errorf("declare command line: %w", err)
	}
	return parser, nil
}

// flagsByScenario gives the names of each scenario's flags.
func (p *program) flagsByScenario() (map[string]map[string]bool, error) {
	parser, err := p.parser(new(bool))
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]bool{}
	for _, node := range parser.Model.Children {
		if _, isPlan := node.Target.Addr().Interface().(*planCommand); isPlan {
			continue
		}
		all[node.Name] = map[string]bool{}
		for _, flag := range node.Flags {
			all[node.Name][flag.Name] = true
		}
	}
	return all, nil
}
