package main

import (
	"bytes"
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"chatmonitor/loadgen/pace"
	"chatmonitor/loadgen/protocol"
	"chatmonitor/loadgen/sample"
)

// rawSample is a row of --raw.
type rawSample struct{ intendedNs, sentNs, receivedNs int64 }

func readRaw(t *testing.T, path string) (samples []rawSample) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // was only read
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		var numbers [3]int64
		for i, text := range row {
			if numbers[i], err = strconv.ParseInt(text, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		samples = append(samples, rawSample{numbers[0], numbers[1], numbers[2]})
	}
	slices.SortFunc(samples, func(a, b rawSample) int { return int(a.intendedNs - b.intendedNs) })
	return samples
}

// quantile is exact: the least value that so many are not above.
func quantile(values []int64, q float64) int64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(q*float64(len(sorted))+0.999999)-1)]
}

// echoRequests runs requests against a server that echoes, and gives the samples too.
func echoRequests(t *testing.T, f *fakeServer, more ...string) (finished, []rawSample) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw.csv")
	args := append([]string{"request", "--echo", "--rate=200", "--warmup=0", "--duration=1s", "--raw=" + raw, "--url=" + f.echoURL()}, more...)
	done := runLoadgen(t, f, args...)
	if len(done.result.WrongBecause) > 0 || done.stderr != "" {
		t.Fatalf("wrong %q, stderr %q", done.result.WrongBecause, done.stderr)
	}
	return done, readRaw(t, raw)
}

// TestKnownDistribution: the server holds each echo for a known time and notes how long that was in truth. What the
// tool says of a request may not be less; what the machine adds is small at best; and the percentiles that are
// reported are those of the samples, within the error that is stated.
func TestKnownDistribution(t *testing.T) {
	var mu sync.Mutex
	heldNs := map[int]int64{}
	f := newFakeServer(t)
	f.misbehave(mistakes{echo: func(message []byte) [][]byte {
		n, ok := protocol.NumberOf(message)
		if !ok {
			return [][]byte{message} // a ping
		}
		fromNs := pace.Now()
		time.Sleep(time.Duration(1<<(n%8)) * time.Millisecond / 2) // 0.5 to 64 ms, each as often as the others
		mu.Lock()
		heldNs[n] = pace.Now() - fromNs
		mu.Unlock()
		return [][]byte{message}
	}})
	done, samples := echoRequests(t, f, "--connections=200")
	if len(samples) != 200 || len(heldNs) != 200 {
		t.Fatalf("%d samples, %d echoes", len(samples), len(heldNs))
	}
	var responses, services, added []int64
	for n, s := range samples {
		responses, services = append(responses, s.receivedNs-s.intendedNs), append(services, s.receivedNs-s.sentNs)
		added = append(added, s.receivedNs-s.sentNs-heldNs[n])
	}
	if least := slices.Min(added); least < 0 || time.Duration(least) > 20*time.Millisecond {
		t.Errorf("the tool says that the way to and fro took %v at best", time.Duration(least))
	}
	wantSummary(t, "response", done.result.Latency[response], responses)
	wantSummary(t, "service", done.result.Latency[service], services)
}

// wantSummary compares what was reported with the exact percentiles.
func wantSummary(t *testing.T, name string, got sample.Summary, values []int64) {
	t.Helper()
	for _, row := range []struct {
		name       string
		got, exact int64
	}{
		{"min", got.MinNs, slices.Min(values)},
		{"p50", got.P50Ns, quantile(values, 0.5)},
		{"p90", got.P90Ns, quantile(values, 0.9)},
		{"p99", got.P99Ns, quantile(values, 0.99)},
		{"max", got.MaxNs, slices.Max(values)},
	} {
		if off := float64(row.got-row.exact) / float64(row.exact); off < -0.001 || off > 0.001 {
			t.Errorf("%s %s is reported as %d, exactly %d: off by %.3f %%", name, row.name, row.got, row.exact, 100*off)
		}
	}
}

