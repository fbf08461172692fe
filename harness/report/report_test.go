package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatmonitor/harness/probe"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the files in testdata, to read the difference afterwards")

// snapshot is what was read of a server with that many connections.
func snapshot(at string, connections int, afterGC bool, rss, slab float64) probe.Snapshot {
	s := probe.Snapshot{At: at, Connections: connections, AfterGC: afterGC}
	s.Process.RSSBytes = probe.Known(rss)
	s.Kernel.SlabBytes = probe.Known(slab)
	s.Kernel.TCPInUse = probe.Known(20 + 2*float64(connections))
	s.Go = map[string]float64{"/memory/classes/heap/objects:bytes": rss / 2}
	return s
}

// idle is a measurement whose server takes perConnection bytes, half of that
// after a collection.
func idle(variant string, connections int, perConnection float64) Measurement {
	n := float64(connections)
	return Measurement{
		Variant: variant, Scenario: "idle", Round: 1, Connections: connections,
		Loadgen: json.RawMessage(fmt.Sprintf(`{"schema":1,"connections":{"asked":%[1]d,"held":%[1]d,"connect_seconds":0.5},"valid":true}`, connections)),
		Snapshots: []probe.Snapshot{
			snapshot("ready", 0, true, 10e6, 50e6),
			snapshot("held", connections, false, 10e6+n*perConnection, 50e6+n*8400),
			snapshot("held", connections, true, 10e6+n*perConnection/2, 50e6+n*8400),
		},
	}
}

// pushed is a measurement with the given latencies.
func pushed(variant string, round int, p50, p99 float64, lost int) Measurement {
	text := fmt.Sprintf(`{"schema":1,"connections":{"asked":1000,"held":1000,"connect_seconds":0.5},`+
		`"records":{"deliveries_expected":2000,"deliveries":%d,"lost":%d},`+
		`"latency":{"response":{"count":2000,"p50_ns":%f,"p90_ns":400000,"p99_ns":%f,"p999_ns":5000000},"lag":{"p99_ns":30000}},`+
		`"self":{"bytes_per_connection":90,"cpu_seconds":1.5},"valid":true}`,
		2000-lost, lost, p50, p99)
	return Measurement{Variant: variant, Scenario: "push", Round: round, Connections: 1000, Loadgen: json.RawMessage(text)}
}

// broadcasted is a measurement of records that reach 500 receivers in the given time.
func broadcasted(variant string, round int, last float64) Measurement {
	text := fmt.Sprintf(`{"schema":1,"connections":{"asked":500,"held":500,"connect_seconds":0.5},`+
		`"records":{"deliveries_expected":10000,"deliveries":10000,"lost":0},`+
		`"latency":{"first_receiver":{"count":20,"p50_ns":500000},"last_receiver":{"count":20,"p50_ns":%f,"max_ns":90000000},"lag":{"p99_ns":40000}},`+
		`"self":{"bytes_per_connection":80,"cpu_seconds":2.5},"valid":true}`, last)
	return Measurement{Variant: variant, Scenario: "broadcast", Round: round, Connections: 500, Loadgen: json.RawMessage(text)}
}

func sampleRun() *Run { return sampleOfRounds(3) }

// sampleOfRounds is such a run with more rounds, or fewer; each is slower than the one
// before.
func sampleOfRounds(rounds int) *Run {
	r := &Run{
		Schema: Schema, ID: "20261123T010000Z-0123456789ab", Started: time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC),
		Environment: Environment{
			Machine: probe.Machine{OS: "linux", Arch: "amd64", Kernel: "6.18.1", CPUModel: "Abacus 9000", Cores: 2,
				MemoryBytes: probe.Known(24 << 30)},
			GoVersion: "go1.26.8", Commit: "0123456789ab",
		},
		Configuration: Configuration{
			Broker:   Broker{Kind: "embedded", Note: "inside the harness"},
			Variants: []Variant{{Name: "floor", Note: "the least"}, {Name: "reactor"}, {Name: "goroutine-plain"}},
			Base:     "floor",
			Scenarios: []Scenario{
				{Name: "idle", Connections: []int{500, 1000}, Rounds: 1},
				{Name: "push", Connections: []int{1000}, Rounds: rounds, RatePerSecond: 200, DurationSeconds: 10, WarmupSeconds: 2, Receivers: 1},
				{Name: "broadcast", Connections: []int{500}, Rounds: rounds, RatePerSecond: 4, DurationSeconds: 5, WarmupSeconds: 1, Receivers: 500},
			},
			Connections: 1000, RatePerSecond: 200, DurationSeconds: 10, Rounds: rounds,
		},
		Failures: []Failure{},
		Measurements: []Measurement{
			idle("floor", 500, 0), idle("floor", 1000, 0),
			idle("reactor", 500, 1000), idle("goroutine-plain", 500, 17000),
			idle("reactor", 1000, 900), idle("goroutine-plain", 1000, 18000),
		},
	}
	for round := 1; round <= rounds; round++ {
		drift := float64(round)
		r.Measurements = append(r.Measurements, pushed("floor", round, 100e3*drift, 800e3*drift, 0),
			broadcasted("floor", round, 20e6*drift), broadcasted("reactor", round, 25e6*drift), broadcasted("goroutine-plain", round, 50e6*drift),
			pushed("reactor", round, 200e3*drift, 1e6*drift, 0), pushed("goroutine-plain", round, 300e3*drift, 2e6*drift, 0))
	}
	r.DeriveFigures()
	return r
}

