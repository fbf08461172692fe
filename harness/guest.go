package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"chatmonitor/harness/ladder"
	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
	"chatmonitor/harness/vm"
)

// guestCommand is the virtual machine's first process: it climbs there, and tells
// over the serial line.
type guestCommand struct{}

// guestName is how the machine is told to run it.
const guestName = "guest"

// guestJob is what it is to do. It lies in the machine's file system.
type guestJob struct {
	Variant  string           `json:"variant"`
	Plan     report.ClimbPlan `json:"plan"`
	Emulated bool             `json:"emulated"`
}

const jobFile = "job.json"

// guestMessage is what the machine tells; exactly one field is set.
type guestMessage struct {
	Hello   *guestHello   `json:"hello,omitempty"`
	Event   *ladder.Event `json:"event,omitempty"`
	Log     *guestLog     `json:"log,omitempty"`
	Trouble string        `json:"trouble,omitempty"` // the last message of a guest that failed
	Bye     bool          `json:"bye,omitempty"`     // the last message of one that did not
}

// guestHello is the first message.
type guestHello struct {
	Machine           probe.Machine `json:"machine"`
	HugePages         string        `json:"transparent_hugepages"`
	KernelCommandLine string        `json:"kernel_command_line"`
}

// guestLog is the end of what a program of the machine wrote.
type guestLog struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Run does the job, if this is such a machine.
func (c *guestCommand) Run(ctx context.Context) error {
	return vm.Init(func(link *vm.Link) error { return beGuest(ctx, link) },
		func(err error) any { return guestMessage{Trouble: err.Error()} })
}

func beGuest(ctx context.Context, link *vm.Link) error {
	text, err := os.ReadFile("/" + jobFile)
	if err != nil {
		return fmt.Errorf("the guest's job: %w", err)
	}
	var job guestJob
	if err := json.Unmarshal(text, &job); err != nil {
		return fmt.Errorf("the guest's job: %w", err)
	}
	chosen, err := chooseVariants([]string{job.Variant})
	if err != nil {
		return err
	}
	logs, err := os.MkdirTemp("", "logs-")
	if err != nil {
		return err
	}
	hello := guestHello{Machine: probe.System.Machine(), HugePages: hugePages(), KernelCommandLine: fileLine("/proc/cmdline")}
	if err := link.Send(guestMessage{Hello: &hello}); err != nil {
		return err
	}
	climbErr := climbJob{
		variant: chosen[0], plan: job.Plan, bin: binaries{vm.BinFolder}, logs: logs,
		sources:  newSourceRange(0, hello.Machine.Limits.PortsPerAddress),
		emulated: job.Emulated, abandon: true,
		tell: func(e ladder.Event) error { return link.Send(guestMessage{Event: &e}) },
	}.run(ctx)
	if err := errors.Join(climbErr, sendLogs(link, logs)); err != nil {
		return err
	}
	return link.Send(guestMessage{Bye: true})
}

// logTailBytes bounds what is sent of each log; the line is slow.
const logTailBytes = 16 << 10

func sendLogs(link *vm.Link, folder string) error {
	files, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := fileTail(filepath.Join(folder, file.Name()), logTailBytes)
		if err != nil {
			return err
		}
		if err := link.Send(guestMessage{Log: &guestLog{file.Name(), text}}); err != nil {
			return err
		}
	}
	return nil
}

// fileTail is the end of a file.
func fileTail(path string, bytes int64) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-bytes), bytes))
	return string(text), err
}

// hugePages is the kernel's choice: with "always" a process' memory grows in larger
// steps.
func hugePages() string {
	line := fileLine("/sys/kernel/mm/transparent_hugepage/enabled")
	if _, rest, found := strings.Cut(line, "["); found {
		chosen, _, _ := strings.Cut(rest, "]")
		return chosen
	}
	return line
}

// fileLine is a file of one line, or why there is none.
func fileLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown: " + err.Error()
	}
	return strings.TrimSpace(string(text))
}
