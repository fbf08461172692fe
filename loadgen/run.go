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
//	sample          histograms and the account of deliveries
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
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

// program is what a command needs of the world.
type program struct {
	stdin        io.Reader
	stdout       io.Writer
	stderr       io.Writer
	openProducer func(ctx context.Context, flags feedFlags) (producer, error)
}

type commands struct {
	Idle idleCommand `cmd:"" help:"Hold connections that do nothing, then check that every one still answers."`
	Push pushCommand `cmd:"" help:"Produce records to Kafka at a fixed rate and account for every push that they must cause."`
}

// command is one scenario; each subcommand is one.
type command interface {
	validate() error
	run(ctx context.Context, p *program) (*outcome, error)
	report() outputFlags
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, openProducer: openKafka}
	return p.run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	chosen, done, err := p.parse(args)
	if done {
		return exitFine
	}
	if err == nil {
		err = chosen.validate()
	}
	if err != nil {
		return p.fail(err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	out, err := chosen.run(ctx, p)
	if errors.Is(err, errDismissed) {
		return exitFine
	}
	if err != nil {
		return p.fail(err)
	}
	result := out.result()
	if err := p.print(result, chosen.report()); err != nil {
		return p.fail(err)
	}
	return result.exitCode()
}

func (p *program) fail(err error) int {
	fmt.Fprintf(p.stderr, "loadgen: %v\n", err)
	return exitFailed
}

// parse returns done if the arguments asked for help only.
func (p *program) parse(args []string) (chosen command, done bool, err error) {
	var all commands
	parser, err := kong.New(&all,
		kong.Name("loadgen"),
		kong.Description(description),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(int) { done = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
	)
	if err != nil {
		return nil, false, fmt.Errorf("declare command line: %w", err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if done {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("%w (see loadgen --help)", err)
	}
	chosen, ok := parsed.Selected().Target.Addr().Interface().(command)
	if !ok {
		panic("loadgen: a subcommand that is no command: " + parsed.Command())
	}
	return chosen, false, nil
}
