package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func (f *fakeServer) echoURL() string { return strings.TrimSuffix(f.url(), "/ws") + "/echo" }

func TestConnect(t *testing.T) {
	for _, echo := range []bool{false, true} {
		f := newFakeServer(t)
		args := []string{"connect", "--connections=60", "--connect-rate=300"}
		if echo {
			args = append(args, "--echo", "--url="+f.echoURL())
		}
		done := runLoadgen(t, f, args...)
		r := done.result
		if r.Connections.Held != 60 || len(r.WrongBecause) > 0 || done.stderr != "" {
			t.Fatalf("%+v, wrong %q, stderr %q", r.Connections, r.WrongBecause, done.stderr)
		}
		for _, name := range []string{response, service, lag, prepared} {
			if r.Latency[name].Count != 60 {
				t.Errorf("%s counts %d connects", name, r.Latency[name].Count)
			}
		}
		if r.Latency[prepared].MinNs < r.Latency[response].MinNs {
			t.Errorf("ready in %d ns, before the upgrade in %d ns", r.Latency[prepared].MinNs, r.Latency[response].MinNs)
		}
		if r.Connections.ConnectSeconds < 59.0/300 || r.Rate.AskedPerSecond != 300 {
			t.Errorf("60 connects at 300/s took %g s; rate %+v", r.Connections.ConnectSeconds, *r.Rate)
		}
	}
}

// TestConnectDoesNotWait: a server that takes its time with each upgrade slows nobody down.
func TestConnectDoesNotWait(t *testing.T) {
	const pause = 300 * time.Millisecond
	f := newFakeServer(t)
	f.misbehave(mistakes{upgrade: func() { time.Sleep(pause) }})
	r := runLoadgen(t, f, "connect", "--connections=50", "--connect-rate=200").result
	h := r.Latency[response]
	if h.Count != 50 || time.Duration(h.MinNs) < pause {
		t.Errorf("%d connects, the fastest in %v", h.Count, time.Duration(h.MinNs))
	}
	if r.Connections.ConnectSeconds > 50*pause.Seconds()/2 {
		t.Errorf("50 upgrades of %v took %g s: one waited for another", pause, r.Connections.ConnectSeconds)
	}
}

func TestConnectCountsThoseThatFail(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{refuse: func(n int) bool { return n%3 == 0 }})
	done := runLoadgen(t, f, "connect", "--connections=30", "--connect-rate=300")
	c := done.result.Connections
	if done.code != exitInvalid || c.Held != 20 || c.Failed != 10 || done.result.Latency[response].Count != 20 {
		t.Errorf("exit code %d, %+v", done.code, c)
	}
}

func TestRequest(t *testing.T) {
	for _, echo := range []bool{false, true} {
		f := newFakeServer(t)
		args := []string{"request", "--connections=7", "--rate=500", "--warmup=40ms", "--duration=200ms"}
		if echo {
			args = append(args, "--echo", "--text-bytes=300", "--url="+f.echoURL())
		}
		done := runLoadgen(t, f, args...)
		n := *done.result.Requests
		if len(done.result.WrongBecause) > 0 || done.stderr != "" {
			t.Fatalf("wrong %q, stderr %q", done.result.WrongBecause, done.stderr)
		}
		if n.Asked != 120 || n.Sent != 120 || n.Answered != 120 || done.result.Latency[response].Count != 100 {
			t.Errorf("%+v, %d measured", n, done.result.Latency[response].Count)
		}
	}
}

