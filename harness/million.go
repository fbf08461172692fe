package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"chatmonitor/harness/ladder"
	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
	"chatmonitor/harness/vm"
)

// millionCommand takes each server up to a million connections.
type millionCommand struct {
	ladderFlags
	machineFlags
	Where string `default:"auto" enum:"auto,here,vm" help:"here: on this machine; vm: in a virtual machine made for it; auto: here if the limits allow it, else vm."`
}

// vmCommand is the same, always in a virtual machine.
type vmCommand struct {
	ladderFlags
	machineFlags
}

// ladderFlags say how far to go, and with what.
type ladderFlags struct {
	Connections int           `default:"1000000" help:"Connections at the top, each with a rule of its own."`
	Steps       []int         `placeholder:"N" help:"Connections at which memory is read and sessions are pushed to, the top included. Default: 10, 25, 50 and 100 per cent of --connections, as far as they are more than --sample."`
	Sample      int           `default:"1000" help:"Sessions that are pushed to at each step."`
	Patience    time.Duration `default:"2m" help:"A server that takes up no connection for so long has stopped."`
	Variants    []string      `default:"${variants}" help:"Variants, in this order, one after the other."`
	Out         string        `default:"results/runs" type:"path" help:"Folder in which the run makes its own."`
	Bin         string        `placeholder:"DIR" type:"path" help:"Folder with the programs. Default: the harness' own."`
}

// machineFlags say what the virtual machine is like.
type machineFlags struct {
	Kernel string   `placeholder:"FILE" type:"path" help:"The virtual machine's kernel, a bootable image. Default: Debian's for clouds, fetched once with apt-get download (nothing is installed)."`
	Memory byteSize `placeholder:"SIZE" help:"The virtual machine's memory, such as 12GiB. Default: 19GiB, less if less is free."`
	CPUs   int      `name:"cpus" default:"2" help:"The virtual machine's processors."`
	Accel  string   `default:"auto" enum:"auto,kvm,tcg" help:"What runs the virtual machine: kvm, the processor; tcg, an emulation, some thirty times slower; auto: kvm where it works."`
}

const millionHelp = `Each variant's server is started once and grows from step to step. At each step all connections have a rule of their
own and have been answered; memory is read as it is and after a full collection; some of the sessions are pushed to,
and every push is accounted for. At the end every connection answers one more ping.

A server that runs out of memory on the way is a result, not a failure: the table says how far it came.

Where the limits of this machine do not allow that (descriptors of a process above all), it happens in a virtual
machine that is made for it and thrown away: an initramfs of these programs, a kernel, QEMU. That needs no root.
With an emulated processor its memory figures count, and its times do not: a million takes about half an hour.

Progress goes to stderr, the table to stdout, everything that was read to run.json.
Exit codes: 0 fine; 1 something failed; 2 usage; 3 a server lost records or gave wrong answers.

Examples:
  harness million
  harness million --connections=10000
  harness vm --variants=reactor --connections=300000 --memory=6GiB`

// Help is shown with --help.
func (c *millionCommand) Help() string { return millionHelp }

// Help is shown with --help.
func (c *vmCommand) Help() string { return millionHelp }

// Run climbs where it can be done.
func (c *millionCommand) Run(ctx context.Context, std streams) error {
	return runMillion(ctx, std, c.ladderFlags, c.machineFlags, c.Where)
}

// Run climbs in a virtual machine.
func (c *vmCommand) Run(ctx context.Context, std streams) error {
	return runMillion(ctx, std, c.ladderFlags, c.machineFlags, whereVM)
}

// Values of --where.
const (
	whereAuto = "auto"
	whereHere = "here"
	whereVM   = "vm"
)

// Shares of --connections that are steps unless others are asked for, in per cent.
var usualSteps = []int{10, 25, 50, 100}

// plan is the ladder that the flags ask for, and what is wrong with them.
func (f ladderFlags) plan() (report.ClimbPlan, error) {
	p := report.ClimbPlan{Steps: f.Steps, Patience: f.Patience, Settle: settleTime, Sample: report.ClimbSample{
		Connections: f.Sample, Receivers: 1, Rate: sampleRate, Duration: sampleDuration,
	}}
	if len(p.Steps) == 0 {
		p.Steps = f.usualSteps()
	}
	if top := p.Top(); top != f.Connections {
		return p, usageError("the last of --steps is %d, and --connections is %d: they must be the same", top, f.Connections)
	}
	if err := ladder.Validate(p); err != nil {
		return p, &codedError{err, exitUsage}
	}
	return p, nil
}

