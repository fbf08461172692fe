package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatmonitor/harness/report"
	"chatmonitor/harness/scenario"
	"chatmonitor/harness/stack/stacktest"
	"chatmonitor/harness/vm"
)

// patience is how long a test waits for what must happen.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == vm.QEMU {
		os.Exit(beQEMU())
	}
	stacktest.Main(m)
}

// output is a buffer that may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	grew chan struct{} // has a value when there is more
}

func newOutput() *output { return &output{grew: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.grew <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await returns when the output holds the text.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.After(patience); !strings.Contains(o.String(), text); {
		select {
		case <-o.grew:
		case <-deadline:
			t.Fatalf("there was no %q in:\n%s", text, o)
		}
	}
}

// call is one run of the program.
type call struct {
	stdout, stderr *output
	code           chan int
}

func start(ctx context.Context, stdin io.Reader, args ...string) *call {
	c := &call{newOutput(), newOutput(), make(chan int, 1)}
	go func() { c.code <- run(ctx, args, streams{stdin, c.stdout, c.stderr}) }()
	return c
}

func (c *call) want(t *testing.T, code int) {
	t.Helper()
	select {
	case got := <-c.code:
		if got != code {
			t.Errorf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", got, code, c.stdout, c.stderr)
		}
	case <-time.After(patience):
		t.Fatalf("it does not end\nstdout:\n%s\nstderr:\n%s", c.stdout, c.stderr)
	}
}

func wantIn(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		args string
		code int
		want string // on stderr, or on stdout with --help
	}{
		{"", 2, "expected one of"},
		{"--help", 0, "broker"},
		{"run --help", 0, "Examples:"},
		{"watch --help", 0, "keywords"},
		{"fly", 2, "unexpected argument fly"},
		{"fly --high", 2, "Try 'harness --help'"},
		{"run --fly", 2, "Try 'harness run --help'"},
		{"run --connections=-1", 2, "--connections must not be negative"},
		{"run --rate=0", 2, "--rate must be"},
		{"run --rate=NaN", 2, "--rate must be"},
		{"run --rounds=0", 2, "--rounds must be"},
		{"run --duration=0s", 2, "--duration must be"},
		{"run --warmup=-1s", 2, "--warmup must"},
		{"run --variants=reactor,steam", 2, `no variant "steam"; there are floor, reactor`},
		{"run --variants=reactor,reactor", 2, "named twice"},
		{"run --scenarios=busy", 2, `no "busy"; there are idle, ping, push, broadcast`},
		{"run --bin=/nonexistent", 2, "go build -o bin/"},
		{"run --calibrate=1.5", 2, "--calibrate is a share"},
		{"run --benchmarks=/nonexistent", 2, "--benchmarks: open /nonexistent"},
		{"run --benchmarks=harness_test.go", 2, "has no line of a benchmark"},
		{"run --partitions=0", 2, "0 partitions: must be 1 to 1000"},
		{"run --kafka=somewhere", 2, `kafka "somewhere": want auto, container, embedded or HOST:PORT`},
		{"broker --partitions=0", 2, "0 partitions: must be 1 to 1000"},
		{"broker --listen=here", 2, "listen address"},
		{"million --cpus=0", 2, "--cpus must be"},
		{"demo --kafka=somewhere", 2, "HOST:PORT"},
		{"demo --listen=here", 2, "--listen"},
		{"demo --rate=0", 2, "--rate must be"},
		{"demo --duration=-1s", 2, "--duration must"},
		{"watch --rule=6558", 2, "no JSON object"},
		{"watch --rule=null", 2, "no JSON object"},
		{"watch --count=-1", 2, "--count must"},
		{"report", 2, "<rundir>"},
		{"report /nonexistent", 1, "name a run's folder"},
		{"report --format=pdf .", 2, "must be one of"},
		{"compare . ", 2, "<b>"},
		{"compare /nonexistent .", 1, "name a run's folder"},
		{"compare --help", 0, "B divided by A"},
		{"doctor --help", 0, "Changes nothing"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			c := start(t.Context(), strings.NewReader(""), strings.Fields(test.args)...)
			c.want(t, test.code)
			wantIn(t, c.stdout.String()+c.stderr.String(), test.want)
			if test.code != 0 && c.stdout.String() != "" {
				t.Errorf("an error on stdout: %s", c.stdout)
			}
		})
	}
}

