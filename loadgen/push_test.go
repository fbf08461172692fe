package main

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// quickPush is a short run: 20 records of warm-up, 100 that are measured.
func quickPush(more ...string) []string {
	return append([]string{"push", "--connections=12", "--rate=500", "--warmup=40ms", "--duration=200ms", "--settle=5s"}, more...)
}

func TestPushOfAGoodServer(t *testing.T) {
	for _, receivers := range []int{1, 5, 12} {
		f := newFakeServer(t)
		done := runLoadgen(t, f, quickPush(fmt.Sprintf("--receivers=%d", receivers))...)
		r := done.result
		if len(r.WrongBecause) != 0 || done.stderr != "" {
			t.Fatalf("wrong: %v, stderr %q", r.WrongBecause, done.stderr)
		}
		if r.Connections.Held != 12 || r.Connections.Failed != 0 || r.Connections.Dropped != 0 {
			t.Errorf("connections: %+v", r.Connections)
		}
		n := *r.Records
		if n.Asked != 120 || n.Produced != 120 || n.Acknowledged != 120 || n.Deliveries != n.DeliveriesExpected {
			t.Errorf("records: %+v", n)
		}
		if measured := r.Latency[lag].Count; measured != 100 {
			t.Errorf("%d records measured, want those after the warm-up", measured)
		}
		if receivers != 5 && n.Deliveries != 120*receivers { // 5 leaves a last group of two
			t.Errorf("%d deliveries to groups of %d", n.Deliveries, receivers)
		}
		if got := r.Histograms[response]; got == nil || got.Summary() != r.Latency[response] {
			t.Errorf("the histogram %+v is not that of %+v", got, r.Latency[response])
		}
		if last := len(r.Connections.Ramp) - 1; last != 11 || r.Connections.Ramp[last].Connections != 12 ||
			r.Connections.Ramp[last].Seconds > r.Connections.ConnectSeconds || r.Connections.Ramp[0].Seconds <= 0 {
			t.Errorf("ramp %+v in %v s", r.Connections.Ramp, r.Connections.ConnectSeconds)
		}
		if r.Latency[response].Count != r.Latency[service].Count || r.Self.RSSBytes == 0 || r.Self.Goroutines == 0 {
			t.Errorf("latency %+v, self %+v", r.Latency, r.Self)
		}
	}
}

// TestGroups: records go to the first groups alone, and their members have upgraded before any other connection: a
// server that serves those who came first, whatever their rules, looks right.
func TestGroups(t *testing.T) {
	for _, row := range []struct {
		args              []string
		floor, deliveries int
	}{
		{[]string{"push", "--receivers=1", "--groups=1"}, 1, 60},
		{[]string{"push", "--receivers=10", "--groups=1"}, 10, 600},
		{[]string{"push", "--receivers=5", "--groups=12"}, 0, 300}, // all there are
		{[]string{"push", "--receivers=5", "--groups=3"}, 0, 300},
		{[]string{"churn", "--receivers=10", "--groups=1", "--churn-rate=50", "--churn-life=100ms"}, 10, 600},
		{[]string{"slow", "--receivers=10", "--groups=1", "--slow-share=0.2"}, 0, 480},
	} {
		f := newFakeServer(t)
		f.misbehave(mistakes{floor: row.floor})
		args := append(row.args, "--connections=60", "--rate=300", "--warmup=0", "--duration=200ms", "--connect-concurrency=60")
		r := runLoadgen(t, f, args...).result
		if len(r.WrongBecause) > 0 || r.Records == nil || r.Connections.Held != 60 {
			t.Errorf("%s: wrong %q, %+v", row.args, r.WrongBecause, r.Connections)
			continue
		}
		if r.Records.DeliveriesExpected != row.deliveries || r.Records.Deliveries != row.deliveries {
			t.Errorf("%s: %+v", row.args, *r.Records)
		}
	}
}

// TestGroupsTellStrangers: what goes to a connection outside of the groups is wrong.
func TestGroupsTellStrangers(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{floor: 11})
	done := runLoadgen(t, f, quickPush("--connections=30", "--receivers=10", "--groups=1")...)
	if n := done.result.Records; done.code != exitWrong || n.Deliveries != 1200 || n.Wrong != 120 {
		t.Errorf("exit code %d, %+v, because %q", done.code, *n, done.result.WrongBecause)
	}
}

