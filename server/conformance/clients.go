package conformance

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// clientLimitCases are about what one client, or one address, may take for itself.
func clientLimitCases() []testCase {
	return []testCase{
		{name: "--max-connections-per-address: the excess gets 503", own: true, run: addressLimit},
		{name: "--max-connections-per-address: a place that is left is free again", own: true, run: addressFreed},
		{name: "--max-connections-per-address: a connection counts once, whatever it becomes", own: true, run: addressCountsOnce},
		{name: "--max-connections-per-address: off by default", run: addressUnlimited},
		{name: "clients that say nothing keep nobody out for longer than their time", own: true, run: silentClients},
		{name: "--max-messages-per-second: too many messages are 1008", own: true, run: func(tr *trial) { tr.wantTooFast(text(pingText)) }},
		{name: "--max-messages-per-second: too many pings are 1008", own: true, run: func(tr *trial) { tr.wantTooFast(frame(fin|opPing, "x")) }},
		{name: "--max-messages-per-second: too many fragmented messages are 1008", own: true, run: func(tr *trial) {
			tr.wantTooFast(frame(opText, pingText[:9]) + frame(fin|opContinuation, pingText[9:]))
		}},
		{name: "--max-messages-per-second: too many messages on /echo are 1008", own: true, run: tooFastEcho},
		{name: "--max-messages-per-second: a client within it stays", own: true, run: withinPace},
		{name: "--max-messages-per-second: off by default", run: func(tr *trial) { manyFrames(tr) }},
		{name: "a head of exactly --max-head-bytes is read, one more is 431", own: true, run: headLimit},
		{name: "--max-head-bytes: the default", run: func(tr *trial) { tr.wantHeadLimit(16 << 10) }},
		{name: "--max-head-bytes holds for later requests of a connection", own: true, run: laterHeadLimit},
	}
}

// Addresses of this machine that nobody else connects from, the suite's own scrapes least of all.
const firstPeer, secondPeer = "127.0.0.77", "127.0.0.78"

// openFrom opens a WebSocket from an address.
func (tr *trial) openFrom(ip string) *session {
	tr.Helper()
	p := tr.dialFrom(ip)
	p.write(tr.upgradeRequest("/ws"))
	return p.wantUpgraded()
}

// wantCrowded fails the case unless an upgrade from the address is refused for want of a place.
func (tr *trial) wantCrowded(ip string) {
	tr.Helper()
	p := tr.dialFrom(ip)
	p.write(tr.upgradeRequest("/ws"))
	if r := p.wantStatus("GET", http.StatusServiceUnavailable); !r.Close {
		tr.Errorf("the 503 does not say Connection: close")
	}
	p.wantEnd()
}

func addressLimit(tr *trial) {
	away := tr.apart(1, "--max-connections-per-address=3")
	before := away.scrape()
	kept := []*session{away.openFrom(firstPeer), away.openFrom(firstPeer), away.openFrom(firstPeer)}
	for range 5 {
		away.wantCrowded(firstPeer)
	}
	for range 3 { // another address has places of its own
		kept = append(kept, away.openFrom(secondPeer))
	}
	for _, s := range kept {
		s.ping()
	}
	away.wantMoved(before, func(m *metrics) error {
		return errors.Join(
			m.want(5, metricPrefix+"handshakes_refused_total", "reason", "address_full"),
			m.want(5, metricPrefix+"handshakes_refused_total"),
			m.want(6, metricPrefix+"net_current_connected"))
	})
}

// One of the two places stays taken; who reads the metrics needs two of its own address, since the server
// may not yet know that its connection before has ended.
func addressFreed(tr *trial) {
	away := tr.apart(1, "--max-connections-per-address=2")
	before := away.scrape()
	away.openFrom(firstPeer)
	for i := range 10 {
		s := away.openFrom(firstPeer)
		away.wantCrowded(firstPeer)
		if i%2 == 0 {
			s.reset()
		} else {
			s.write(frame(fin|opClose, closePayload(1000, "")))
			s.wantClose(1000)
			_ = s.conn.Close() // the cleanup would do it later
		}
		away.wantMoved(before, func(m *metrics) error { return m.want(1, metricPrefix+"net_current_connected") })
	}
}