func TestBroker(t *testing.T) {
	in, closeIn := io.Pipe()
	c := start(t.Context(), in, "broker", "--kafka=embedded", "--until-eof", "--partitions=2", "--topic=talk")
	c.stdout.await(t, "\n")
	var ready brokerReady
	if err := json.Unmarshal([]byte(c.stdout.String()), &ready); err != nil {
		t.Fatal(err)
	}
	if ready.Topic != "talk" || ready.Partitions != 2 || ready.Kind != "embedded" || len(ready.Brokers) != 1 {
		t.Errorf("ready line %+v", ready)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(ready.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	record := &kgo.Record{Topic: "talk", Value: []byte("{}")}
	if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
		t.Error(err)
	}
	if err := closeIn.Close(); err != nil {
		t.Fatal(err)
	}
	c.want(t, 0)
}

func TestBrokerEndsOnASignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := start(ctx, strings.NewReader(""), "broker", "--kafka=embedded")
	c.stdout.await(t, "\n")
	cancel()
	c.want(t, 0)
}

// startRun measures the stand-ins with little of everything.
func startRun(ctx context.Context, t *testing.T, more ...string) (c *call, out string) {
	out = t.TempDir()
	args := append([]string{"run", "--kafka=embedded", "--bin=" + stacktest.Install(t), "--out=" + out,
		"--connections=10", "--duration=1ms", "--warmup=0s", "--rounds=2"}, more...)
	return start(ctx, strings.NewReader(""), args...), out
}

// theRun reads the one run in the folder.
func theRun(t *testing.T, out string) (*report.Run, string) {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("folders %q (%v)", folders, err)
	}
	r, err := report.Read(folders[0])
	if err != nil {
		t.Fatal(err)
	}
	return r, folders[0]
}

func TestRun(t *testing.T) {
	c, out := startRun(t.Context(), t)
	c.want(t, 0)
	r, folder := theRun(t, out)
	wantOrder(t, r)
	wantEverythingRecorded(t, r, folder)
	wantIn(t, c.stdout.String(), "goroutine-tuned", "0.200", "0.900", filepath.Join(folder, "run.json"), "embedded Kafka broker")
	wantIn(t, c.stderr.String(), "RLIMIT_NOFILE", "connections: 10, as asked for", "28/28", "left]")
	again := start(t.Context(), nil, "report", folder)
	again.want(t, 0)
	for _, name := range []string{"report.md", "report.html"} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || !strings.Contains(string(text), r.ID) {
			t.Errorf("%s (%v) does not name the run", name, err)
		}
		format := map[string]string{"report.md": "markdown", "report.html": "html"}[name]
		made := start(t.Context(), nil, "report", "--format="+format, folder)
		made.want(t, 0)
		if made.stdout.String() != string(text) {
			t.Errorf("made again, %s is another", name)
		}
	}
	compared := start(t.Context(), nil, "compare", folder, folder)
	compared.want(t, 0)
	wantIn(t, compared.stdout.String(), "Same commit, machine, broker and load", "goroutine-tuned")
	if again.stdout.String() == "" || !strings.HasPrefix(c.stdout.String(), again.stdout.String()) {
		t.Errorf("the report prints\n%s\nand the run printed\n%s", again.stdout, c.stdout)
	}
}

// A scenario that means nothing for a server without an application leaves it out.
func TestRunOfPings(t *testing.T) {
	for _, s := range scenario.All { // the waits are for real servers
		for i := range s.Probes {
			settle := &s.Probes[i].Settle
			was := *settle
			*settle = 0
			t.Cleanup(func() { *settle = was })
		}
	}
	c, out := startRun(t.Context(), t, "--scenarios=ping", "--variants=floor,reactor")
	c.want(t, 0)
	r, _ := theRun(t, out)
	if len(r.Measurements) != 1 || r.Measurements[0].Variant != "reactor" || len(r.Measurements[0].Snapshots) != 4 {
		t.Fatalf("measurements %+v", r.Measurements)
	}
	wantIn(t, strings.Join(r.Measurements[0].ServerCommand, " "), "--idle-ping=2s")
	wantSchema(t, out+"/"+r.ID)
}

