package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func limitCases() []testCase {
	return append(append(floodCases(), clientLimitCases()...), []testCase{
		{name: "--max-connections: the excess gets 503", own: true, run: connectionLimit},
		{name: "--max-connections: /live and /metrics answer when it is full", own: true, run: pagesWhenFull},
		{name: "--max-connections: a place that is left is free again", own: true, run: placeFreed},
		{name: "--max-connections: an upgrade behind a request counts, too", own: true, run: fullBehindRequest},
		{name: "idle HTTP clients do not keep WebSockets out", own: true, run: idleClients},
		{name: "a flood of HTTP clients does not keep WebSockets out", own: true, run: floodOfClients},
		{name: "a slow reader goes, and disturbs nobody", own: true, run: slowReader},
		{name: "a reader that does not take its answers goes", own: true, run: slowAnswers},
		{name: "a burst within the budget reaches a reader that pauses", own: true, run: burstWithinBudget},
		{name: "--idle-ping: a silent client is pinged, and ended", own: true, run: silentClient},
		{name: "--idle-ping: a client that answers stays", own: true, run: answeringClient},
		{name: "--idle-ping: a client that only asks stays", own: true, run: askingClient},
		{name: "more clients than descriptors", own: true, run: fewDescriptors},
		{name: "descriptors run out, and come back", own: true, run: noDescriptors},
		{name: "a taken port is an error that names it", own: true, run: portTaken},
		{name: "a port taken by the same server is an error that names it", own: true, run: portTakenBySelf},
		{name: "a restart at once works", own: true, run: restart},
	}...)
}

// wantFull fails the case unless an upgrade is refused for want of a place.
func (tr *trial) wantFull() {
	tr.Helper()
	p := tr.dial()
	p.write(tr.upgradeRequest("/ws"))
	r := p.wantStatus("GET", http.StatusServiceUnavailable)
	if !r.Close {
		tr.Errorf("the 503 does not say Connection: close")
	}
	p.wantEnd()
}

func connectionLimit(tr *trial) {
	away := tr.apart(1, "--max-connections=2")
	before := away.scrape()
	kept := []*session{away.session(), away.session()}
	for range 5 {
		away.wantFull()
	}
	for _, s := range kept {
		s.ping()
	}
	away.wantMoved(before, func(m *metrics) error {
		return errors.Join(
			m.want(5, metricPrefix+"handshakes_refused_total"),
			m.want(2, metricPrefix+"net_current_connected"))
	})
}

func pagesWhenFull(tr *trial) {
	away := tr.on(tr.start("--max-connections=2"))
	away.session()
	away.session()
	for _, path := range []string{"/live", "/metrics", "/ready", "/hello", "/"} {
		if path == "/ready" {
			away.awaitReady()
		}
		away.get(path, http.StatusOK)
	}
	away.wantFull()
}

func placeFreed(tr *trial) {
	away := tr.on(tr.start("--max-connections=2"))
	away.session()
	for i := range 10 {
		s := away.session()
		away.wantFull()
		if i%2 == 0 {
			s.reset()
		} else {
			s.write(frame(fin|opClose, closePayload(1000, "")))
			s.wantClose(1000)
			_ = s.conn.Close() // the cleanup would do it later
		}
		away.awaitPlace()
	}
}

// awaitPlace waits until an upgrade is answered with 101 again, and ends that one.
func (tr *trial) awaitPlace() {
	tr.Helper()
	tr.eventually("a free place", func() error {
		p := tr.dial()
		defer func() { _ = p.conn.Close() }() // the trial's cleanup closes it again
		if err := p.tryWrite(tr.upgradeRequest("/ws")); err != nil {
			return err
		}
		if err := p.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		r, err := p.tryResponse("GET")
		if err == nil && r.StatusCode != http.StatusSwitchingProtocols {
			err = errors.New(r.Status)
		}
		return err
	})
	tr.eventually("the end of the last connection", func() error {
		m := tr.scrape()
		if open := m.sum(metricPrefix + "net_current_connected"); open > 1 {
			return fmt.Errorf("%v connections", open)
		}
		return nil
	})
}