func TestWrongAnswersToRequests(t *testing.T) {
	once := func(change func(message []byte) [][]byte) func([]byte) [][]byte {
		return func(message []byte) [][]byte {
			if bytes.Contains(message, []byte(`"bench_seq":60}`)) {
				return change(message)
			}
			return [][]byte{message}
		}
	}
	for _, row := range []struct {
		sentence string
		echo     func([]byte) [][]byte
		count    func(requests) int
		because  string
	}{
		{"an echo changed", once(func(m []byte) [][]byte { return [][]byte{bytes.Replace(m, []byte(`"name":"`), []byte(`"name":"x`), 1)} }),
			func(n requests) int { return n.Wrong }, "differs from the request"},
		{"an echo twice", once(func(m []byte) [][]byte { return [][]byte{m, m} }),
			func(n requests) int { return n.Duplicated }, "1 of 120 answers duplicated"},
		{"an echo missing", once(func([]byte) [][]byte { return nil }),
			func(n requests) int { return n.Lost }, "1 of 120 answers lost"},
		{"an echo of nothing", once(func(m []byte) [][]byte { return [][]byte{m, []byte("hello?")} }),
			func(n requests) int { return n.Wrong }, "not made"},
		{"an echo of what is still to come", once(func(m []byte) [][]byte {
			return [][]byte{m, bytes.Replace(m, []byte(`"bench_seq":60}`), []byte(`"bench_seq":999}`), 1)}
		}), func(n requests) int { return n.Wrong }, "not made"},
	} {
		f := newFakeServer(t)
		f.misbehave(mistakes{echo: row.echo})
		done := runLoadgen(t, f, "request", "--echo", "--connections=5", "--rate=500", "--warmup=0", "--duration=240ms", "--settle=300ms", "--url="+f.echoURL())
		if done.code != exitWrong || row.count(*done.result.Requests) != 1 || !strings.Contains(strings.Join(done.result.WrongBecause, "; "), row.because) {
			t.Errorf("%s: exit code %d, %+v, because %q", row.sentence, done.code, *done.result.Requests, done.result.WrongBecause)
		}
	}
}

func TestBusyAnswersMakeTheRunInvalid(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{answer: func(request []byte) []byte {
		if bytes.Contains(request, []byte(`"id":1060,`)) {
			return []byte(`{"path":"/ping","id":1060,"error":{"code":"busy","message":"later"}}`)
		}
		return nil
	}})
	done := runLoadgen(t, f, "request", "--connections=5", "--rate=500", "--warmup=0", "--duration=240ms")
	if because := strings.Join(done.result.InvalidBecause, "; "); done.code != exitInvalid || !strings.Contains(because, "ping refused: busy (once)") {
		t.Errorf("exit code %d, because %q", done.code, because)
	}
}

// TestRefusalsOfWhatWasNotAsked: an error in answer to nothing does not stand for an answer that is missing.
func TestRefusalsOfWhatWasNotAsked(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{answer: func(request []byte) []byte {
		if bytes.Contains(request, []byte(`"id":1060,`)) {
			return []byte(`{"path":"/ping","id":7777,"error":{"code":"busy","message":"later"}}`)
		}
		return nil
	}})
	done := runLoadgen(t, f, "request", "--connections=5", "--rate=500", "--warmup=0", "--duration=240ms", "--settle=300ms")
	if n := *done.result.Requests; done.code != exitWrong || n.Lost != 1 || n.Wrong != 1 {
		t.Errorf("exit code %d, %+v, because %q", done.code, n, done.result.WrongBecause)
	}
}

func TestBroadcast(t *testing.T) {
	f := newFakeServer(t)
	done := runLoadgen(t, f, "broadcast", "--connections=150", "--rate=50", "--warmup=100ms", "--duration=400ms")
	r := done.result
	if len(r.WrongBecause) > 0 || r.Records.Deliveries != 25*150 {
		t.Fatalf("wrong %q, %+v", r.WrongBecause, *r.Records)
	}
	first, last := r.Latency[firstReceiver], r.Latency[lastReceiver]
	if first.Count != 20 || last.Count != 20 || r.Latency[response].Count != 20*150 {
		t.Errorf("%d first, %d last, %d in all", first.Count, last.Count, r.Latency[response].Count)
	}
	if first.MinNs != r.Latency[response].MinNs || last.MaxNs != r.Latency[response].MaxNs || first.P50Ns > last.P50Ns {
		t.Errorf("first %+v\nlast %+v\nall %+v", first, last, r.Latency[response])
	}
}