func TestRunOfTheOtherScenarios(t *testing.T) {
	c, out := startRun(t.Context(), t, "--scenarios=request,connect,churn,slow", "--variants=floor,reactor", "--rounds=1")
	c.want(t, 0)
	r, folder := theRun(t, out)
	if len(r.Measurements) != 7 {
		t.Fatalf("%d measurements", len(r.Measurements))
	}
	for _, s := range r.Configuration.Scenarios { // the floor would not have the same load
		if why := s.LeftOut["floor"]; (why != "") != (s.Name == "churn") || len(s.LeftOut) > 1 {
			t.Errorf("%s leaves out %q", s.Name, s.LeftOut)
		}
	}
	wantIn(t, c.stdout.String(), "floor has no part in churn: it has no rules")
	if strings.Contains(c.stderr.String(), "0 of 0") {
		t.Errorf("progress counts what no scenario has:\n%s", c.stderr)
	}
	for _, m := range r.Measurements {
		if m.Variant == "floor" && m.Scenario == "churn" {
			t.Error("the floor was measured in churn")
		}
		server, load := strings.Join(m.ServerCommand, " "), strings.Join(m.LoadgenCommand, " ")
		isRequest := m.Scenario == "request"
		if strings.Contains(load, "/echo ") != isRequest || strings.Contains(load, "--echo") != isRequest || strings.Contains(server, "--echo") != (isRequest && m.Variant == "reactor") {
			t.Errorf("%s: %s, loaded by %s", m.Scenario, server, load)
		}
		if strings.Contains(load, "--groups=1") != (m.Scenario == "churn" || m.Scenario == "slow") {
			t.Errorf("%s is loaded by %s", m.Scenario, load)
		}
	}
	wantSchema(t, folder)
}

func wantOrder(t *testing.T, r *report.Run) {
	t.Helper()
	var order []string
	for _, m := range r.Measurements {
		order = append(order, fmt.Sprintf("%s %d/%d %s", m.Scenario, m.Round, m.Connections, m.Variant))
	}
	want := []string{
		"idle 1/3 floor", "idle 1/3 reactor", "idle 1/3 goroutine-plain", "idle 1/3 goroutine-tuned",
		"idle 1/6 goroutine-tuned", "idle 1/6 goroutine-plain", "idle 1/6 reactor", "idle 1/6 floor",
		"idle 1/10 reactor", "idle 1/10 goroutine-plain", "idle 1/10 goroutine-tuned", "idle 1/10 floor",
		"push 1/10 floor", "push 1/10 reactor", "push 1/10 goroutine-plain", "push 1/10 goroutine-tuned",
		"push 2/10 goroutine-tuned", "push 2/10 goroutine-plain", "push 2/10 reactor", "push 2/10 floor",
		"broadcast 1/10 floor", "broadcast 1/10 reactor", "broadcast 1/10 goroutine-plain", "broadcast 1/10 goroutine-tuned",
		"broadcast 2/10 goroutine-tuned", "broadcast 2/10 goroutine-plain", "broadcast 2/10 reactor", "broadcast 2/10 floor",
	}
	if got, want := strings.Join(order, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("order\n%s\nwant\n%s", got, want)
	}
}

func wantEverythingRecorded(t *testing.T, r *report.Run, folder string) {
	t.Helper()
	sources := map[string]bool{}
	for _, m := range r.Measurements {
		server, load := strings.Join(m.ServerCommand, " "), strings.Join(m.LoadgenCommand, " ")
		wantIn(t, server, "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--kafka="+r.Configuration.Broker.Addresses[0], "--topic=chat", "--drain=1s")
		wantIn(t, load, m.Scenario+" --control", "--url=ws://127.0.0.1:", fmt.Sprintf("--connections=%d", m.Connections))
		if strings.Contains(server, "--profile=plain") != (m.Variant == "goroutine-plain") {
			t.Errorf("%s was started as %s", m.Variant, server)
		}
		wantFloorsFlags(t, m, server, load)
		_, source, _ := strings.Cut(load, "--sources=")
		source, _, _ = strings.Cut(source, " ")
		if sources[source] || !strings.HasPrefix(source, "127.") || strings.HasPrefix(source, "127.0.0.") {
			t.Errorf("source %q is not fresh", source)
		}
		sources[source] = true
		if len(m.Snapshots) < 2 || m.Snapshots[0].At != "ready" || !m.Snapshots[0].AfterGC {
			t.Errorf("snapshots %+v", m.Snapshots)
		}
		if m.LoadgenExit == nil || *m.LoadgenExit != 0 || !json.Valid(m.Loadgen) {
			t.Errorf("load generator's result %s", m.Loadgen)
		}
		for _, log := range m.Logs {
			if _, err := os.Stat(filepath.Join(folder, log)); err != nil {
				t.Error(err)
			}
		}
	}
	if len(r.Environment.Binaries) != 4 || len(r.Environment.Binaries[0].SHA256) != 64 {
		t.Errorf("binaries %+v", r.Environment.Binaries)
	}
	if len(r.Configuration.Variants) != 4 || r.Configuration.Base != "floor" || len(r.Configuration.Variants[2].Command) == 0 {
		t.Errorf("variants %+v", r.Configuration.Variants)
	}
	bench, err := os.ReadFile(filepath.Join(folder, "bench.txt"))
	if err != nil || strings.Count(string(bench), "BenchmarkPush/") != 8 {
		t.Errorf("bench.txt (%v):\n%s", err, bench)
	}
}