func fullBehindRequest(tr *trial) {
	away := tr.on(tr.start("--max-connections=1"))
	away.session()
	p := away.dial()
	p.write(away.request("GET /live HTTP/1.1"))
	p.wantStatus("GET", http.StatusOK)
	p.write(away.upgradeRequest("/ws"))
	if r := p.wantStatus("GET", http.StatusServiceUnavailable); !r.Close {
		tr.Errorf("the 503 does not say Connection: close")
	}
}

func idleClients(tr *trial) {
	away := tr.on(tr.start("--max-connections=3"))
	for range 50 {
		p := away.dial()
		p.write(away.request("GET /live HTTP/1.1"))
		p.wantStatus("GET", http.StatusOK)
	}
	for range 3 {
		away.session().ping()
	}
}

// However many plain connections there may be, these are more.
func floodOfClients(tr *trial) {
	away := tr.on(tr.start("--max-connections=3"))
	for range 600 {
		p := away.dial()
		p.write(away.request("GET /live HTTP/1.1"))
		if r := p.readResponse("GET"); r.StatusCode != http.StatusOK && (r.StatusCode != http.StatusServiceUnavailable || !r.Close) {
			tr.Fatalf("a plain request is answered with %s, close %v", r.Status, r.Close)
		}
	}
	for range 3 {
		away.session().ping()
	}
}

// A budget that a few records use up.
const (
	slowRecordBytes = 8 << 10
	slowBudgetBytes = 64 << 10
	slowRecords     = 400 // far more than any buffer between here and there holds
)

func (tr *trial) withSmallBudget() *trial {
	return tr.apart(1, fmt.Sprintf("--outbound-budget-bytes=%d", slowBudgetBytes), "--max-record-bytes=16384", "--socket-send-buffer=16384")
}

// The slow client has the usual receive buffer, as others here that do not read and are heard in the end: when a small
// one is full, Linux drops segments with the acknowledgements in them, and what follows may wait half a minute for the
// next probe of the window.
func slowReader(tr *trial) {
	away := tr.withSmallBudget()
	fast, app := away.forApp()
	slow := away.session()
	slow.listen(appRule(app))
	before := away.scrape()
	var want []cursor
	for range slowRecords / 5 {
		batch := away.produce(0, slowBatch(app, 5)...) // within the budget
		for range batch {                              // the fast one keeps up
			want = append(want, fast.next().at)
		}
	}
	if len(want) != slowRecords {
		tr.Errorf("the fast session got %d records", len(want))
	}
	fast.wantPushes(0)
	away.wantMoved(before, func(m *metrics) error { // nothing has been read of the slow one yet
		wrong := []error{m.want(1, metricPrefix+"connections_closed_total"), m.want(-1, metricPrefix+"net_current_connected")}
		if m.sum(metricPrefix+"pushes_dropped_total") < 1 {
			wrong = append(wrong, fmt.Errorf("no push is counted as dropped"))
		}
		return errors.Join(wrong...)
	})
	if f, closed := slow.readClose(); closed && f.closeCode() != 1013 {
		tr.Errorf("the slow session was closed with %v, want 1013", f)
	}
}

// slowBatch is n records for the app.
func slowBatch(app int64, n int) []string {
	return slices.Repeat([]string{padded(app, slowRecordBytes)}, n)
}

// Answers count, too: this client asks and does not read.
func slowAnswers(tr *trial) {
	away := tr.withSmallBudget()
	slow := away.session()
	before := away.scrape()
	message := text(pingOf(slowRecordBytes))
	asked := make(chan struct{})
	go func() { // the server may stop reading before it closes
		defer close(asked)
		for range slowRecords {
			if slow.tryWrite(message) != nil {
				return
			}
		}
	}()
	away.wantMoved(before, func(m *metrics) error { return m.want(1, metricPrefix+"connections_closed_total") })
	slow.readClose()
	_ = slow.conn.Close() // ends the writing
	<-asked
	away.session().ping()
}

func burstWithinBudget(tr *trial) {
	away := tr.withSmallBudget()
	s, app := away.forApp()
	other := away.session()
	other.wantPushes(0)
	at := away.produce(0, slowBatch(app, 6)...) // 48 KiB
	other.wantPushes(0)                         // by now the burst has been sent, or waits
	s.wantPushes(0, at...)
}

func silentClient(tr *trial) {
	s := tr.on(tr.shared("--idle-ping=300ms")).session()
	if f := s.frame(); f.op != opPing {
		tr.Fatalf("came %v, want a ping", f)
	}
	rest, _ := s.readEnd() // more pings, and any end
	if len(rest) > 0 && rest[0] != fin|opPing && rest[0] != fin|opClose {
		tr.Errorf("before the end came %q", rest)
	}
}