// calibratedRun is one whose rate follows from what was found first.
func calibratedRun() *Run {
	r := sampleRun()
	r.Configuration.CalibrateShare = 0.3
	r.Configuration.Scenarios[1].RateFrom = "30 % of what reactor, the weakest, sustains"
	r.Calibration = []Calibration{{Scenario: "push", Variant: "reactor", Connections: 500, SustainedPerSecond: 800, Tries: []Try{
		{RatePerSecond: 800, Sustained: true, P99Ns: 12e6}, {RatePerSecond: 1600, Because: "the sender lagged"},
	}}}
	return r
}

func TestCalibrationInReports(t *testing.T) {
	var text, markdown bytes.Buffer
	r := calibratedRun()
	if err := errors.Join(r.Print(&text), r.WriteMarkdown(&markdown)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"push: 200 records/s (30 % of what reactor, the weakest, sustains), each to 1 of"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, &text)
		}
	}
	for _, want := range []string{"| push | reactor | 500 | 800 | yes | 12.0 |", "| push | reactor | 500 | 1,600 | no: the sender lagged | - |", "--calibrate=0.3"} {
		if !strings.Contains(markdown.String(), want) {
			t.Errorf("the Markdown does not say %q:\n%s", want, &markdown)
		}
	}
}

func TestBenchmarksJoinTheFile(t *testing.T) {
	r := sampleRun()
	r.Benchmarks = "\npkg: chatmonitor/server/monitor\nBenchmarkMatch/rules=1-2  100  50 ns/op\n"
	var with, without bytes.Buffer
	if err := errors.Join(r.WriteBench(&with), sampleRun().WriteBench(&without)); err != nil {
		t.Fatal(err)
	}
	if want := without.String() + r.Benchmarks; with.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &with, want)
	}
}