// TestServersMistakes: each must end in exit code 3, and the account must name it.
func TestServersMistakes(t *testing.T) {
	const victim = 60
	only := func(change func(push []byte) [][]byte) func(int, []byte) [][]byte {
		return func(seq int, push []byte) [][]byte {
			if seq == victim {
				return change(push)
			}
			return [][]byte{push}
		}
	}
	var held []byte
	for _, row := range []struct {
		sentence string
		tamper   func(seq int, push []byte) [][]byte
		count    func(records) int
		because  string
	}{
		{"one byte of a text is another", only(func(push []byte) [][]byte {
			at := bytes.Index(push, []byte(`"text":"`)) + len(`"text":"`)
			changed := bytes.Clone(push)
			changed[at] ^= 1
			return [][]byte{changed}
		}), func(n records) int { return n.Wrong }, "differs from what was produced"},
		{"the record is written anew, with a space", only(func(push []byte) [][]byte {
			return [][]byte{bytes.Replace(push, []byte(`"text":`), []byte(`"text": `), 1)}
		}), func(n records) int { return n.Wrong }, "differs from what was produced"},
		{"one push comes twice", only(func(push []byte) [][]byte { return [][]byte{push, push} }),
			func(n records) int { return n.Duplicated }, "1 of 120 deliveries duplicated"},
		{"one push does not come", only(func([]byte) [][]byte { return nil }),
			func(n records) int { return n.Lost }, "1 of 120 deliveries lost"},
		{"the offset is not the record's", only(func(push []byte) [][]byte {
			return [][]byte{bytes.Replace(push, []byte(`"offset":15`), []byte(`"offset":16`), 1)}
		}), func(n records) int { return n.Wrong }, "not the record's place"},
		{"a push is held back until a later one of its partition has gone", func(seq int, push []byte) [][]byte {
			switch seq {
			case victim:
				held = push
				return nil
			case victim + 4:
				return [][]byte{push, held}
			}
			return [][]byte{push}
		}, func(n records) int { return n.Reordered }, "reordered"},
		{"a push that nobody produced", only(func(push []byte) [][]byte {
			return [][]byte{push, bytes.Replace(push, []byte(`"bench_seq":60`), []byte(`"bench_seq":600`), 1)}
		}), func(n records) int { return n.Wrong }, "has not produced"},
		{"a push that is no JSON", only(func(push []byte) [][]byte { return [][]byte{push, []byte(`{"path":"/chat",}`)} }),
			func(n records) int { return n.Wrong }, "not the protocol's JSON"},
	} {
		f := newFakeServer(t)
		f.misbehave(mistakes{tamper: row.tamper})
		done := runLoadgen(t, f, quickPush("--connections=1", "--settle=300ms")...)
		if done.code != exitWrong || row.count(*done.result.Records) != 1 ||
			!strings.Contains(strings.Join(done.result.WrongBecause, "; "), row.because) {
			t.Errorf("%s: exit code %d, %+v, because %q (want 1, %q)", row.sentence, done.code, *done.result.Records, done.result.WrongBecause, row.because)
		}
	}
}

func TestPushToAStranger(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{tamper: func(seq int, push []byte) [][]byte {
		if seq == 60 {
			f.mu.Lock()
			strangers := f.sessions[11]
			f.mu.Unlock()
			strangers[0].write(push)
		}
		return [][]byte{push}
	}})
	done := runLoadgen(t, f, quickPush("--seed=3")...)
	if done.code != exitWrong || !slices.Contains(done.result.WrongBecause, "a push to a connection whose rule does not match (once)") {
		t.Errorf("exit code %d, because %q", done.code, done.result.WrongBecause)
	}
}

func TestBrokenFrames(t *testing.T) {
	n := 0
	f := newFakeServer(t)
	f.misbehave(mistakes{raw: func(c net.Conn, push []byte) bool {
		n++
		if n != 60 {
			return false
		}
		_, _ = c.Write([]byte{0x81, 0x80 | 4, 0, 0, 0, 0, 'o', 'o', 'p', 's'})
		return true
	}})
	done := runLoadgen(t, f, quickPush("--settle=300ms")...)
	if done.code != exitWrong || !strings.Contains(strings.Join(done.result.WrongBecause, "; "), "masked frame from the server") {
		t.Errorf("exit code %d, because %q", done.code, done.result.WrongBecause)
	}
	if done.result.Valid || done.result.Connections.Dropped != 1 {
		t.Errorf("valid %v, %+v", done.result.Valid, done.result.Connections)
	}
}