// TestCoordinatedOmission: the server stalls for half a second of one. What a tool would have said that sends the
// next request when it has the answer to the last follows from the same samples: it would have sent none of those
// that were due while it waited, and counted from the sending.
func TestCoordinatedOmission(t *testing.T) {
	const stall = 500 * time.Millisecond
	var once sync.Once
	var stalled sync.Mutex
	f := newFakeServer(t)
	f.misbehave(mistakes{echo: func(message []byte) [][]byte {
		stalled.Lock()
		defer stalled.Unlock()
		if bytes.Contains(message, []byte(`"bench_seq":40}`)) {
			once.Do(func() { time.Sleep(stall) })
		}
		return [][]byte{message}
	}})
	done, samples := echoRequests(t, f, "--connections=20")
	var lags, closedLoop []int64
	freeNs := int64(0)
	for _, s := range samples {
		lags = append(lags, s.sentNs-s.intendedNs)
		if s.intendedNs >= freeNs {
			closedLoop = append(closedLoop, s.receivedNs-s.sentNs)
			freeNs = s.receivedNs
		}
	}
	open := done.result.Latency[response]
	if len(samples) != 200 || open.Count != 200 || len(closedLoop) > 120 {
		t.Fatalf("%d samples, %d measured, %d of a closed loop", len(samples), open.Count, len(closedLoop))
	}
	if late := time.Duration(quantile(lags, 0.9)); late > stall/2 {
		t.Errorf("requests were sent %v late: the sender waited for answers", late)
	}
	p90, mean := quantile(closedLoop, 0.9), int64(0)
	for _, ns := range closedLoop {
		mean += ns / int64(len(closedLoop))
	}
	if slices.Max(closedLoop) < stall.Nanoseconds() || open.MaxNs < stall.Nanoseconds() {
		t.Errorf("longest %v here, %v in a closed loop: there was no stall", open.MaxNs, slices.Max(closedLoop))
	}
	// Half of all requests were due during the stall and waited for 250 ms on average: 125 ms in all, p90 400 ms.
	if time.Duration(open.P90Ns) < stall/2 || time.Duration(open.MeanNs) < stall/5 {
		t.Errorf("p90 %v, mean %v: the stall is hidden", time.Duration(open.P90Ns), time.Duration(open.MeanNs))
	}
	if p90*4 > open.P90Ns || mean*4 > open.MeanNs {
		t.Errorf("a closed loop would have said p90 %v, mean %v, almost as here: p90 %v, mean %v",
			time.Duration(p90), time.Duration(mean), time.Duration(open.P90Ns), time.Duration(open.MeanNs))
	}
}

// TestEveryByteCounts: one byte of each echo is another, each time at another place.
func TestEveryByteCounts(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{echo: func(message []byte) [][]byte {
		n, ok := protocol.NumberOf(message)
		if !ok {
			return [][]byte{message}
		}
		changed := bytes.Clone(message)
		changed[n*len(message)/300] ^= 1 // keeps UTF-8
		return [][]byte{changed}
	}})
	done := runLoadgen(t, f, "request", "--echo", "--connections=1", "--rate=1000", "--warmup=0", "--duration=300ms", "--settle=300ms", "--url="+f.echoURL())
	if n := done.result.Requests; done.code != exitWrong || n == nil || n.Sent != 300 || n.Wrong < 300 {
		t.Errorf("exit code %d, %+v", done.code, done.result)
	}
}

// TestExitCodes: as a program, from end to end. The numbers are what scripts know.
func TestExitCodes(t *testing.T) {
	good, full, wrong := newFakeServer(t), newFakeServer(t), newFakeServer(t)
	full.misbehave(mistakes{refuse: func(n int) bool { return n == 3 }})
	wrong.misbehave(mistakes{echo: func(message []byte) [][]byte {
		if bytes.Contains(message, []byte(`"bench_seq":7}`)) {
			message = bytes.Replace(message, []byte(`"text":"`), []byte(`"text":!`), 1)
		}
		return [][]byte{message}
	}})
	request := []string{"request", "--echo", "--connections=3", "--rate=100", "--warmup=0", "--duration=200ms", "--settle=300ms"}
	for _, row := range []struct {
		sentence string
		args     []string
		code     int
		says     string
	}{
		{"a good server", []string{"idle", "--connections=3", "--hold=0s", "--url=" + good.url()}, 0, "valid, and all answers were right"},
		{"nobody listens", []string{"idle", "--connections=3", "--url=ws://127.0.0.1:1/ws"}, 1, "connection refused"},
		{"no such flag", []string{"idle", "--nonsense"}, 1, "unknown flag --nonsense (see loadgen idle --help)"},
		{"no such scenario", []string{"nonsense"}, 1, "unexpected argument nonsense (see loadgen --help)"},
		{"a connection refused", []string{"idle", "--connections=3", "--hold=0s", "--url=" + full.url()}, 2, "INVALID: 1 of 3 connections did not come up"},
		{"one byte changed", append(request, "--url="+wrong.echoURL()), 3, "WRONG: 1 of 20 answers wrong"},
	} {
		command := exec.CommandContext(t.Context(), os.Args[0], append(row.args, "--quiet")...)
		command.Env = append(os.Environ(), asProgram+"=1")
		said, _ := command.CombinedOutput() // the exit code says more than the error
		if code := command.ProcessState.ExitCode(); code != row.code || !strings.Contains(string(said), row.says) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", row.sentence, code, row.code, row.says, said)
		}
	}
}

