package conformance

import (
	"errors"
	"net/http"
	"os"
	"syscall"
	"time"
)

func leavingCases() []testCase {
	return []testCase{
		{name: "SIGTERM: a notice and Close 1012", own: true, run: func(tr *trial) { tr.wantGoodbyes(syscall.SIGTERM) }},
		{name: "SIGINT: a notice and Close 1012", own: true, run: func(tr *trial) { tr.wantGoodbyes(os.Interrupt) }},
		{name: "Close 1012 on /echo", own: true, run: echoGoodbye},
		{name: "at once when nobody is left", own: true, run: nobodyLeft},
		{name: "at once when the last one has gone", own: true, run: lastGone},
		{name: "clients that do not answer do not hold it up", own: true, run: deafClients},
		{name: "clients that do not read do not hold it up", own: true, run: stuckClients},
		{name: "half a handshake does not hold it up", own: true, run: halfHandshakes},
		{name: "idle HTTP clients do not hold it up", own: true, run: idleHTTPClients},
		{name: "while draining: not ready, no upgrades", own: true, run: whileDraining},
		{name: "a request in flight is finished", own: true, run: requestInFlight},
		{name: "while a request is finished: not ready", own: true, run: readyWhileFinishing},
		{name: "a second signal ends it with an error", own: true, run: secondSignal},
		{name: "SIGHUP does not end it", own: true, run: hangUp},
		{name: "a broken stderr does not end it", own: true, run: brokenLog},
	}
}

// wantGoodbyes checks that every session gets a notice and a Close, and the exit code 0.
func (tr *trial) wantGoodbyes(signal os.Signal) {
	instance := tr.start("--drain=2s")
	away := tr.on(instance)
	var sessions []*session
	for range 10 {
		s := away.session()
		s.ping()
		sessions = append(sessions, s)
	}
	instance.Signal(tr.TB, signal)
	for _, s := range sessions {
		s.wantNotice("draining")
		s.wantClose(1012)
		s.write(frame(fin|opClose, closePayload(1012, "")))
		s.wantEnd()
	}
	if code := instance.ExitCode(tr.TB); code != 0 {
		tr.Errorf("the server exits %d", code)
	}
}

// wantNotice fails the case unless the next frame is a notice of that kind.
func (s *session) wantNotice(kind string) {
	s.Helper()
	f := s.frame()
	if got, err := notice(f.payload); f.op != opText || got != kind {
		s.Fatalf("came %v (%v), want the notice %s", f, err, kind)
	}
}

func echoGoodbye(tr *trial) {
	instance := tr.start("--echo")
	echo := tr.on(instance).open("/echo")
	instance.Signal(tr.TB, syscall.SIGTERM)
	f, closed := echo.readClose() // a notice may come before
	if !closed || f.closeCode() != 1012 {
		tr.Errorf("/echo was ended with %v, want Close 1012", f)
	}
	if code := instance.ExitCode(tr.TB); code != 0 {
		tr.Errorf("the server exits %d", code)
	}
}

// The drains in these cases are longer than a case waits.
const longDrain = "--drain=600s"

func nobodyLeft(tr *trial) {
	instance := tr.start(longDrain)
	tr.on(instance).session().reset()
	tr.on(instance).get("/live", http.StatusOK)
	instance.Signal(tr.TB, syscall.SIGTERM)
	if code := instance.ExitCode(tr.TB); code != 0 {
		tr.Errorf("the server exits %d", code)
	}
}

func lastGone(tr *trial) {
	instance := tr.start(longDrain)
	away := tr.on(instance)
	sessions := []*session{away.session(), away.session(), away.session()}
	instance.Signal(tr.TB, syscall.SIGTERM)
	tr.eventually("draining", away.draining)
	for _, s := range sessions { // the Close of most would come much later
		s.reset()
	}
	if code := instance.ExitCode(tr.TB); code != 0 {
		tr.Errorf("the server exits %d", code)
	}
}

// draining gives an error while /ready does not say 503, or the port is closed already.
func (tr *trial) draining() error {
	r, err := try(http.MethodGet, tr.address, "/ready", "")
	if err == nil && r.StatusCode != http.StatusServiceUnavailable {
		err = errors.New(r.Status)
	}
	return err
}

// wantPromptEnd signals and checks that a drain of one second does not take for ever.
func (tr *trial) wantPromptEnd(instance *Instance) {
	tr.Helper()
	from := time.Now()
	instance.Signal(tr.TB, syscall.SIGTERM)
	if code := instance.ExitCode(tr.TB); code != 0 {
		tr.Errorf("the server exits %d", code)
	}
	tr.Logf("ended after %v", time.Since(from).Round(time.Millisecond))
}

func deafClients(tr *trial) {
	instance := tr.start()
	for range 10 {
		tr.on(instance).session().ping()
	}
	tr.wantPromptEnd(instance)
}

// What waits for these clients can't be written out before the end.
func stuckClients(tr *trial) {
	instance := tr.start("--socket-send-buffer=16384", "--echo")
	away := tr.on(instance)
	for range 3 {
		s := away.open("/echo")
		for range 8 {
			s.write(frame(fin|opBinary, string(make([]byte, messageLimitBytes))))
		}
	}
	tr.wantPromptEnd(instance)
}