// wantFloorsFlags: of all servers, only the floor has to be told who receives what.
func wantFloorsFlags(t *testing.T, m report.Measurement, server, load string) {
	t.Helper()
	receivers := ""
	if m.Variant == "floor" {
		receivers = map[string]string{"push": "--receivers=1 ", "broadcast": "--receivers=10 "}[m.Scenario]
	}
	if !strings.Contains(server+" ", receivers) || (m.Variant != "floor" && strings.Contains(server, "--receivers")) {
		t.Errorf("%s was started for %s as %s", m.Variant, m.Scenario, server)
	}
	if oneGroup := m.Variant == "floor" && m.Scenario == "push"; strings.Contains(load, "--groups=1") != oneGroup {
		t.Errorf("%s of %s was asked for as %s", m.Scenario, m.Variant, load)
	}
}

func TestRunWithTrouble(t *testing.T) {
	tests := []struct {
		program, fault string
		code           int
		stdout, stderr string
	}{
		{"loadgen", stacktest.Wrong, 3, "! wrong: reactor, push, round 1: 3 pushes are missing", "a server was wrong"},
		{"loadgen", stacktest.Invalid, 0, "0.200 (0.200..0.200)!", "the schedule was not kept"},
		{"loadgen", stacktest.Wrong, 3, "! wrong: reactor, request, round 1: 3 pushes are missing", "a server was wrong"},
		{"loadgen", stacktest.Invalid, 0, "! invalid: reactor, connect, round 1: the schedule was not kept", "the schedule was not kept"},
		{"loadgen", stacktest.Gate, 0, "! invalid: reactor, push, round 1: no connection came up", "no connection came up"},
		{"loadgen", stacktest.Crash, 1, "! failed: reactor, push", "no address to connect from"},
		{"loadgen", stacktest.Garbage, 1, "! failed: reactor, push", "is no event"},
		{"goroutine", stacktest.Crash, 1, "! failed: goroutine-plain, push", "made of cheese"},
		{"goroutine", stacktest.Dying, 1, "! failed: goroutine-tuned, idle", "out of breath"},
		{"server", stacktest.Sulking, 1, "! failed: reactor, push", "leaving in anger"},
	}
	for _, test := range tests {
		t.Run(test.program+" "+test.fault, func(t *testing.T) {
			stacktest.SetFault(t, test.program, test.fault)
			scenario := "push"
			for _, other := range []string{"idle", "request", "connect"} {
				if strings.Contains(test.stdout, ", "+other) {
					scenario = other
				}
			}
			c, out := startRun(t.Context(), t, "--scenarios="+scenario)
			c.want(t, test.code)
			wantIn(t, c.stdout.String(), test.stdout)
			wantIn(t, c.stderr.String(), test.stderr)
			r, _ := theRun(t, out)
			if len(r.Failures) == 0 {
				t.Error("run.json names no failure")
			}
			if test.code == 1 {
				wantIn(t, c.stderr.String(), "left out, since this variant failed before")
			}
			if test.program != "loadgen" && len(r.Measurements) < 4 {
				t.Errorf("only %d measurements: the trouble of one variant ended the others", len(r.Measurements))
			}
		})
	}
}

// A load generator that never keeps its schedule has all its attempts used up; what a server does wrong is no reason
// for another.
func TestRunMakesInvalidMeasurementsAgain(t *testing.T) {
	for _, test := range []struct {
		fault          string
		code, repeated int
	}{{stacktest.Invalid, 0, 2}, {stacktest.Wrong, 3, 0}, {stacktest.Crash, 1, 0}} {
		t.Run(test.fault, func(t *testing.T) {
			stacktest.SetFault(t, "loadgen", test.fault)
			c, out := startRun(t.Context(), t, "--scenarios=push", "--variants=reactor", "--rounds=1", "--retries=2")
			c.want(t, test.code)
			r, folder := theRun(t, out)
			if len(r.Repeated) != test.repeated || len(r.Measurements) != 1 || len(r.Failures) != 1 {
				t.Errorf("%d attempts were repeated, %d measurements, failures %v", len(r.Repeated), len(r.Measurements), r.Failures)
			}
			wantSchema(t, folder)
			if test.repeated > 0 {
				wantIn(t, c.stdout.String(), "2 attempts were invalid and made again")
				wantIn(t, c.stderr.String(), "it is made again")
			}
		})
	}
}