func TestChurn(t *testing.T) {
	f := newFakeServer(t)
	done := runLoadgen(t, f, "churn", "--connections=10", "--receivers=5", "--rate=200", "--warmup=100ms", "--duration=500ms", "--churn-rate=100", "--churn-life=100ms")
	r := done.result
	if len(r.WrongBecause) > 0 || done.stderr != "" {
		t.Fatalf("wrong %q, stderr %q", r.WrongBecause, done.stderr)
	}
	if r.Records.Deliveries != 120*5 || r.Connections.Held != 10 {
		t.Errorf("what passers-by got is in the account: %+v, %+v", *r.Records, r.Connections)
	}
	c := *r.Churn
	if c.Asked != 60 || c.Connected != c.Dropped || c.Connected+c.Failed != 60 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
	if n := r.Latency[churnLag].Count; n != 50 {
		t.Errorf("%d comings were begun after the warm-up, want 50", n)
	}
	if n := r.Latency[churned].Count; n == 0 || n > 50 {
		t.Errorf("%d comings measured, at most the 50 after the warm-up are", n)
	}
}

// TestChurnLife: as many passers-by are there at a time as come in one's life.
func TestChurnLife(t *testing.T) {
	f := newFakeServer(t)
	var mu sync.Mutex
	most := 0
	f.misbehave(mistakes{upgrade: func() {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, f.sessionsUp())
	}})
	runLoadgen(t, f, "churn", "--connections=2", "--rate=50", "--warmup=0", "--duration=800ms", "--churn-rate=50", "--churn-life=200ms")
	mu.Lock()
	defer mu.Unlock()
	if passersBy := most - 2; passersBy < 6 || passersBy > 16 {
		t.Errorf("%d passers-by were there at a time, want about 10", passersBy)
	}
}

// TestLastOfThoseThatCome: the connections begun just before the end of the load have their time to come up too.
func TestLastOfThoseThatCome(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{upgrade: func() { time.Sleep(200 * time.Millisecond) }})
	r := runLoadgen(t, f, "churn", "--connections=2", "--rate=50", "--warmup=0", "--duration=200ms", "--churn-rate=50", "--churn-life=20s").result
	if c := *r.Churn; c.Asked != 10 || c.Connected != 10 || c.Failed != 0 || r.Latency[churned].Count != 10 {
		t.Errorf("%+v, %d measured, invalid because %q", c, r.Latency[churned].Count, r.InvalidBecause)
	}
}

// TestChurnTellsWhyConnectionsFailed: in the verdict, and in the account of errors.
func TestChurnTellsWhyConnectionsFailed(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{refuse: func(n int) bool { return n == 5 }}) // the first two are the members
	done := runLoadgen(t, f, "churn", "--connections=2", "--rate=50", "--warmup=0", "--duration=200ms", "--churn-rate=50", "--churn-life=20s")
	const why = "churn: upgrade refused: 503 Service Unavailable"
	if r := done.result; done.code != exitInvalid || r.Churn.Failed != 1 || r.Connections.Errors[why] != 1 || !slices.Contains(r.InvalidBecause, why+" (once)") {
		t.Errorf("exit code %d, %+v, errors %v, because %q", done.code, *r.Churn, r.Connections.Errors, r.InvalidBecause)
	}
}

// TestChurnChecksWhatPassersByGet: nothing is expected of them, but nothing wrong is passed over.
func TestChurnChecksWhatPassersByGet(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{tamper: func(_ int, push []byte) [][]byte {
		return [][]byte{bytes.Replace(push, []byte(`"agent_id":`), []byte(`"agent_id": `), 1)}
	}})
	done := runLoadgen(t, f, "churn", "--connections=2", "--rate=100", "--warmup=0", "--duration=300ms", "--churn-rate=20", "--churn-life=100ms")
	if n := *done.result.Records; done.code != exitWrong || n.Wrong < n.Deliveries {
		t.Errorf("exit code %d, %+v", done.code, n)
	}
}