func TestIntervalsFromSixRounds(t *testing.T) {
	if f := sampleOfRounds(5).Figure("reactor", "push", PushP50); f.Interval != nil || f.Ratio.Interval != nil {
		t.Error("five rounds have an interval")
	}
	r := sampleOfRounds(6)
	f := r.Figure("reactor", "push", PushP50)
	if f.Interval == nil || f.Interval.Low <= *f.Min || f.Interval.High >= *f.Max || f.Interval.Low >= *f.Value {
		t.Fatalf("%+v of %v", f.Interval, f.Samples)
	}
	if i := f.Ratio.Interval; i == nil || i.Low != 2 || i.High != 2 { // whatever drifts, it is twice the floor's
		t.Errorf("ratio %+v", i)
	}
	if lost := r.Figure("reactor", "push", RecordsLost); lost.Interval != nil {
		t.Error("a sum has an interval of a median")
	}
	c := f.cell(line{format: milliseconds, ratio: true})
	if want := milliseconds(f.Interval.Low); c.Low != want {
		t.Errorf("%s is printed, not %s", c.Low, want)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "95 % bootstrap interval") || strings.Contains(out.String(), "median of the rounds (smallest..largest)") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func wantFigure(t *testing.T, r *Run, variant, scenario, name string, value, low, high float64) {
	t.Helper()
	f := r.Figure(variant, scenario, name)
	if f == nil || f.Value == nil {
		t.Fatalf("no %s of %s: %+v", name, variant, f)
	}
	if !near(*f.Value, value) || !near(*f.Min, low) || !near(*f.Max, high) {
		t.Errorf("%s of %s = %v (%v..%v), want %v (%v..%v)", name, variant, *f.Value, *f.Min, *f.Max, value, low, high)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6*math.Max(1, math.Abs(b)) }

func TestFigures(t *testing.T) {
	r := sampleRun()
	// Through (0, 0), (500, 500 kB) and (1000, 900 kB).
	wantFigure(t, r, "reactor", "idle", ResidentBytes, 900, 800, 1000)
	wantFigure(t, r, "reactor", "idle", ResidentBytesGC, 450, 400, 500)
	wantFigure(t, r, "reactor", "idle", LiveHeapBytesGC, 225, 200, 250)
	wantFigure(t, r, "reactor", "idle", KernelBytes, 8400, 8400, 8400)
	wantFigure(t, r, "reactor", "idle", TotalBytes, 9300, 9200, 9400)
	wantFigure(t, r, "reactor", "idle", LoadgenBytes, 0, 0, 0)
	wantFigure(t, r, "reactor", "push", LoadgenCPUSeconds, 1.5, 1.5, 1.5)
	wantFigure(t, r, "reactor", "broadcast", LastReceiverP50, 50e6, 25e6, 75e6)
	wantFigure(t, r, "reactor", "broadcast", DeliveriesPerSec, 10e3, 500/0.075, 20e3)
	wantFigure(t, r, "reactor", "idle", BaselineBytes, 10e6, 10e6, 10e6)
	wantFigure(t, r, "reactor", "idle", ConnectPerSecond, 2000, 2000, 2000)
	wantFigure(t, r, "goroutine-plain", "push", PushP99, 4e6, 2e6, 6e6)
	wantFigure(t, r, "goroutine-plain", "push", DeliveriesExpected, 6000, 2000, 2000)
	f := r.Figure("reactor", "push", PushP50)
	if !slices.Equal(f.Samples, []float64{200e3, 400e3, 600e3}) || !slices.Equal(f.Rounds, []int{1, 2, 3}) || !f.Valid {
		t.Errorf("samples %v of rounds %v", f.Samples, f.Rounds)
	}
	if stacks := r.Figure("reactor", "idle", StackBytesGC); stacks.Value != nil || len(stacks.Unavailable) != 2 {
		t.Errorf("a metric that the server does not report has the figure %+v", stacks)
	}
}

func TestRatios(t *testing.T) {
	r := sampleRun()
	paired := r.Figure("goroutine-plain", "push", PushP99).Ratio
	if paired.Base != "floor" || !near(*paired.Value, 2.5) || !near(*paired.Min, 2.5) || !near(*paired.Max, 2.5) || len(paired.Samples) != 3 {
		t.Errorf("what drifts for both alike has the ratio %+v", paired)
	}
	if sloped := r.Figure("reactor", "idle", TotalBytes).Ratio; !near(*sloped.Value, 9300./8400) || sloped.Min != nil {
		t.Errorf("two slopes have the ratio %+v", sloped)
	}
	if zero := r.Figure("reactor", "idle", ResidentBytes).Ratio; zero.Value != nil || zero.Unavailable == "" {
		t.Errorf("over nothing there is the ratio %+v", zero)
	}
	if own := r.Figure("floor", "push", PushP50).Ratio; own != nil {
		t.Errorf("the base has a ratio to itself: %+v", own)
	}
	r.Configuration.Base = ""
	r.Configuration.Variants = r.Configuration.Variants[1:]
	r.DeriveFigures()
	if first := r.Figure("goroutine-plain", "idle", ResidentBytes).Ratio; first.Base != "reactor" || !near(*first.Value, 20) {
		t.Errorf("without a base: %+v", first)
	}
}

func TestKernelFigureOfADisturbedMachine(t *testing.T) {
	r := sampleRun()
	for i := range r.Measurements {
		m := &r.Measurements[i]
		if m.Variant == "reactor" && m.Scenario == "idle" && m.Connections == 1000 {
			m.Snapshots[1].Kernel.TCPInUse = probe.Known(2600)
		}
	}
	r.DeriveFigures()
	f := r.Figure("reactor", "idle", KernelBytes)
	if len(f.Points) != 2 || len(f.Unavailable) != 1 || !strings.Contains(f.Unavailable[0], "other programs") {
		t.Errorf("points %v, unavailable %q", f.Points, f.Unavailable)
	}
}

func TestWhatCouldNotBeReadIsNoZero(t *testing.T) {
	r := sampleRun()
	for i := range r.Measurements {
		for j := range r.Measurements[i].Snapshots {
			r.Measurements[i].Snapshots[j].Kernel.SlabBytes = probe.Unavailable(os.ErrPermission)
		}
	}
	r.DeriveFigures()
	if f := r.Figure("reactor", "idle", KernelBytes); f.Value != nil || len(f.Samples) != 0 || len(f.Unavailable) != 2 {
		t.Errorf("figure %+v", f)
	}
	text := tableOf(t, r)
	if !strings.Contains(text, "No kernel_bytes_per_connection of reactor: round 1, 500 connections: permission denied") {
		t.Errorf("the table does not say why there is no figure:\n%s", text)
	}
}

func tableOf(t *testing.T, r *Run) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestTable(t *testing.T) {
	golden(t, "table.txt", tableOf(t, sampleRun()))
}

func TestTableOfARunWithTrouble(t *testing.T) {
	r := sampleRun()
	r.Measurements[len(r.Measurements)-1] = pushed("goroutine-plain", 3, 1e6, 70e6, 7)
	r.Failures = []Failure{
		{Kind: KindWrong, Variant: "goroutine-plain", Scenario: "push", Round: 3, Reason: "7 deliveries are missing"},
		{Kind: KindInvalid, Variant: "reactor", Scenario: "push", Round: 2, Reason: "the sender lagged"},
	}
	r.Interrupted = true
	r.DeriveFigures()
	golden(t, "trouble.txt", tableOf(t, r))
	var bench bytes.Buffer
	if err := r.WriteBench(&bench); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(bench.String(), "BenchmarkPush/variant=reactor") || !strings.Contains(bench.String(), "BenchmarkIdle") {
		t.Errorf("invalid figures in the benchmark file:\n%s", &bench)
	}
}

func TestTableOfOneScenario(t *testing.T) {
	r := sampleRun()
	r.Configuration.Scenarios = r.Configuration.Scenarios[:1]
	r.Measurements = r.Measurements[:6]
	r.DeriveFigures()
	golden(t, "idle.txt", tableOf(t, r))
}

func TestBench(t *testing.T) {
	var out bytes.Buffer
	if err := sampleRun().WriteBench(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench.txt", out.String())
}

func TestWriteAndRead(t *testing.T) {
	folder := t.TempDir()
	run := sampleRun()
	if err := run.Write(folder); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{folder, filepath.Join(folder, FileName)} {
		back, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := tableOf(t, back), tableOf(t, run); got != want {
			t.Errorf("read back, it prints\n%s\nnot\n%s", got, want)
		}
		back.DeriveFigures()
		if got, want := tableOf(t, back), tableOf(t, run); got != want {
			t.Errorf("derived again, it prints\n%s\nnot\n%s", got, want)
		}
	}
}

func TestReadOfWhatIsNoRun(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "unexpected end"},
		{`{"schema":99}`, "schema 99"},
		{`{}`, "schema 0"},
	}
	for _, test := range tests {
		path := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(path, []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want an error with %q", test.text, err, test.want)
		}
	}
	if _, err := Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "name a run's folder") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestResultOfAnotherSchema(t *testing.T) {
	if _, err := (Measurement{Loadgen: json.RawMessage(`{"schema":2}`)}).Result(); err == nil || !strings.Contains(err.Error(), "schema 2") {
		t.Errorf("schema 2: %v", err)
	}
	if result, err := (Measurement{}).Result(); result != nil || err != nil {
		t.Errorf("no result: %v, %v", result, err)
	}
}

func TestNumbers(t *testing.T) {
	tests := []struct {
		format func(float64) string
		value  float64
		want   string
	}{
		{count, 0, "0"}, {count, 999.4, "999"}, {count, 1000, "1,000"}, {count, 19500, "19,500"},
		{count, 1234567.8, "1,234,568"}, {count, -4321, "-4,321"}, {count, -0.2, "0"},
		{milliseconds, 0, "0.00"}, {milliseconds, 187e3, "0.187"}, {milliseconds, 1.234e6, "1.23"},
		{milliseconds, 12.34e6, "12.3"}, {milliseconds, 456.7e6, "457"}, {milliseconds, 7.8912e9, "7,891"},
	}
	for _, test := range tests {
		if got := test.format(test.value); got != test.want {
			t.Errorf("%v is printed as %s, want %s", test.value, got, test.want)
		}
	}
}