// The client has three seconds for each answer, on a machine that may be full, and is silent otherwise
// for longer than that.
func answeringClient(tr *trial) {
	s := tr.on(tr.shared("--idle-ping=1s")).session()
	for range 4 {
		f := s.frame()
		if f.op != opPing {
			tr.Fatalf("came %v, want a ping", f)
		}
		s.write(frame(fin|opPong, string(f.payload)))
	}
	s.ping()
}

// Bytes of any kind are a sign of life. Pings may come when this machine is slow; they are not answered.
func askingClient(tr *trial) {
	s := tr.on(tr.shared("--idle-ping=2s")).session()
	for until := time.Now().Add(7 * time.Second); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		s.write(text(pingText))
		f := s.frame()
		for f.op == opPing {
			f = s.frame()
		}
		if f.op != opText {
			tr.Fatalf("came %v, want an answer", f)
		}
	}
}

// A server under a limit of its own: it knows, and keeps below.
func fewDescriptors(tr *trial) {
	limited := &Program{
		Path: "/bin/sh",
		Args: slices.Concat([]string{"-c", `ulimit -n 200 && exec "$0" "$@"`, tr.Program.Path}, tr.Program.Args),
	}
	tr.wantFloodSurvived(limited.Start(tr.TB, tr.flags(nil)...), func() {})
}

// The limit of the process is lowered from outside, to few more than what is open: it can't know.
func noDescriptors(tr *trial) {
	instance := tr.start()
	tr.wantFloodSurvived(instance, func() {
		limit := unix.Rlimit{Cur: 64, Max: 64}
		if err := unix.Prlimit(instance.PID, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
			tr.Fatalf("lower the descriptor limit of process %d: %v", instance.PID, err)
		}
	})
}

// wantFloodSurvived sends more clients than there are descriptors, and has them go again.
func (tr *trial) wantFloodSurvived(instance *Instance, before func()) {
	tr.Helper()
	away := tr.on(instance)
	away.awaitReady()
	first := away.session()
	before()
	var flood []net.Conn
	for range 400 { // those that are not accepted wait in the listener's queue
		c, err := net.DialTimeout("tcp", away.address, patience)
		if err != nil {
			tr.Fatalf("connect: %v", err)
		}
		flood = append(flood, c)
		_, _ = io.WriteString(c, away.upgradeRequest("/ws")) // the server may refuse before
	}
	first.ping()
	for _, c := range flood {
		_ = c.Close() // the server may have ended it
	}
	away.eventually("serving again", func() error {
		r, err := try(http.MethodGet, away.address, "/live", "")
		if err == nil && r.StatusCode != http.StatusOK {
			err = errors.New(r.Status)
		}
		return err
	})
	first.ping()
	away.awaitPlace()
}

func portTaken(tr *trial) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tr.Fatal(err)
	}
	defer func() { _ = taken.Close() }() // nobody connected
	tr.wantPortError(taken.Addr().String())
}

func portTakenBySelf(tr *trial) {
	instance := tr.start()
	tr.wantPortError(instance.Address)
	tr.on(instance).wantServing()
}

func (tr *trial) wantPortError(address string) {
	tr.Helper()
	outcome := tr.Program.Exec(tr.TB, nil, tr.flags([]string{"--listen=" + address})...)
	if outcome.Code == 0 {
		tr.Errorf("the server on a taken port exits 0")
	}
	if !strings.Contains(outcome.Stderr, address) {
		tr.Errorf("stderr does not name %s:\n%s", address, outcome.Stderr)
	}
}

// The connections of the first server are still known to the kernel when the second one starts.
func restart(tr *trial) {
	first := tr.start()
	for range 3 {
		tr.on(first).session().ping()
		tr.on(first).get("/live", http.StatusOK)
	}
	first.Signal(tr.TB, syscall.SIGTERM)
	if code := first.ExitCode(tr.TB); code != 0 {
		tr.Fatalf("the first server exits %d", code)
	}
	second := tr.start("--listen=" + first.Address)
	if second.Address != first.Address {
		tr.Errorf("the second server listens on %s, want %s", second.Address, first.Address)
	}
	tr.on(second).wantServing()
}
