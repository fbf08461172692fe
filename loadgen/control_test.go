package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// controlled is a run with its master's ends of the pipes.
type controlled struct {
	stdin  *io.PipeWriter
	events *bufio.Scanner
	code   chan int
}

func startControlled(t *testing.T, f *fakeServer, args ...string) *controlled {
	t.Helper()
	stdin, master := io.Pipe()
	events, stdout := io.Pipe()
	c := &controlled{stdin: master, events: bufio.NewScanner(events), code: make(chan int, 1)}
	p := &program{stdin: stdin, stdout: stdout, stderr: io.Discard, openProducer: f.open, executable: os.Args[0]}
	go func() {
		code := p.run(t.Context(), append(withURL(args, f), "--control", "--quiet"))
		_ = stdout.Close()
		c.code <- code
	}()
	t.Cleanup(func() { _ = master.Close() })
	return c
}

func (c *controlled) next(t *testing.T) (event map[string]json.RawMessage) {
	t.Helper()
	if !c.events.Scan() {
		t.Fatalf("no further event: %v", c.events.Err())
	}
	if err := json.Unmarshal(c.events.Bytes(), &event); err != nil {
		t.Fatalf("event %q: %v", c.events.Text(), err)
	}
	return event
}

func (c *controlled) ended(t *testing.T) int {
	t.Helper()
	select {
	case code := <-c.code:
		return code
	case <-time.After(patience):
		t.Fatal("the run does not end")
		return -1
	}
}

func TestControl(t *testing.T) {
	for _, args := range [][]string{{"idle", "--connections=7", "--hold=1h"}, quickPush("--connections=7")} {
		f := newFakeServer(t)
		c := startControlled(t, f, args...)
		held := c.next(t)
		if string(held["event"]) != `"held"` || string(held["connections"]) != "7" || held["connect_seconds"] == nil {
			t.Errorf("%s: first event %s", args[0], held)
		}
		if _, err := io.WriteString(c.stdin, "wait\ngo\ngo\n"); err != nil {
			t.Fatal(err)
		}
		last := c.next(t)
		var r result
		if err := json.Unmarshal(last["result"], &r); err != nil || string(last["event"]) != `"result"` {
			t.Errorf("%s: last event %s, %v", args[0], last, err)
		}
		if r.Scenario != args[0] || r.Connections.Held != 7 || len(r.WrongBecause) > 0 {
			t.Errorf("%s: result %+v", args[0], r)
		}
		if c.events.Scan() {
			t.Errorf("%s: an event after the result: %s", args[0], c.events.Text())
		}
		if code := c.ended(t); code != r.exitCode() {
			t.Errorf("%s: exit code %d, its result says %d", args[0], code, r.exitCode())
		}
	}
}

func TestMasterGoneEndsTheRun(t *testing.T) {
	f := newFakeServer(t)
	c := startControlled(t, f, "idle", "--connections=3")
	c.next(t)
	if err := c.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if c.events.Scan() {
		t.Errorf("an event after the master had gone: %s", c.events.Text())
	}
	if code := c.ended(t); code != exitFine {
		t.Errorf("exit code %d", code)
	}
}

func TestIdleTellsConnectionsThatDied(t *testing.T) {
	f := newFakeServer(t)
	c := startControlled(t, f, "idle", "--connections=5")
	c.next(t)
	f.mu.Lock()
	_ = f.sessions[2][0].c.Close()
	f.mu.Unlock()
	if _, err := io.WriteString(c.stdin, "go\n"); err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(c.next(t)["result"], &r); err != nil {
		t.Fatal(err)
	}
	if r.Connections.Held != 5 || r.Connections.Dropped != 1 || r.Valid || c.ended(t) != exitInvalid {
		t.Errorf("%+v, valid %v", r.Connections, r.Valid)
	}
}

// TestRunsBesideEachOther: an idle run and a push to the same server share no group, so that each gets its own.
func TestRunsBesideEachOther(t *testing.T) {
	f := newFakeServer(t)
	startControlled(t, f, "idle", "--connections=5", "--first-group=1000").next(t)
	push := startControlled(t, f, quickPush("--receivers=3", "--first-group=1005")...)
	push.next(t)
	for group, want := range map[int]int{999: 0, 1000: 1, 1004: 1, 1005: 3, 1008: 3, 1009: 0} {
		if got := f.listeners(group); got != want {
			t.Errorf("%d connections listen to group %d, want %d", got, group, want)
		}
	}
	if _, err := io.WriteString(push.stdin, "go\n"); err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(push.next(t)["result"], &r); err != nil {
		t.Fatal(err)
	}
	if len(r.WrongBecause) != 0 || r.Records.Deliveries != 3*120 {
		t.Errorf("records %+v, wrong: %v", *r.Records, r.WrongBecause)
	}
}

