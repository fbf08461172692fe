// Command harness runs the laboratory: it starts a broker, servers and the load
// generator as processes, measures them from outside, and reports.
//
//	harness run ----> broker (container, embedded or external)
//	   |  per variant: server process <==== loadgen process
//	   |  probes: /proc, the server's admin listener
//	   v
//	results/runs/<time>-<commit>/run.json --> harness report
//
// It imports nothing of what it measures: it runs binaries. Statistics are in
// verdict, what a run leaves behind and its tables in report.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"chatmonitor/harness/scenario"
	"chatmonitor/harness/stack"
)

// Exit codes of every command.
const (
	exitFine   = 0
	exitFailed = 1 // a child, the broker or the machine failed
	exitUsage  = 2 // the command line is wrong
	exitWrong  = 3 // a server gave wrong answers or lost records
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the harness at once; the kernel ends its children.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are the program's standard input and outputs.
type streams struct {
	stdin  io.Reader
	stdout io.Writer // results, for programs and people
	stderr io.Writer // progress and errors, for people
}

// commandLine is everything that can be asked of the harness.
type commandLine struct {
	Run     runCommand     `cmd:"" help:"Measure the variants against each other and print a comparative table."`
	Report  reportCommand  `cmd:"" help:"Make a run's reports again, from its file."`
	Compare compareCommand `cmd:"" help:"Put two runs side by side."`
	Figures figuresCommand `cmd:"" help:"Write the tables of reference runs into pages."`
	Demo    demoCommand    `cmd:"" help:"Run a server with believable chat, to look at."`
	Doctor  doctorCommand  `cmd:"" help:"Say what this machine allows, and how to lift it."`
	Watch   watchCommand   `cmd:"" help:"Show records as a server pushes them."`
	Million millionCommand `cmd:"" help:"Take each server up to a million connections, and measure its memory on the way."`
	VM      vmCommand      `cmd:"" name:"vm" help:"The same, always in a virtual machine that is made for it."`
	Guest   guestCommand   `cmd:"" hidden:"" help:"Be the first process of such a virtual machine."`
	Broker  brokerCommand  `cmd:"" help:"Run a Kafka broker until a signal; prints one JSON line when it is ready."`
}

// codedError is an error that asks for an exit code of its own.
type codedError struct {
	err  error
	code int
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &codedError{fmt.Errorf(format, args...), exitUsage}
}

func run(ctx context.Context, args []string, std streams) int {
	var cli commandLine
	helped := false
	parser, err := kong.New(&cli,
		kong.Name("harness"),
		kong.Description("Measures chatmonitor's servers against each other. Binaries are looked for next to the harness itself."),
		kong.Writers(std.stdout, std.stderr),
		kong.Exit(func(int) { helped = true }),
		kong.Vars{"publicImage": stack.PublicImage, "variants": strings.Join(variantNames(), ","), "usual": strings.Join(scenario.Usual(), ","), "scenarios": strings.Join(scenario.Names(), ", ")},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		panic(err) // the command line's own description is wrong
	}
	command, err := parser.Parse(args)
	if helped {
		return exitFine
	}
	if err != nil {
		fmt.Fprintf(std.stderr, "harness: %v\nTry '%s --help'.\n", err, asked(err))
		return exitUsage
	}
	command.BindTo(ctx, (*context.Context)(nil))
	return exitCode(command.Run(std), std.stderr)
}

// asked is the command whose help has what the error is about.
func asked(err error) string {
	var wrong *kong.ParseError
	if errors.As(err, &wrong) && wrong.Context.Selected() != nil {
		return "harness " + wrong.Context.Selected().Name
	}
	return "harness"
}

// exitCode prints the error, if there is one, and chooses the exit code.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return exitFine
	}
	fmt.Fprintf(stderr, "harness: %v\n", err)
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}