func TestWrongAnswersWhileConnecting(t *testing.T) {
	for _, row := range []struct {
		sentence, path, answer, because string
		code                            int
	}{
		{"an echo of something else", "/ping", `{"path":"/ping","id":2,"result":{"time":1,"echo":{"connection":77}}}`, "a wrong answer to /ping (once)", exitWrong},
		{"a pong without the time", "/ping", `{"path":"/ping","id":2,"result":{"echo":{"connection":1}}}`, "a wrong answer to /ping (once)", exitWrong},
		{"another id", "/listen", `{"path":"/listen","id":9,"result":{"rule_id":"1"}}`, "a wrong answer to /listen (once)", exitWrong},
		{"a rule without a name", "/listen", `{"path":"/listen","id":1,"result":{}}`, "a wrong answer to /listen (once)", exitWrong},
		{"an answer too many", "/ping", `{"path":"/listen","id":1,"result":{"rule_id":"1"}}`, "an answer that nobody asked for (once)", exitWrong},
		{"no JSON", "/ping", `pong`, "a message that is not the protocol's JSON (once)", exitWrong},
		{"a refusal is no lie", "/listen", `{"path":"/listen","id":1,"error":{"code":"too_many_rules","message":"no"}}`, "", exitInvalid},
	} {
		f := newFakeServer(t)
		lied := false
		f.misbehave(mistakes{answer: func(request []byte) []byte {
			f.mu.Lock()
			defer f.mu.Unlock()
			if !lied && bytes.Contains(request, []byte(row.path)) {
				lied = true
				return []byte(row.answer)
			}
			return nil
		}})
		done := runLoadgen(t, f, "idle", "--connections=3", "--hold=0", "--connect-timeout=2s")
		if done.code != row.code || strings.Join(done.result.WrongBecause, "; ") != row.because {
			t.Errorf("%s: exit code %d, because %q, %+v", row.sentence, done.code, done.result.WrongBecause, done.result.Connections)
		}
	}
}

func TestNoticesAreNoErrors(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{tamper: func(_ int, push []byte) [][]byte {
		return [][]byte{[]byte(`{"path":"/notice","params":{"kind":"feed_stalled"}}`), push, []byte(`{"path":"/notice","params":{"kind":"feed_resumed","new":1}}`)}
	}})
	if done := runLoadgen(t, f, quickPush()...); len(done.result.WrongBecause) != 0 || done.result.Records.Lost != 0 {
		t.Errorf("because %q, %+v", done.result.WrongBecause, *done.result.Records)
	}
}

func TestRefusedConnectionsMakeTheRunInvalid(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{refuse: func(n int) bool { return n%4 == 0 }})
	done := runLoadgen(t, f, quickPush("--receivers=3")...)
	r := done.result
	if done.code != exitInvalid || r.Connections.Held != 9 || r.Connections.Failed != 3 {
		t.Errorf("exit code %d, %+v", done.code, r.Connections)
	}
	if r.Connections.Errors["upgrade refused: 503 Service Unavailable"] != 3 {
		t.Errorf("errors %v", r.Connections.Errors)
	}
	if r.Records.Lost != 0 || r.Records.Deliveries != r.Records.DeliveriesExpected {
		t.Errorf("what a missing connection did not get counts as lost: %+v", *r.Records)
	}
}

func TestNoConnectionAtAllIsAFailure(t *testing.T) {
	f := newFakeServer(t)
	f.misbehave(mistakes{refuse: func(int) bool { return true }})
	done := runLoadgen(t, f, "idle", "--connections=3")
	if done.code != exitFailed || done.stdout != "" || !strings.Contains(done.stderr, "503 Service Unavailable") {
		t.Errorf("exit code %d, stdout %q, stderr %q", done.code, done.stdout, done.stderr)
	}
}

// TestServerThatIsAlwaysWrong: no connection comes up, and the server is to blame, however many processes ask.
func TestServerThatIsAlwaysWrong(t *testing.T) {
	t.Setenv(asProgram, "1")
	f := newFakeServer(t)
	f.misbehave(mistakes{answer: func([]byte) []byte { return []byte(`{"path":"/listen","id":1,"result":{}}`) }})
	for _, processes := range []string{"1", "2"} {
		done := runLoadgen(t, f, "idle", "--connections=4", "--processes="+processes)
		if done.code != exitWrong || done.stdout != "" || !strings.Contains(done.stderr, "came up; the server was WRONG: a wrong answer to /listen") {
			t.Errorf("%s processes: exit code %d, stdout %q, stderr %q", processes, done.code, done.stdout, done.stderr)
		}
	}
}