// TestLag: of events that were due long ago, at known times.
func TestLag(t *testing.T) {
	const events, behind = 1000, time.Hour / 60
	s := newStream(part{0, 1}, 1000, 500, events)
	startNs := pace.Now() - behind.Nanoseconds()
	if err := s.begin(start{Ns: startNs}, fileFlags{}); err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context(), func(int) {}); err != nil {
		t.Fatal(err)
	}
	var exact []int64
	for n := 500; n < events; n++ {
		atNs, _ := s.wasSent(n)
		exact = append(exact, atNs-s.dueNs(n))
	}
	var out outcome
	if err := s.conclude(&out); err != nil {
		t.Fatal(err)
	}
	wantSummary(t, lag, out.Histograms[lag].Summary(), exact)
	if least := time.Duration(slices.Min(exact)); least < behind-time.Second || len(exact) != 500 {
		t.Errorf("%d measured, least lag %v of events due %v ago", len(exact), least, behind)
	}
	if asked, got := out.Paced.rate().AskedPerSecond, out.Paced.rate().AchievedPerSecond; asked != 1000 || got > 20 {
		t.Errorf("%g/s of %g/s, though the last event was a minute late", got, asked)
	}
}

// TestWhatMakesARunInvalid is the table of the rules.
func TestWhatMakesARunInvalid(t *testing.T) {
	const ms = 1_000_000
	good := func() *outcome {
		return &outcome{
			accounts: accounts{
				Connections: connections{Asked: 10, Held: 10},
				Records:     &records{Asked: 1000, Produced: 1000, Acknowledged: 1000, DeliveriesExpected: 1000, Deliveries: 1000},
			},
			Paced:      &paced{PerSecond: 1000, Events: 1000, FromNs: 0, ToNs: 1e9},
			Histograms: map[string]*sample.Histogram{response: constant(5 * ms), lag: constant(10_000)},
		}
	}
	for _, row := range []struct {
		sentence string
		change   func(o *outcome)
		because  string
	}{
		{"nothing is wrong with it", func(*outcome) {}, ""},
		{"lag below a millisecond never counts, whatever the response", func(o *outcome) {
			o.Histograms[lag], o.Histograms[response] = constant(0.99*ms), constant(1*ms)
		}, ""},
		{"a tenth of the response is tolerable", func(o *outcome) {
			o.Histograms[lag], o.Histograms[response] = constant(9.9*ms), constant(100*ms)
		}, ""},
		{"more than a tenth is not", func(o *outcome) {
			o.Histograms[lag], o.Histograms[response] = constant(10.5*ms), constant(100*ms)
		}, "the sender lagged"},
		{"one event of a hundred decides about p99", func(o *outcome) {
			o.Histograms[lag].Record(100 * ms)
			o.Histograms[lag].Record(100 * ms)
		}, "the sender lagged"},
		{"the lag of connects counts too", func(o *outcome) {
			o.Histograms[churnLag], o.Histograms[churned] = constant(1.1*ms), constant(10*ms)
		}, "connections of the churn were begun late: 1.1"},
		{"against the time of connects", func(o *outcome) {
			o.Histograms[churnLag], o.Histograms[churned] = constant(1.1*ms), constant(12*ms)
		}, ""},
		{"99.5 % of the rate is enough", func(o *outcome) { o.Paced.Events = 995 }, ""},
		{"less is not", func(o *outcome) { o.Paced.Events = 994 }, "the rate was 994.00/s instead of 1000.00/s"},
		{"a connection failed", func(o *outcome) { o.Connections.Failed = 1 }, "1 of 10 connections did not come up"},
		{"a connection dropped", func(o *outcome) { o.Connections.Dropped = 1 }, "1 of 10 connections dropped"},
		{"Kafka did not take a record", func(o *outcome) { o.Records.Acknowledged = 999 }, "Kafka acknowledged 999 of 1000 records"},
		{"nobody was to get anything", func(o *outcome) { o.Records.DeliveriesExpected = 0 }, "no delivery was expected"},
		{"nobody answered after the warm-up", func(o *outcome) { o.Histograms[response] = sample.NewHistogram() }, "no response was measured"},
		{"a time beyond what is counted", func(o *outcome) { o.Histograms[response].Record(-1) }, "1 values of response lie outside"},
		{"a trouble of the load's own", func(o *outcome) { o.Troubles = map[string]int{"busy": 2} }, "busy (2 times)"},
	} {
		o := good()
		row.change(o)
		r, err := o.result()
		if err != nil {
			t.Fatal(err)
		}
		because, code := strings.Join(r.InvalidBecause, "; "), exitInvalid
		if row.because == "" {
			code = exitFine
		}
		if !strings.Contains(because, row.because) || r.Valid != (row.because == "") || r.exitCode() != code {
			t.Errorf("%s: valid %v, because %q, exit code %d", row.sentence, r.Valid, because, r.exitCode())
		}
	}
}