// usualSteps leave out those that have no more connections than are pushed to.
func (f ladderFlags) usualSteps() (steps []int) {
	for _, share := range usualSteps {
		if step := f.Connections * share / 100; step > f.Sample || share == 100 {
			steps = append(steps, step)
		}
	}
	return steps
}

// Pushes at each step: records a second, and how long.
const (
	sampleRate     = 100
	sampleDuration = 10 * time.Second
	settleTime     = time.Second
)

// planFor adapts the plan to a server that has no rules: all of the sample get each
// record, so there are fewer records.
func planFor(p report.ClimbPlan, v variant) report.ClimbPlan {
	if v.fixedReceivers {
		p.Sample.Receivers = p.Sample.Connections
		p.Sample.Rate = 1
	}
	return p
}

func runMillion(ctx context.Context, std streams, flags ladderFlags, machine machineFlags, where string) error {
	plan, err := flags.plan()
	if err != nil {
		return err
	}
	if machine.CPUs < 1 {
		return usageError("--cpus must be at least 1")
	}
	chosen, err := chooseVariants(flags.Variants)
	if err != nil {
		return err
	}
	programs := programsOf(chosen)
	bin, err := binariesIn(flags.Bin, programs...)
	if err != nil {
		return err
	}
	host := probe.System.Machine()
	obstacles := obstaclesHere(bounds(host, chosen, flags.Connections), flags.Connections)
	e := &expedition{plan: plan, variants: chosen, bin: bin, stderr: std.stderr, host: host, machine: machine}
	switch {
	case where == whereHere && len(obstacles) > 0:
		return fmt.Errorf("%d connections are more than this machine can hold:\n%s\nA virtual machine can: harness vm",
			flags.Connections, strings.Join(obstacles, "\n"))
	case where == whereVM, len(obstacles) > 0:
		e.inMachine = true
		for _, obstacle := range obstacles {
			fmt.Fprintf(std.stderr, "not on this machine itself:\n%s\n", obstacle)
		}
		if err := e.prepareMachine(ctx, flags.Connections); err != nil {
			return err
		}
	}
	return e.undertake(ctx, std, flags.Out)
}

const harnessBinary = "harness"

// obstaclesHere are the limits that do not allow so many connections.
func obstaclesHere(all []report.Bound, connections int) []string {
	var obstacles []string
	for _, b := range all {
		if b.Connections < connections {
			obstacles = append(obstacles, fmt.Sprintf("  %s: up to %d connections: %s; to lift it:\n      %s", b.Name, b.Connections, b.Found, b.Lift))
		}
	}
	return obstacles
}

// prepareMachine finds what a virtual machine is made of, or says what is missing
// and how to get it.
func (e *expedition) prepareMachine(ctx context.Context, connections int) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find the folder for kernels: %w (name one with --kernel)", err)
	}
	needs := vm.Needs{
		Kernel: e.machine.Kernel, Cache: filepath.Join(cache, "chatmonitor", "kernel"),
		MemoryAsked:  int64(e.machine.Memory),
		MemoryNeeded: int64(connections)*leastBytes + guestBytes,
	}
	for _, name := range append(programsOf(e.variants), harnessBinary) {
		needs.Programs = append(needs.Programs, e.bin.path(name))
	}
	found, missing := vm.Find(ctx, needs)
	if len(missing) > 0 {
		return errors.New(vm.Explain(missing))
	}
	if found.Kernel == "" {
		fmt.Fprintln(e.stderr, "fetching Debian's kernel for clouds into "+needs.Cache)
		if found.Kernel, err = vm.FetchKernel(ctx, needs.Cache); err != nil {
			return err
		}
	}
	e.supplies = found
	return nil
}

const (
	// leastBytes is less than a connection takes in the kernel and in the leanest
	// process: a machine with less memory need not be tried.
	leastBytes = 9 << 10
	// guestBytes is for the guest's kernel, programs, broker.
	guestBytes = 512 << 20
)

// byteSize is a number of bytes, written as 512MiB, 19GiB or 19G.
type byteSize int64

// UnmarshalText reads it.
func (b *byteSize) UnmarshalText(text []byte) error {
	var number float64
	var unit string
	if _, err := fmt.Sscanf(string(text), "%f%s", &number, &unit); err != nil || number <= 0 || number > 1<<20 {
		return fmt.Errorf("%q is no size such as 512MiB or 19GiB", text)
	}
	switch strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "i") {
	case "M":
		*b = byteSize(number * (1 << 20))
	case "G":
		*b = byteSize(number * (1 << 30))
	default:
		return fmt.Errorf("%q has no unit MiB or GiB", text)
	}
	return nil
}