func TestSlowReadersAreNoLoss(t *testing.T) {
	f := newFakeServer(t)
	done := runLoadgen(t, f, "slow", "--connections=20", "--receivers=20", "--slow-share=0.2", "--rate=400", "--text-bytes=4000", "--warmup=0", "--duration=1s")
	r := done.result
	if len(r.WrongBecause) > 0 || r.Connections.Dropped > 0 || done.stderr != "" {
		t.Fatalf("wrong %q, %+v, stderr %q", r.WrongBecause, r.Connections, done.stderr)
	}
	if r.Slow.Paused != 4 || r.Slow.ClosedByServer != 4 {
		t.Errorf("%+v", *r.Slow)
	}
	if r.Records.DeliveriesExpected != 400*16 || r.Records.Deliveries != 400*16 {
		t.Errorf("%+v", *r.Records)
	}
}

// TestSlowReadersThatNeverCame: a slow reader is excused from the moment it stops reading, not before.
func TestSlowReadersThatNeverCame(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{refuse: func(n int) bool { return n%2 == 0 }})
	done := runLoadgen(t, f, "slow", "--connections=20", "--receivers=20", "--slow-share=0.9", "--rate=50", "--warmup=0", "--duration=200ms")
	if c := done.result.Connections; done.code != exitInvalid || c.Held != 10 || c.Failed != 10 || done.result.Slow.ClosedByServer != 0 {
		t.Errorf("exit code %d, %+v, %+v", done.code, c, done.result.Slow)
	}
}

func TestSlowReadersThatFitTheBudgetStay(t *testing.T) {
	f := newFakeServer(t)
	r := runLoadgen(t, f, "slow", "--connections=10", "--receivers=10", "--slow-share=0.3", "--rate=50", "--warmup=0", "--duration=200ms").result
	if len(r.WrongBecause) > 0 || r.Slow.Paused != 3 || r.Slow.ClosedByServer != 0 || r.Connections.Dropped > 0 {
		t.Errorf("wrong %q, %+v, %+v", r.WrongBecause, *r.Slow, r.Connections)
	}
}

func TestFilesOfARun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "loadgen")
	raw := filepath.Join(t.TempDir(), "raw.csv")
	f := newFakeServer(t)
	done := runLoadgen(t, f, quickPush("--raw="+raw, "--hgrm="+dir)...)
	text, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 101 || lines[0] != "intended_ns,sent_ns,received_ns" {
		t.Errorf("%d lines, the first %q", len(lines), lines[0])
	}
	for _, name := range []string{response, service, lag} {
		text, err := os.ReadFile(filepath.Join(dir, "push-"+name+".hgrm"))
		if err != nil || !strings.Contains(string(text), "Total count    =          100]") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	total := int64(0)
	for _, second := range done.result.Series {
		total += second.Count
	}
	if total != 100 {
		t.Errorf("the series counts %d deliveries", total)
	}
}

// TestFilesThatCannotBeWritten: the tool fails, and still says what it measured.
func TestFilesThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "push-lag.hgrm"), 0o755); err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{"--hgrm=" + dir: "push-lag", "--raw=/dev/full": "no space left"} {
		done := runLoadgen(t, newFakeServer(t), quickPush(flag)...)
		if done.code != exitFailed || !strings.Contains(done.stderr, want) || done.result.Records == nil {
			t.Errorf("%s: exit code %d, stderr %q, result %q", flag, done.code, done.stderr, done.stdout)
		}
	}
}

func TestProgressForOthersThanTerminals(t *testing.T) {
	var stderr bytes.Buffer
	told := tellPeople(&stderr, false)
	told.tell(counts{Doing: "push", Up: 5, Asked: 6, Lost: 1, Sent: 7, ToSend: 8, Received: 9, LatestP99: 1_500_000, SecondsAgo: 3, Seconds: 4})
	told.tell(counts{Doing: "idle", Up: 5, Asked: 5})
	told.tell(counts{Doing: "starting", SecondsAgo: 1})
	told.end()
	want := "push: 5 of 6 connections up, 1 lost; 7 of 8 sent, 9 received, p99 1.500 ms; 3 s of 4 s\nidle: 5 of 5 connections up; 0 s\nstarting; 1 s\n"
	if stderr.String() != want {
		t.Errorf("%q, want %q", stderr.String(), want)
	}
	quiet := tellPeople(&stderr, true)
	stderr.Reset()
	quiet.tell(counts{})
	quiet.end()
	if stderr.Len() > 0 {
		t.Errorf("quiet says %q", stderr.String())
	}
}

