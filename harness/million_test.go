package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"chatmonitor/harness/ladder"
	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
	"chatmonitor/harness/stack/stacktest"
	"chatmonitor/harness/vm"
)

func TestMillionUsage(t *testing.T) {
	tests := []struct {
		args string
		code int
		want string
	}{
		{"million --help", 0, "not a failure"},
		{"vm --help", 0, "Examples:"},
		{"million --connections=10 --sample=10", 2, "must be above 10"},
		{"million --connections=100 --sample=1 --steps=10,50", 2, "they must be the same"},
		{"million --connections=100 --sample=1 --steps=60,50,100", 2, "must be above 60"},
		{"million --connections=100 --sample=0", 2, "at least one session"},
		{"million --sample=1 --connections=100 --patience=0s", 2, "patience"},
		{"million --variants=steam", 2, `no variant "steam"`},
		{"million --memory=12", 2, "no size such as"},
		{"million --memory=12TiB", 2, "has no unit"},
		{"million --memory=-1GiB", 2, "no size such as"},
		{"vm --accel=magic", 2, "--accel must be one of"},
		{"million --bin=/nonexistent", 2, "go build -o bin/"},
		{"guest", 1, "first process of a virtual machine only"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			c := start(t.Context(), strings.NewReader(""), strings.Fields(test.args)...)
			c.want(t, test.code)
			wantIn(t, c.stdout.String()+c.stderr.String(), test.want)
		})
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{"19GiB": 19 << 30, "19G": 19 << 30, "1.5GB": 3 << 29, "512MiB": 512 << 20, "512M": 512 << 20} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestUsualSteps(t *testing.T) {
	p, err := ladderFlags{Connections: 1_000_000, Sample: 1000, Patience: time.Minute}.plan()
	if err != nil || !slices.Equal(p.Steps, []int{100_000, 250_000, 500_000, 1_000_000}) {
		t.Errorf("steps %v, %v", p.Steps, err)
	}
	p, err = ladderFlags{Connections: 10_000, Sample: 1000, Patience: time.Minute}.plan()
	if err != nil || !slices.Equal(p.Steps, []int{2500, 5000, 10_000}) {
		t.Errorf("as in the help: steps %v, %v", p.Steps, err)
	}
}

func TestObstaclesHere(t *testing.T) {
	const gib = 1 << 30
	container := bounds(machineWith(20000, 20*gib), variants, 1_000_000)
	got := obstaclesHere(container, 1_000_000)
	if len(got) != 2 || !strings.Contains(got[0], "descriptors: up to 19600 connections: RLIMIT_NOFILE (hard) is 20000") || !strings.Contains(got[1], "memory") {
		t.Errorf("%q", got)
	}
	if got := obstaclesHere(container, 19600); len(got) > 0 {
		t.Errorf("%q", got)
	}
	if got := obstaclesHere(bounds(machineWith(1<<20, 500*gib), variants, 1_000_000), 1_000_000); len(got) > 0 {
		t.Errorf("on a large machine: %q", got)
	}
}

// startMillion climbs with the stand-ins, on this machine.
func startMillion(ctx context.Context, t *testing.T, more ...string) (c *call, out string) {
	out = t.TempDir()
	args := append([]string{"million", "--where=here", "--bin=" + stacktest.Install(t), "--out=" + out, "--connections=40", "--sample=2"}, more...)
	return start(ctx, strings.NewReader(""), args...), out
}

// theMillion reads the run in the folder.
func theMillion(t *testing.T, out string) *report.Run {
	t.Helper()
	r, _ := theRun(t, out)
	if r.Million == nil {
		t.Fatal("the run does not say what plan it had")
	}
	return r
}

// wantSchema holds a run's file against the schema.
func wantSchema(t *testing.T, folder string) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "results", "run.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, report.FileName))
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(instance); err != nil {
		t.Error(err)
	}
}

