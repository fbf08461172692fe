package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"chatmonitor/harness/ladder"
	"chatmonitor/harness/report"
	"chatmonitor/harness/vm"
)

// climbInMachine has a variant climb in a virtual machine of its own.
func (e *expedition) climbInMachine(ctx context.Context, v variant) error {
	if e.accel == "" {
		e.accel = e.firstAccel()
	}
	err := e.boot(ctx, v)
	if e.accel == vm.KVM && e.machine.Accel == whereAuto && errors.Is(err, vm.ErrSilent) {
		e.progress.say("KVM is there and does not run this machine; going on with an emulated processor (%v)", firstLine(err))
		e.accel = vm.TCG
		err = e.boot(ctx, v)
	}
	return err
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// firstAccel is what the first boot is tried with.
func (e *expedition) firstAccel() vm.Accel {
	if e.machine.Accel != whereAuto {
		return vm.Accel(e.machine.Accel)
	}
	if err := vm.UsableKVM(); err != nil {
		e.progress.say("no KVM (%v): the processor will be emulated", err)
		return vm.TCG
	}
	return vm.KVM
}

// boot runs one machine to its end.
func (e *expedition) boot(ctx context.Context, v variant) (err error) {
	scratch, err := os.MkdirTemp("", "harness-vm-")
	if err != nil {
		return fmt.Errorf("folder for the machine's image: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	image := filepath.Join(scratch, "initramfs")
	if err := e.writeImage(image, v); err != nil {
		return err
	}
	console := filepath.Join(e.folder, v.name+"-console.log")
	machine := vm.Machine{
		Accel: e.accel, Kernel: e.supplies.Kernel, Image: image, MemoryBytes: e.supplies.MemoryBytes,
		CPUs: e.machine.CPUs, Console: console, InitArgs: []string{guestName},
	}
	e.progress.say("booting %s with %.1f GiB, %d processors, %s", filepath.Base(machine.Kernel), float64(machine.MemoryBytes)/(1<<30), machine.CPUs, e.accel)
	g := &guest{expedition: e, variant: v}
	if err := machine.Boot(ctx, g.hear); err != nil {
		return err
	}
	return g.conclude(console)
}

func (e *expedition) writeImage(path string, v variant) (err error) {
	job, err := json.Marshal(guestJob{Variant: v.name, Plan: e.plan, Emulated: e.accel == vm.TCG})
	if err != nil {
		return fmt.Errorf("the guest's job: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("the machine's image: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return vm.WriteImage(file, vm.Contents{
		Init: e.bin.path(harnessBinary), Programs: []string{e.bin.path(v.binary), e.bin.path(loadgenBinary)},
		Files: map[string][]byte{jobFile: job},
	})
}

// guest is a machine under way, as seen from outside.
type guest struct {
	expedition *expedition
	variant    variant
	last       *report.Vital
	ended      bool   // the climb has
	bye        bool   // the machine has no more to say
	trouble    string // why it could not do its job
}

// hear takes one of the guest's messages.
func (g *guest) hear(payload []byte) error {
	var m guestMessage
	if err := json.Unmarshal(payload, &m); err != nil {
		return fmt.Errorf("a message of the machine: %w: %.200q", err, payload)
	}
	switch {
	case m.Hello != nil:
		g.expedition.noteMachine(*m.Hello)
	case m.Event != nil:
		if m.Event.Vital != nil {
			g.last = m.Event.Vital
		}
		g.ended = g.ended || m.Event.End != nil
		return g.expedition.note(*m.Event)
	case m.Log != nil:
		// The base of the name: what comes out of the machine writes nowhere else.
		path := filepath.Join(g.expedition.folder, filepath.Base(m.Log.Name))
		return os.WriteFile(path, []byte(m.Log.Text), 0o644)
	case m.Trouble != "":
		g.trouble = m.Trouble
	case m.Bye:
		g.bye = true
	}
	return nil
}

// conclude looks at how the machine ended. One that died under the load is a result.
func (g *guest) conclude(console string) error {
	if g.trouble != "" {
		return fmt.Errorf("in the machine of %s: %s", g.variant.name, g.trouble)
	}
	if g.ended {
		return nil
	}
	said, err := fileTail(console, logTailBytes)
	if err != nil {
		return err
	}
	if g.last == nil {
		return fmt.Errorf("the machine of %s ended before its work began; the end of %s:\n%s", g.variant.name, console, said)
	}
	return g.expedition.note(ladder.Event{End: &report.ClimbEnd{
		Outcome: report.MachineDied, Reason: "the machine ended; see the end of " + filepath.Base(console), Last: *g.last, Most: g.last.Connections,
		Kernel: lastLines(said, consoleLines),
	}})
}

// consoleLines is how much of a dead machine's console is kept in the run.
const consoleLines = 20

func lastLines(text string, n int) []string {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r", "")), "\n")
	return lines[max(0, len(lines)-n):]
}

// noteMachine takes down where the climb takes place.
func (e *expedition) noteMachine(hello guestHello) {
	r := e.record
	r.Environment.Machine = hello.Machine
	r.Million.TimesComparable = e.accel == vm.KVM
	r.Million.Machine = &report.VirtualMachine{
		Host: e.host, Accel: string(e.accel), Kernel: filepath.Base(e.supplies.Kernel), MemoryBytes: e.supplies.MemoryBytes, CPUs: e.machine.CPUs,
		Settings: guestSettings(), HugePages: hello.HugePages, QEMU: qemuVersion(), KernelCommandLine: hello.KernelCommandLine,
	}
}

func guestSettings() []report.Setting {
	var all []report.Setting
	for _, s := range vm.Settings() {
		all = append(all, report.Setting(s))
	}
	return all
}

func qemuVersion() string {
	out, err := exec.Command(vm.QEMU, "--version").Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}