func TestPlan(t *testing.T) {
	f := newFakeServer(t)
	path := filepath.Join(t.TempDir(), "plan.yaml")
	plan := "defaults: {url: [" + f.url() + "], connections: 6, warmup: 0s, rate: 300}\n" +
		"scenarios:\n- {scenario: idle, hold: 0s}\n- {scenario: push, duration: 100ms, receivers: 2}\n- {scenario: connect, connections: 3}\n"
	if err := os.WriteFile(path, []byte(plan), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, openProducer: f.open}
	cpuBefore, err := cpuTime()
	if err != nil {
		t.Fatal(err)
	}
	code := p.run(t.Context(), []string{"--plan", path, "--json", "--quiet"})
	decoder := json.NewDecoder(&stdout)
	worst, cpuSeconds := exitFine, 0.0
	for _, want := range []struct {
		scenario    string
		connections int
	}{{"idle", 6}, {"push", 6}, {"connect", 3}} {
		var r result
		if err := decoder.Decode(&r); err != nil {
			t.Fatalf("%s: %v, stderr %q", want.scenario, err, stderr.String())
		}
		if r.Scenario != want.scenario || r.Connections.Held != want.connections || len(r.WrongBecause) > 0 {
			t.Errorf("%s: %+v", want.scenario, r)
		}
		if cpuSeconds += r.Self.CPUSeconds; r.Self.CPUSeconds <= 0 {
			t.Errorf("%s took %g s of processor time", want.scenario, r.Self.CPUSeconds)
		}
		worst = max(worst, r.exitCode())
	}
	if took, err := cpuTime(); err != nil || cpuSeconds > (took-cpuBefore).Seconds() {
		t.Errorf("%v; the scenarios claim %g s of processor time, together they took %v", err, cpuSeconds, took-cpuBefore)
	}
	if code != worst || stderr.Len() > 0 {
		t.Errorf("exit code %d, the worst was %d; stderr %q", code, worst, stderr.String())
	}
}

func TestPlansThatMakeNoSense(t *testing.T) {
	for plan, want := range map[string]string{
		"":                                  "no scenarios",
		"scenarios: []":                     "no scenarios",
		"scenarios: [{rate: 5}]":            `scenario 1: "scenario" must be one of broadcast, churn, connect, idle, push, request, slow, not <nil>`,
		"scenarios: [{scenario: nonsense}]": "slow, not nonsense",
		"scenarios: [{scenario: plan}]":     "slow, not plan",
		"{defaults: {connection: 5}, scenarios: [{scenario: idle}]}":                                         "defaults: no scenario has a flag --connection",
		"{defaults: {raw: a.csv}, scenarios: [{scenario: push}, {scenario: idle}, {scenario: churn}]}":       "scenario 3 would replace what scenario 1 writes to --raw=a.csv",
		"{defaults: {hgrm: a}, scenarios: [{scenario: push}, {scenario: churn, hgrm: a}, {scenario: push}]}": "scenario 3 would replace what scenario 1 writes to --hgrm=a (push)",
		"scenarios: [{scenario: idle}, {scenario: idle, rate: 5}]":                                           "scenario 2: unknown flag --rate",
		"scenarios: [{scenario: idle, connections: 0}]":                                                      "--connections must be at least 1",
		"scenarios: [{scenario: idle, control: true}]":                                                       "cannot be under --control",
		"scenario: [{scenario: idle}]":                                                                       "field scenario not found",
		"{defaults: {connections: x}, scenarios: [{scenario: request}]}":                                     "connections",
	} {
		path := filepath.Join(t.TempDir(), "plan.yaml")
		if err := os.WriteFile(path, []byte(plan), 0o644); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
		if code := p.run(t.Context(), []string{"plan", "--plan", path}); code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: exit code %d, stderr %q, want %q", plan, code, stderr.String(), want)
		}
	}
}