func TestMillionHere(t *testing.T) {
	c, out := startMillion(t.Context(), t, "--variants=floor,goroutine-plain", "--steps=10,40")
	c.want(t, 0)
	wantIn(t, c.stdout.String(), "goroutine-plain", "at the top; all of 38 that stayed answered", "run.json")
	wantIn(t, c.stderr.String(), "1/2 floor: step: 10 connections held", "2/2 goroutine-plain: at the top")
	r := theMillion(t, out)
	if len(r.Measurements) != 4 || r.Million.Machine != nil || !r.Million.TimesComparable || r.Configuration.Base != "floor" {
		t.Errorf("%d measurements, %+v", len(r.Measurements), r.Million)
	}
	for i, climb := range r.Million.Climbs {
		if climb.Variant != []string{"floor", "goroutine-plain"}[i] || climb.End == nil || climb.End.Outcome != report.Complete || len(climb.Steps) != 2 {
			t.Errorf("climb %+v", climb)
		}
	}
	floor, plain := strings.Join(r.Measurements[0].ServerCommand, " "), strings.Join(r.Measurements[2].ServerCommand, " ")
	if !strings.HasSuffix(floor, "--receivers=2") || strings.Contains(plain, "--receivers") || strings.Contains(floor+plain, "--idle-ping") {
		t.Errorf("servers were started as\n%s\n%s", floor, plain)
	}
	if f := r.Figure("floor", "idle", report.ConnectionsHeld); f == nil || f.Value == nil || *f.Value != 40 {
		t.Errorf("figure %+v", f)
	}
	wantSchema(t, filepath.Join(out, r.ID))
	for name := range reportFiles(r) {
		if _, err := os.Stat(filepath.Join(out, r.ID, name)); err != nil {
			t.Error(err)
		}
	}
	again := start(t.Context(), nil, "report", filepath.Join(out, r.ID))
	again.want(t, 0)
	if again.stdout.String() == "" || !strings.HasPrefix(c.stdout.String(), again.stdout.String()) {
		t.Errorf("the report prints\n%s\nand the run printed\n%s", again.stdout, c.stdout)
	}
}

func TestMillionWithTrouble(t *testing.T) {
	tests := []struct {
		program, fault string
		code           int
		stdout, stderr string
	}{
		{"loadgen", stacktest.Wrong, 3, "wrong at", "wrong: reactor, million"},
		{"server", stacktest.Dying, 1, "server ended at", "out of breath"},
		{"server", stacktest.Crash, 1, "stopped at", "made of cheese"},
	}
	for _, test := range tests {
		t.Run(test.program+" "+test.fault, func(t *testing.T) {
			stacktest.SetFault(t, test.program, test.fault)
			c, out := startMillion(t.Context(), t, "--variants=reactor", "--steps=40")
			c.want(t, test.code)
			wantIn(t, c.stdout.String(), test.stdout)
			wantIn(t, c.stderr.String(), test.stderr)
			if r := theMillion(t, out); len(r.Failures) != 1 {
				t.Errorf("failures %+v", r.Failures)
			}
		})
	}
}