// constant is a hundred times the same.
func constant(ns float64) *sample.Histogram {
	h := sample.NewHistogram()
	for range 100 {
		h.Record(int64(ns))
	}
	return h
}

// TestWrongOutweighsInvalid: what a server did wrong is wrong however loaded the machine was.
func TestWrongOutweighsInvalid(t *testing.T) {
	r, err := (&outcome{accounts: accounts{Connections: connections{Asked: 1, Failed: 1}}, Faults: map[string]int{"an echo": 1}}).result()
	if err != nil || r.exitCode() != exitWrong || r.Valid {
		t.Errorf("%v, exit code %d, %+v", err, r.exitCode(), r)
	}
}

// openTerminal gives both ends of a terminal.
func openTerminal(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = program.Close(), screen.Close() })
	return screen, program
}

func TestProgressOnATerminal(t *testing.T) {
	for _, row := range []struct {
		sentence, noColor, term string
		quiet                   bool
		columns                 uint16
		want                    string
	}{
		{"one line that is rewritten", "", "xterm", false, 80, "\rpush: 1 of 2 connections up; 0 s\x1b[K\rpush: 2 of 2 connections up; 0 s\x1b[K\r\n"},
		{"a narrow terminal: as much as does not wrap", "", "xterm", false, 16, "\rpush: 1 of 2 co\x1b[K\rpush: 2 of 2 co\x1b[K\r\n"},
		{"a terminal that knows no width", "", "xterm", false, 0, "\rpush: 1 of 2 connections up; 0 s\x1b[K\rpush: 2 of 2 connections up; 0 s\x1b[K\r\n"},
		{"NO_COLOR: plain lines", "1", "xterm", false, 80, "push: 1 of 2 connections up; 0 s\r\npush: 2 of 2 connections up; 0 s\r\n"},
		{"a dumb terminal: plain lines", "", "dumb", false, 80, "push: 1 of 2 connections up; 0 s\r\npush: 2 of 2 connections up; 0 s\r\n"},
		{"--quiet: nothing", "", "xterm", true, 80, ""},
	} {
		t.Setenv("NO_COLOR", row.noColor)
		t.Setenv("TERM", row.term)
		screen, stderr := openTerminal(t)
		if err := unix.IoctlSetWinsize(int(stderr.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: row.columns}); err != nil {
			t.Fatal(err)
		}
		told := tellPeople(stderr, row.quiet)
		told.tell(counts{Doing: "push", Up: 1, Asked: 2})
		told.tell(counts{Doing: "push", Up: 2, Asked: 2})
		told.end()
		if _, err := stderr.WriteString("$"); err != nil {
			t.Fatal(err)
		}
		var shown []byte
		for buffer := make([]byte, 256); !bytes.HasSuffix(shown, []byte("$")); {
			n, err := screen.Read(buffer)
			if err != nil {
				t.Fatalf("%s: %v after %q", row.sentence, err, shown)
			}
			shown = append(shown, buffer[:n]...)
		}
		if got := strings.TrimSuffix(string(shown), "$"); got != row.want {
			t.Errorf("%s: %q, want %q", row.sentence, got, row.want)
		}
	}
}

// TestProgressOfOthers: whoever leads processes tells their age, not its own.
func TestProgressOfOthers(t *testing.T) {
	var told []counts
	p := &progress{to: tellerFunc(func(c counts) { told = append(told, c) })}
	p.now(func() counts { return counts{} })
	p.since = p.since.Add(-time.Minute)
	p.tick()
	p.relay(func() counts { return counts{SecondsAgo: 3} })
	p.tick()
	if len(told) != 2 || told[0].SecondsAgo < 60 || told[1].SecondsAgo != 3 {
		t.Errorf("told %+v", told)
	}
}

type tellerFunc func(counts)

func (f tellerFunc) tell(c counts) { f(c) }
func (tellerFunc) end()            {}

// TestAccountsMergeWhole: every number that an account has is added.
func TestAccountsMergeWhole(t *testing.T) {
	ones := func() accounts {
		a := accounts{Records: &records{}, Requests: &requests{}, Churn: &churn{}, Slow: &slowReaders{}}
		for _, account := range []any{&a.Connections, a.Records, a.Requests, a.Churn, a.Slow} {
			for _, field := range reflect.ValueOf(account).Elem().Fields() {
				if field.Kind() == reflect.Int {
					field.SetInt(1)
				}
			}
		}
		return a
	}
	sum := ones()
	sum.merge(ones())
	for _, account := range []any{sum.Connections, *sum.Records, *sum.Requests, *sum.Churn, *sum.Slow} {
		for field, value := range reflect.ValueOf(account).Fields() {
			if value.Kind() == reflect.Int && value.Int() != 2 {
				t.Errorf("%T: %s is %d, want 2", account, field.Name, value.Int())
			}
		}
	}
}