// Were it counted twice, as a plain connection and as a WebSocket, or never uncounted, the later rounds
// would find no place.
func addressCountsOnce(tr *trial) {
	away := tr.apart(1, "--max-connections-per-address=2")
	before := away.scrape()
	for round := range 6 {
		first, plain := away.dialFrom(firstPeer), away.dialFrom(firstPeer)
		for _, p := range []*peer{first, plain} {
			p.write(away.request("GET /live HTTP/1.1"))
			p.wantStatus("GET", http.StatusOK)
		}
		first.write(away.upgradeRequest("/ws"))
		s := first.wantUpgraded()
		s.ping()
		away.wantCrowded(firstPeer)
		_ = plain.conn.Close() // the cleanup would do it later
		away.eventually("the plain connection's place", func() error {
			p := away.dialFrom(firstPeer)
			defer func() { _ = p.conn.Close() }() // the cleanup would do it later
			if err := p.tryWrite(away.request("GET /live HTTP/1.1", "Connection: close")); err != nil {
				return err
			}
			r, err := p.tryResponse("GET")
			if err == nil && r.StatusCode != http.StatusOK {
				err = fmt.Errorf("round %d: %s", round, r.Status)
			}
			return err
		})
		s.reset()
		away.wantMoved(before, func(m *metrics) error { return m.want(0, metricPrefix+"net_current_connected") })
	}
}

func addressUnlimited(tr *trial) {
	var sessions []*session
	for range 50 {
		sessions = append(sessions, tr.openFrom(firstPeer))
	}
	for _, s := range sessions {
		s.ping()
	}
}

func silentClients(tr *trial) {
	away := tr.on(tr.start("--max-connections=3", "--handshake-timeout=2s"))
	stays := away.session()
	for range 400 {
		away.dial()
	}
	away.eventually("/live", func() error {
		r, err := try(http.MethodGet, away.address, "/live", "")
		if err == nil && r.StatusCode != http.StatusOK {
			err = errors.New(r.Status)
		}
		return err
	})
	stays.ping()
	_ = stays.conn.Close() // the cleanup would do it later
	away.awaitPlace()
}

const paceOf = 20

func (tr *trial) paced() *trial {
	return tr.apart(1, "--echo", fmt.Sprintf("--max-messages-per-second=%d", paceOf))
}

// wantTooFast sends far more messages at once than a second may bring.
func (tr *trial) wantTooFast(message string) {
	away := tr.paced()
	before := away.scrape()
	s := away.session()
	stays := away.session()
	s.write(strings.Repeat(message, 50*paceOf))
	f, closed := s.readClose()
	if !closed || f.closeCode() != 1008 {
		tr.Fatalf("it was ended with %v (a Close: %v), want Close 1008", f, closed)
	}
	stays.ping()
	away.wantMoved(before, func(m *metrics) error {
		return m.want(1, metricPrefix+"connections_closed_total", "reason", "message_rate")
	})
}

func tooFastEcho(tr *trial) {
	s := tr.paced().open("/echo")
	s.write(strings.Repeat(frame(fin|opBinary, "x"), 50*paceOf))
	if f, closed := s.readClose(); !closed || f.closeCode() != 1008 {
		tr.Errorf("/echo was ended with %v, want Close 1008", f)
	}
}

// Exactly a second's worth comes at once; later ones at three quarters of the pace.
func withinPace(tr *trial) {
	s := tr.paced().session()
	s.write(strings.Repeat(text(pingText), paceOf))
	for range paceOf {
		s.wantPingAnswer()
	}
	for range 2 * paceOf {
		time.Sleep(4 * time.Second / 3 / paceOf)
		s.write(text(pingText))
		s.wantPingAnswer()
	}
}

// headOf is an upgrade request whose head has so many bytes.
func (tr *trial) headOf(bytes int) string {
	const field = "X-Long: "
	short := tr.upgradeRequest("/ws")
	return short[:len(short)-2] + field + strings.Repeat("x", bytes-len(short)-len(field)-2) + "\r\n\r\n"
}

func (tr *trial) wantHeadLimit(bytes int) {
	tr.Helper()
	for _, below := range []int{0, 1, 100} {
		p := tr.dial()
		p.write(tr.headOf(bytes - below))
		p.wantUpgraded().ping()
	}
	for _, above := range []int{1, 2, 1000, 4096, 5000} {
		p := tr.dial()
		p.write(tr.headOf(bytes + above))
		p.wantStatus("GET", http.StatusRequestHeaderFieldsTooLarge)
	}
}

func headLimit(tr *trial) {
	away := tr.on(tr.shared("--max-head-bytes=10000"))
	away.wantHeadLimit(10_000)
	for range 3 {
		p := away.dial()
		p.write(away.headOf(10_000)[:9_999]) // all but its last byte
		p.write("\n")
		p.wantUpgraded().ping()
	}
}

func laterHeadLimit(tr *trial) {
	p := tr.on(tr.shared("--max-head-bytes=10000")).dial()
	for range 3 {
		p.write(p.request("GET /live HTTP/1.1", "X-Long: "+strings.Repeat("x", 8000)))
		p.wantStatus("GET", http.StatusOK)
	}
	p.write(p.request("GET /live HTTP/1.1", "X-Long: "+strings.Repeat("x", 20_000)))
	p.wantStatus("GET", http.StatusRequestHeaderFieldsTooLarge)
}
