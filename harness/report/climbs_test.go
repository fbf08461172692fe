package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"chatmonitor/harness/probe"
)

// sampleClimbs is a run of two servers, of which one ran out of memory.
func sampleClimbs() *Run {
	r := &Run{
		Schema: Schema, ID: "20261123T010000Z-0123456789ab", Started: time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC),
		Environment: Environment{
			Machine:   probe.Machine{OS: "linux", Arch: "amd64", Kernel: "6.1", CPUModel: "Emulated 1", Cores: 2, MemoryBytes: probe.Known(19 << 30)},
			GoVersion: "go1.26.8", Commit: "0123456789ab",
		},
		Configuration: Configuration{
			Broker: Broker{Kind: "embedded"}, Base: "reactor", Variants: []Variant{{Name: "reactor"}, {Name: "goroutine-plain"}},
			Scenarios: []Scenario{{Name: "idle", Connections: []int{500, 1000}, Rounds: 1}}, Connections: 1000,
			RatePerSecond: 100, DurationSeconds: 10, Rounds: 1,
		},
		Measurements: []Measurement{idle("reactor", 500, 1000), idle("reactor", 1000, 900), idle("goroutine-plain", 500, 17000)},
		Million: &Million{
			Plan: ClimbPlan{Steps: []int{500, 1000}, Sample: ClimbSample{Connections: 10, Receivers: 1, Rate: 100, Duration: 10e9}},
			Machine: &VirtualMachine{Host: probe.Machine{Cores: 4, CPUModel: "Abacus 9000"}, Accel: "tcg", QEMU: "QEMU 7", CPUs: 2, MemoryBytes: 19 << 30, Kernel: "vmlinuz", HugePages: "always",
				Settings: []Setting{{"fs/nr_open", "4194304"}}},
			Climbs: []Climb{
				{Variant: "reactor", End: &ClimbEnd{Outcome: Complete, Answered: &Answered{990, 990}}, Steps: []ClimbStep{
					{Connections: 500, Push: json.RawMessage(`{"schema":1,"records":{"deliveries":1000}}`)},
					{Connections: 1000, Push: json.RawMessage(`{"schema":1,"records":{"deliveries":998,"lost":2}}`)}}},
				{Variant: "goroutine-plain", Steps: []ClimbStep{{Connections: 500, Push: json.RawMessage("{}")}},
					End: &ClimbEnd{Outcome: OutOfMemory, Reason: "server ended (signal: killed)\nits log", Last: Vital{Connections: 777, ServerBytes: 18 << 30}}},
			},
		},
	}
	r.DeriveFigures()
	return r
}

func TestClimbsInPrint(t *testing.T) {
	var out bytes.Buffer
	if err := sampleClimbs().Print(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "climbs.txt", out.String())
}

// A climb has the same words in every report, and its data in the page.
func TestClimbsInEveryReport(t *testing.T) {
	r := sampleClimbs()
	for name, write := range map[string]func(*bytes.Buffer) error{
		"markdown": func(b *bytes.Buffer) error { return r.WriteMarkdown(b) },
		"html":     func(b *bytes.Buffer) error { return r.WriteHTML(b) },
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"Step by step", "998", "all of 990 that stayed answered", "out of memory at 777 connections", "each point a step of the same server",
			"grows from step to step", "harness vm", "fs/nr", "emulated",
		} {
			if name == "markdown" && want == "each point a step of the same server" {
				continue // it has no charts
			}
			if !strings.Contains(strings.ReplaceAll(out.String(), `\`, ""), want) {
				t.Errorf("the %s does not say %q", name, want)
			}
		}
		for _, not := range []string{"a fresh server", "fresh load generator", "harness run --", "its own share"} {
			if strings.Contains(out.String(), not) {
				t.Errorf("the %s says %q, which is of another kind of run", name, not)
			}
		}
	}
}

// A bar of a server that did not come so far says how far: a chart that shortens that compares what is not alike.
func TestBarsOfAShorterClimb(t *testing.T) {
	r := sampleClimbs()
	r.Configuration.Variants[1].Name = "goroutine-tuned"
	r.Measurements[2].Variant, r.Measurements[2].Connections = "goroutine-tuned", 250_000
	f := r.memoryFigure()
	if len(f.Drawings) != 1 {
		t.Fatalf("%d drawings", len(f.Drawings))
	}
	for _, want := range []string{">goroutine-tuned, as left, at 250k<", ">goroutine-tuned, after GC, at 250k<", "goroutine-tuned, as left, at 250k: "} {
		if !strings.Contains(f.Drawings[0], want) {
			t.Errorf("no %s in\n%s", want, f.Drawings[0])
		}
	}
}

func TestTimesOfAnEmulatedProcessor(t *testing.T) {
	r := sampleClimbs()
	valid := func(name string) bool { return r.Figure("reactor", idleScenario, name).Valid }
	if valid(ConnectPerSecond) || valid(LoadgenCPUSeconds) || !valid(ResidentBytes) || !valid(ConnectionsHeld) {
		t.Error("the wrong figures are marked")
	}
	r.Million.TimesComparable = true
	r.DeriveFigures()
	if !valid(ConnectPerSecond) || !valid(LoadgenCPUSeconds) {
		t.Error("times of a processor are marked")
	}
}

func TestEndsThatAreFailures(t *testing.T) {
	for outcome, kind := range map[Outcome]string{
		Complete: "", OutOfMemory: "", Stopped: KindFailed, ServerEnded: KindFailed, MachineDied: KindFailed, Strayed: KindWrong,
	} {
		m := Million{Climbs: []Climb{{Variant: "reactor", End: &ClimbEnd{Outcome: outcome}}, {Variant: "floor"}}}
		var kinds []string
		for _, f := range m.failures() {
			kinds = append(kinds, f.Kind)
		}
		if want := slices.DeleteFunc([]string{kind}, func(k string) bool { return k == "" }); !slices.Equal(kinds, want) {
			t.Errorf("%s: failures %q, want %q", outcome, kinds, want)
		}
	}
}

func TestReasonsInALine(t *testing.T) {
	e := ClimbEnd{Outcome: OutOfMemory, Reason: "server ended (signal: killed)\n  its log", Last: Vital{Connections: 12345}}
	if got := e.String(); !strings.HasSuffix(got, "server ended (signal: killed)") || !strings.HasPrefix(got, "out of memory at 12,345 connections") {
		t.Errorf("%q", got)
	}
	e.Reason = "connecting: nothing came up any more; the end of loadgen.log:\n  (it wrote nothing)"
	if got := e.String(); !strings.HasSuffix(got, "nothing came up any more") {
		t.Errorf("%q", got)
	}
	e.Kernel = []string{"server invoked oom-killer", "Out of memory: Killed process 12 (server)"}
	if got := e.String(); !strings.HasSuffix(got, "the kernel said: Out of memory: Killed process 12 (server)") {
		t.Errorf("%q", got)
	}
}