func TestMillionIsInterrupted(t *testing.T) {
	stacktest.SetFault(t, "loadgen", stacktest.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	c, out := startMillion(ctx, t, "--variants=reactor", "--steps=40")
	c.stderr.await(t, "connecting")
	cancel()
	c.want(t, 1)
	wantIn(t, c.stderr.String(), "interrupted")
	if r := theMillion(t, out); !r.Interrupted {
		t.Error("run.json does not say that it was interrupted")
	}
}

// guestVariable names the file with what the stand-in for QEMU writes.
const guestVariable = "STAND_IN_GUEST"

// beQEMU is the stand-in for QEMU: a machine whose words are known beforehand.
func beQEMU() int {
	words, err := os.ReadFile(os.Getenv(guestVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, "stand-in:", err)
		return 1
	}
	for _, arg := range os.Args {
		if console, is := strings.CutPrefix(arg, "file:"); is {
			if err := os.WriteFile(console, []byte("Linux version 6\r\nKernel panic - not syncing\r\n"), 0o644); err != nil {
				return 1
			}
		}
		if arg == "kvm" || arg == "--version" {
			return 1
		}
	}
	if _, err := os.Stdout.Write(words); err != nil {
		return 1
	}
	return 0
}

// guestSaying prepares an expedition whose machines say the messages.
func guestSaying(t *testing.T, messages ...any) *expedition {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	bin := stacktest.Install(t)
	for _, link := range []string{filepath.Join(folder, vm.QEMU), filepath.Join(bin, harnessBinary)} {
		if err := os.Symlink(self, link); err != nil {
			t.Fatal(err)
		}
	}
	var words bytes.Buffer
	for _, m := range messages {
		payload, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := vm.WriteFrame(&words, payload); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(folder, "words")
	if err := os.WriteFile(script, words.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder)
	t.Setenv(guestVariable, script)
	plan, err := ladderFlags{Connections: 100, Steps: []int{100}, Sample: 10, Patience: time.Minute}.plan()
	if err != nil {
		t.Fatal(err)
	}
	return &expedition{
		plan: plan, variants: []variant{productVariant()}, bin: binaries{bin}, stderr: newOutput(), inMachine: true, host: probe.Machine{Cores: 2},
		machine: machineFlags{Accel: "tcg", CPUs: 2}, supplies: vm.Supplies{Kernel: "/vmlinuz-6", MemoryBytes: 1 << 30},
	}
}

// stepAt is a step as a guest tells it.
func stepAt(connections int, residentBytes float64) guestMessage {
	at := func(moment string, gc bool, n int, bytes float64) probe.Snapshot {
		return probe.Snapshot{At: moment, AfterGC: gc, Connections: n,
			Process: probe.Process{RSSBytes: probe.Known(bytes)},
			Kernel:  probe.Kernel{SlabBytes: probe.Known(bytes * 10), TCPInUse: probe.Known(float64(2 * n))},
			Go:      map[string]float64{"/memory/classes/heap/objects:bytes": bytes / 2}}
	}
	m := report.Measurement{Variant: "reactor", Scenario: "idle", Round: 1, Connections: connections, ServerCommand: []string{"server"},
		Snapshots: []probe.Snapshot{at("ready", true, 0, 10e6), at("held", false, connections, residentBytes), at("held", true, connections, residentBytes*0.9)},
		Loadgen:   json.RawMessage(fmt.Sprintf(`{"schema":1,"connections":{"held":%d,"connect_seconds":2},"valid":true}`, connections))}
	push := json.RawMessage(`{"schema":1,"records":{"deliveries":1000,"lost":0}}`)
	return guestMessage{Event: &ladder.Event{Step: &ladder.Step{Connections: connections, Measurement: m, Push: push}}}
}

var (
	hello = guestMessage{Hello: &guestHello{HugePages: "always", Machine: probe.Machine{Kernel: "6.1", Cores: 2}}}
	bye   = guestMessage{Bye: true}
	vital = guestMessage{Event: &ladder.Event{Vital: &report.Vital{Doing: ladder.Connecting, Connections: 77, ServerBytes: 5 << 20}}}
)

func ending(e report.ClimbEnd) guestMessage { return guestMessage{Event: &ladder.Event{End: &e}} }

func TestClimbInAMachine(t *testing.T) {
	e := guestSaying(t, hello, vital, stepAt(100, 30e6),
		ending(report.ClimbEnd{Outcome: report.Complete, Answered: &report.Answered{Asked: 90, Answered: 90}}),
		guestMessage{Log: &guestLog{Name: "../../server.log", Text: "listening"}}, bye)
	var stdout bytes.Buffer
	out := t.TempDir()
	if err := e.undertake(t.Context(), streams{nil, &stdout, e.stderr}, out); err != nil {
		t.Fatal(err)
	}
	wantIn(t, stdout.String(), "200,000", "times do not", "tcg", "1,024 MiB")
	r := theMillion(t, out)
	m := r.Million.Machine
	if m == nil || m.Accel != string(vm.TCG) || m.HugePages != "always" || m.Kernel != "vmlinuz-6" || len(m.Settings) == 0 || r.Million.TimesComparable {
		t.Errorf("machine %+v", m)
	}
	if r.Environment.Machine.Kernel != "6.1" {
		t.Errorf("environment %+v", r.Environment.Machine)
	}
	wantSchema(t, filepath.Join(out, r.ID))
	if log, err := os.ReadFile(filepath.Join(out, r.ID, "server.log")); err != nil || string(log) != "listening" {
		t.Errorf("log %q, %v", log, err)
	}
	for name, valid := range map[string]bool{report.ConnectPerSecond: false, report.LoadgenCPUSeconds: false, report.ResidentBytes: true, report.ConnectionsHeld: true} {
		if f := r.Figure("reactor", "idle", name); f == nil || f.Valid != valid {
			t.Errorf("%s: %+v, want valid %v", name, f, valid)
		}
	}
}

func TestGuestsThatEndOtherwise(t *testing.T) {
	outOfMemory := ending(report.ClimbEnd{Outcome: report.OutOfMemory, Reason: "killed", Last: report.Vital{Connections: 77}})
	tests := []struct {
		sentence string
		messages []any
		err      string // "" is none
		outcome  report.Outcome
	}{
		{"out of memory is a result", []any{hello, vital, outOfMemory, bye}, "", report.OutOfMemory},
		{"the machine dies under the load", []any{hello, vital}, "machine died at 77 connections", report.MachineDied},
		{"the machine dies before", []any{hello}, "Kernel panic", ""},
		{"trouble", []any{hello, guestMessage{Trouble: "no /dev"}}, "no /dev", ""},
		{"not a word", nil, "did not come up", ""},
		{"something that is no message", []any{hello, "what?"}, "a message of the machine", ""},
		{"a number where there is an object", []any{map[string]int{"event": 1}}, "a message of the machine", ""},
		{"an event of nothing", []any{hello, vital, map[string]any{"event": map[string]any{}}, outOfMemory, bye}, "", report.OutOfMemory},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			e := guestSaying(t, test.messages...)
			err := e.undertake(t.Context(), streams{nil, io.Discard, e.stderr}, t.TempDir())
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			var outcome report.Outcome
			if end := e.record.Million.Climbs[0].End; end != nil {
				outcome = end.Outcome
			}
			if outcome != test.outcome {
				t.Errorf("outcome %q, want %q", outcome, test.outcome)
			}
		})
	}
}