// TestKnownDelays: the server holds nine pushes of ten for 40 ms and the tenth for 300 ms. A machine under load may
// add to that, nothing may take from it.
func TestKnownDelays(t *testing.T) {
	const short, long = 40 * time.Millisecond, 300 * time.Millisecond
	f := newFakeServer(t)
	f.misbehave(mistakes{raw: func(c net.Conn, push []byte) bool {
		f.mu.Lock()
		delay := short
		if f.seq%10 == 0 {
			delay = long
		}
		f.mu.Unlock()
		f.handlers.Add(1)
		time.AfterFunc(delay, func() {
			defer f.handlers.Done()
			header := []byte{0x81, 126, byte(len(push) >> 8), byte(len(push))}
			_, _ = c.Write(append(header, push...)) // one call, one frame: no other writer gets in between
		})
		return true
	}})
	// One record a group, so that the delays reorder nothing.
	done := runLoadgen(t, f, "push", "--connections=200", "--rate=200", "--warmup=0", "--duration=1s")
	h := done.result.Latency[response]
	if len(done.result.WrongBecause) != 0 || h.Count != 200 {
		t.Fatalf("%d measured, wrong: %q", h.Count, done.result.WrongBecause)
	}
	for _, row := range []struct {
		name string
		ns   int64
		want time.Duration
	}{{"min", h.MinNs, short}, {"p50", h.P50Ns, short}, {"mean", h.MeanNs, (9*short + long) / 10}, {"p99", h.P99Ns, long}, {"max", h.MaxNs, long}} {
		if got := time.Duration(row.ns); got < row.want*999/1000 {
			t.Errorf("%s is %v, the server took %v", row.name, got, row.want)
		}
	}
}

// TestKnownTimesAreReportedWithinTheStatedError: the same from the other side, with times that no machine adds to.
func TestKnownTimesAreReportedWithinTheStatedError(t *testing.T) {
	const events, warmup = 10_000, 500
	s := newStream(part{0, 1}, 1000, warmup, events)
	if err := s.begin(start{Ns: 1_000_000_000}, fileFlags{}); err != nil {
		t.Fatal(err)
	}
	delay := func(n int) int64 { return int64(n%1000+1) * 100_000 } // 0.1 to 100 ms, evenly
	for n := range events {
		s.sentNs[n] = s.dueNs(n) + 50_000
		s.receive(n, s.dueNs(n)+delay(n))
	}
	var out outcome
	if err := s.conclude(&out); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name       string
		got, exact int64
	}{
		{"response min", out.Histograms[response].Summary().MinNs, 100_000},
		{"response p50", out.Histograms[response].Summary().P50Ns, 52_500_000}, // the warm-up took 500 of the short ones
		{"response p99", out.Histograms[response].Summary().P99Ns, 99_100_000},
		{"response max", out.Histograms[response].Summary().MaxNs, 100_000_000},
		{"service min", out.Histograms[service].Summary().MinNs, 50_000},
		{"service max", out.Histograms[service].Summary().MaxNs, 99_950_000},
	} {
		if off := float64(row.got-row.exact) / float64(row.exact); off < -0.001 || off > 0.001 {
			t.Errorf("%s is %d, exactly %d: off by %.2f %%", row.name, row.got, row.exact, 100*off)
		}
	}
	if n := out.Histograms[response].Count(); n != events-warmup {
		t.Errorf("%d measured", n)
	}
}

// TestStallIsSeenInFull: the server takes nothing for half a second. A tool that waits for each answer would count
// one slow answer of some 200; here every record that was due meanwhile counts its own wait.
func TestStallIsSeenInFull(t *testing.T) {
	const stall = 500 * time.Millisecond
	f := newFakeServer(t)
	f.misbehave(mistakes{tamper: func(seq int, push []byte) [][]byte {
		if seq == 40 {
			time.Sleep(stall)
		}
		return [][]byte{push}
	}})
	done := runLoadgen(t, f, "push", "--connections=4", "--rate=200", "--warmup=0", "--duration=1s")
	h := done.result.Latency[response]
	if h.Count != 200 || time.Duration(h.MaxNs) < stall {
		t.Fatalf("%d measured, at most %v", h.Count, time.Duration(h.MaxNs))
	}
	// Half of all records were due during the stall, and waited for 250 ms on average.
	if p90 := time.Duration(h.P90Ns); p90 < stall/2 {
		t.Errorf("p90 is %v: the stall is hidden", p90)
	}
	if mean := time.Duration(h.MeanNs); mean < stall/8 {
		t.Errorf("mean is %v: the stall is hidden", mean)
	}
	// The stall was in the sender's way, so it is lag, and the run says that it must not be used.
	if l := done.result.Latency[lag]; time.Duration(l.P90Ns) < stall/2 || done.code != exitInvalid {
		t.Errorf("lag p90 %v, exit code %d", time.Duration(l.P90Ns), done.code)
	}
	if s := done.result.Latency[service]; s.P90Ns > h.P90Ns {
		t.Errorf("service p90 %v, response p90 %v", time.Duration(s.P90Ns), time.Duration(h.P90Ns))
	}
}