func TestInterruptedRunHasNoResult(t *testing.T) {
	f := newFakeServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, openProducer: f.open}
	f.misbehave(mistakes{answer: func(request []byte) []byte {
		if bytes.Contains(request, []byte("/ping")) {
			cancel()
		}
		return nil
	}})
	if code := p.run(ctx, []string{"idle", "--connections=2", "--hold=1h", "--url", f.url(), "--quiet"}); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if stdout.Len() > 0 || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
	}
}

func TestTableForPeople(t *testing.T) {
	f := newFakeServer(t)
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, openProducer: f.open}
	p.run(t.Context(), append(quickPush(), "--url", f.url(), "--quiet"))
	for _, want := range []string{"push ", "12 of 12 held", "120 of 120 produced", "  response ", "  lag ", "~", "verdict"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s%s", want, stdout.String(), stderr.String())
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"idle --connections=0", "--connections must be at least 1"},
		{"idle --receivers=0", "--receivers must be at least 1"},
		{"idle --first-group=-1", "--first-group must not be negative"},
		{"push --connections=10 --receivers=4 --groups=4", "--groups must be between 0 and 3"},
		{"slow --connections=10 --groups=-1", "--groups must be between 0 and 1"},
		{"idle --hold=-1s", "--hold must not be negative"},
		{"idle --url=wss://localhost/ws", "TLS is not spoken here"},
		{"idle --url=ws://127.0.0.1:1/ws,http://127.0.0.1:1/ws", "--url http://127.0.0.1:1/ws: want ws://"},
		{"idle --url=", "--url must not be empty"},
		{"idle --url=ws://127.0.0.1:99999/ws", "--url: port 99999: want 1 to 65535"},
		{"idle --sources=nonsense", "--sources"},
		{"idle --sources=::1", "--sources: there is no way from ::1 to 127.0.0.1"},
		{"idle --url=ws://[::1]:1/ws --sources=::1,127.0.0.1", "--sources: there is no way from 127.0.0.1 to ::1"},
		{"idle --sources=10.0.0.0/8", "more than 65536 addresses"},
		{"idle --connections=1000000000", "descriptors"},
		{"push --rate=0", "--rate must be above 0"},
		{"push --rate=NaN", "--rate must be above 0"},
		{"request --rate=0.1 --warmup=2s --duration=1s", "no event at 0.1 per second is due in the 1s"},
		{"push --duration=0s", "--duration must be above zero"},
		{"push --rate=1000000 --duration=10h", "more than 100000000 events"},
		{"nonsense", "nonsense"},
		{"idle --nonsense", "nonsense"},
	} {
		var stdout, stderr bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, openProducer: (&fakeServer{}).open}
		if code := p.run(t.Context(), append(strings.Fields(row.args), "--quiet")); code != exitFailed {
			t.Errorf("%s: exit code %d", row.args, code)
		}
		if !strings.Contains(stderr.String(), row.want) || stdout.Len() > 0 {
			t.Errorf("%s: stderr %q, stdout %q; want %q", row.args, stderr.String(), stdout.String(), row.want)
		}
	}
}

func TestLocalhostIsIPv4First(t *testing.T) {
	four, six, mapped := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("::ffff:127.0.0.1")
	for _, row := range []struct {
		addresses []netip.Addr
		want      netip.Addr
	}{
		{[]netip.Addr{six, four}, four},
		{[]netip.Addr{six, mapped}, four},
		{[]netip.Addr{six}, six},
	} {
		if got := preferred(row.addresses); got != row.want {
			t.Errorf("of %v %v is preferred", row.addresses, got)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"push", "--help"}} {
		var stdout, stderr bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
		if code := p.run(t.Context(), args); code != exitFine || !strings.Contains(stdout.String(), "Usage: loadgen") || stderr.Len() > 0 {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, stdout.String(), stderr.String())
		}
	}
}