func TestRunIsInterrupted(t *testing.T) {
	stacktest.SetFault(t, "loadgen", stacktest.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	c, out := startRun(ctx, t, "--scenarios=push")
	c.stderr.await(t, "push, floor, round 1")
	cancel()
	c.want(t, 1)
	wantIn(t, c.stderr.String(), "interrupted")
	if r, _ := theRun(t, out); !r.Interrupted {
		t.Error("run.json does not say that the run was interrupted")
	}
	wantNoChildren(t)
}

// wantNoChildren looks for processes whose parent is this one.
func wantNoChildren(t *testing.T) {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	if errors.Is(err, os.ErrNotExist) {
		children = childrenByStat(t)
	} else if err != nil {
		t.Fatal(err)
	}
	if text := strings.TrimSpace(string(children)); text != "" {
		t.Errorf("children are left: %s", text)
	}
}

// childrenByStat is for kernels without the file of children.
func childrenByStat(t *testing.T) []byte {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []byte
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == fmt.Sprint(os.Getpid()) {
			found = append(found, path+" "...)
		}
	}
	return found
}

func TestRunRefusesMoreThanTheMachineHolds(t *testing.T) {
	c, out := startRun(t.Context(), t, "--connections=2000000000")
	c.want(t, 1)
	wantIn(t, c.stderr.String(), "more than this machine can hold", "to lift it")
	if folders, _ := filepath.Glob(filepath.Join(out, "*")); len(folders) != 0 {
		t.Errorf("it left %q", folders)
	}
}

func TestRunWithAnExternalBroker(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	broker := start(ctx, strings.NewReader(""), "broker", "--kafka=embedded")
	broker.stdout.await(t, "\n")
	var ready brokerReady
	if err := json.Unmarshal([]byte(broker.stdout.String()), &ready); err != nil {
		t.Fatal(err)
	}
	c, out := startRun(t.Context(), t, "--kafka="+ready.Brokers[0], "--scenarios=push", "--variants=reactor")
	c.want(t, 0)
	wantIn(t, c.stdout.String(), "external Kafka broker")
	r, _ := theRun(t, out)
	wantIn(t, strings.Join(r.Measurements[0].LoadgenCommand, " "), "--kafka="+ready.Brokers[0])
	cancel()
	broker.want(t, 0)
	gone, _ := startRun(t.Context(), t, "--kafka="+ready.Brokers[0])
	gone.want(t, 1)
	wantIn(t, gone.stderr.String(), "no Kafka broker answers at "+ready.Brokers[0])
}

func TestDemo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := start(ctx, nil, "demo", "--kafka=embedded", "--bin="+stacktest.Install(t), "--listen=127.0.0.1:0", "--rate=500")
	c.stdout.await(t, "gold")
	wantIn(t, c.stdout.String(), "console:  http://127.0.0.1:", ` watch --url ws://127.0.0.1:`, `--rule '{"server_id":6558}'`)
	cancel()
	c.want(t, 0)
	wantIn(t, c.stderr.String(), "lines were said")
	wantNoChildren(t)
}

func TestDemoEndsAfterItsDuration(t *testing.T) {
	c := start(t.Context(), nil, "demo", "--kafka=embedded", "--bin="+stacktest.Install(t), "--listen=127.0.0.1:0", "--duration=2s")
	c.want(t, 0)
}

func TestDemoWhenThePortIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := start(t.Context(), nil, "demo", "--kafka=embedded", "--bin="+stacktest.Install(t), "--listen="+listener.Addr().String())
	c.want(t, 1)
	wantIn(t, c.stderr.String(), listener.Addr().String(), "already in use", "--listen")
}

func TestDemoWhenTheServerFails(t *testing.T) {
	stacktest.SetFault(t, "server", stacktest.Crash)
	c := start(t.Context(), nil, "demo", "--kafka=embedded", "--bin="+stacktest.Install(t), "--listen=127.0.0.1:0")
	c.want(t, 1)
	wantIn(t, c.stderr.String(), "made of cheese")
}