func halfHandshakes(tr *trial) {
	instance := tr.start()
	away := tr.on(instance)
	for _, start := range []string{"", "GET /ws HT", away.upgradeRequest("/ws")[:60]} {
		away.dial().write(start)
	}
	away.wantServing()
	tr.wantPromptEnd(instance)
}

func idleHTTPClients(tr *trial) {
	instance := tr.start(longDrain)
	away := tr.on(instance)
	for range 5 {
		p := away.dial()
		p.write(away.request("GET /live HTTP/1.1"))
		p.wantStatus("GET", http.StatusOK)
	}
	tr.wantPromptEnd(instance)
}

// One client that stays holds the server in its drain; the second signal ends it.
func whileDraining(tr *trial) {
	instance := tr.start(longDrain)
	instance.MayFail()
	away := tr.on(instance)
	away.awaitReady()
	stays := []*session{away.session(), away.session(), away.session(), away.session()}
	before := away.scrape()
	instance.Signal(tr.TB, syscall.SIGTERM)
	tr.eventually("draining", away.draining)
	away.get("/live", http.StatusOK)
	p := away.dial()
	p.write(away.upgradeRequest("/ws"))
	if r := p.wantStatus("GET", http.StatusServiceUnavailable); !r.Close {
		tr.Errorf("the refused upgrade does not say Connection: close")
	}
	away.wantMoved(before, func(m *metrics) error { return m.want(1, metricPrefix+"handshakes_refused_total") })
	last := stays[len(stays)-1]
	served := 0
	for _, s := range stays {
		if s.tryWrite(text(pingText)) == nil && s.frame().op == opText {
			served++ // an answer, or the notice of one that is closed
		}
	}
	if served != len(stays) {
		tr.Errorf("%d of %d sessions are served while draining", served, len(stays))
	}
	_ = last.conn.Close() // the cleanup would do it later
	instance.Signal(tr.TB, syscall.SIGTERM)
	instance.ExitCode(tr.TB)
}

// A session that stays shows when the drain has begun.
func requestInFlight(tr *trial) {
	instance := tr.start("--echo", "--drain=15s")
	away := tr.on(instance)
	stays := away.session()
	p := away.slowPost()
	instance.Signal(tr.TB, syscall.SIGTERM)
	stays.wantNotice("draining")
	p.write("56789")
	if r := p.wantStatus("POST", http.StatusOK); r.body != "0123456789" {
		tr.Errorf("the body came back as %q", r.body)
	}
	stays.reset()
	if code := instance.ExitCode(tr.TB); code != 0 {
		tr.Errorf("the server exits %d", code)
	}
}

// slowPost makes a request that is being handled, and waits for the body's end: 56789.
func (tr *trial) slowPost() *peer {
	tr.Helper()
	p := tr.dial()
	p.write(tr.request("POST /echo HTTP/1.1", "Content-Length: 10", "Expect: 100-continue"))
	p.wantStatus("POST", http.StatusContinue)
	p.write("01234")
	return p
}

// No session is there: the request alone keeps the server, which must not leave others without a word.
func readyWhileFinishing(tr *trial) {
	instance := tr.start("--echo", "--drain=15s")
	away := tr.on(instance)
	away.awaitReady()
	p := away.slowPost()
	instance.Signal(tr.TB, syscall.SIGTERM)
	tr.eventually("draining", away.draining)
	away.get("/ready", http.StatusServiceUnavailable)
	p.write("56789")
	p.wantStatus("POST", http.StatusOK)
	if code := instance.ExitCode(tr.TB); code != 0 {
		tr.Errorf("the server exits %d", code)
	}
}

func secondSignal(tr *trial) {
	instance := tr.start(longDrain)
	instance.MayFail()
	away := tr.on(instance)
	away.session().ping()
	away.session().ping()
	instance.Signal(tr.TB, syscall.SIGTERM)
	tr.eventually("draining", away.draining)
	instance.Signal(tr.TB, syscall.SIGINT)
	if code := instance.ExitCode(tr.TB); code == 0 {
		tr.Errorf("the server exits 0 after a second signal")
	}
}

func hangUp(tr *trial) {
	instance := tr.start()
	s := tr.on(instance).session()
	for range 3 {
		instance.Signal(tr.TB, syscall.SIGHUP)
		s.ping()
	}
	tr.on(instance).wantServing()
}

// Writing to the log gives an error, and a signal, from now on.
func brokenLog(tr *trial) {
	instance := tr.start()
	away := tr.on(instance)
	instance.BreakLog(tr.TB)
	for _, bytes := range []string{"junk\r\n\r\n", tlsHello()} {
		p := away.dial()
		p.write(bytes)
		_, _ = p.readEnd() // how it is refused is another case's
	}
	at := away.produce(away.partition(), "undecodable: logged")
	tr.Logf("the record at %v is logged", at)
	away.wantServing()
	tr.wantPromptEnd(instance)
}