func TestKVMThatDoesNotRunIsLeft(t *testing.T) {
	e := guestSaying(t, hello, ending(report.ClimbEnd{Outcome: report.Complete, Answered: &report.Answered{}}), bye)
	e.machine.Accel, e.accel = whereAuto, vm.KVM
	if err := e.undertake(t.Context(), streams{nil, io.Discard, e.stderr}, t.TempDir()); err != nil || e.accel != vm.TCG {
		t.Errorf("%v, with %s", err, e.accel)
	}
	e.machine.Accel, e.accel = "kvm", vm.KVM
	if err := e.undertake(t.Context(), streams{nil, io.Discard, e.stderr}, t.TempDir()); !errors.Is(err, vm.ErrSilent) {
		t.Errorf("asked for KVM: %v", err)
	}
}

func TestAscent(t *testing.T) {
	var out bytes.Buffer
	at := time.Unix(0, 0)
	a := newAscent(&out, func() time.Time { return at })
	a.next("reactor", 2, 4, 1_000_000)
	say := func(v report.Vital, want ...string) {
		t.Helper()
		out.Reset()
		a.vital(v)
		wantIn(t, out.String(), want...)
		if strings.Count(out.String(), "\n") != 1 {
			t.Errorf("not one line: %q", out.String())
		}
	}
	at = at.Add(65 * time.Second)
	first := report.Vital{Doing: ladder.Connecting, Target: 100_000, Seconds: 10, Connections: 1000, ServerBytes: 20 << 20, AvailableBytes: 5 << 30}
	say(first, "[1:05] 2/4 reactor: connecting, 1,000 of 1,000,000 connections; server 20 MiB, 5,120 MiB free")
	second := first
	second.Seconds, second.Connections = 20, 11_000
	say(second, "11,000 of 1,000,000 connections, 1,000/s, about 16:29 of connecting left")
	second.Doing = "pushing"
	say(second, "pushing, 11,000 of")
	// What lay between two steps does not slow the rate down.
	third := report.Vital{Doing: ladder.Connecting, Target: 250_000, Seconds: 500, Connections: 11_000}
	say(third, "11,000 of 1,000,000 connections; server")
	third.Seconds, third.Connections = 510, 31_000
	say(third, "2,000/s")
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -999: "-999"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
