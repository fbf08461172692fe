package conformance

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

func handshakeCases() []testCase {
	return slices.Concat(upgradeCases(), refusalCases(), strangerCases(), []testCase{
		{name: "a library's client is served", run: libraryClient},
		{name: "the head split at every byte", run: headSplit},
		{name: "the head byte by byte", run: headDribbled},
		{name: "first frame in the packet of the upgrade", detail: true, run: frameWithUpgrade},
		{name: "several frames, the last cut, in the packet of the upgrade", detail: true, run: framesWithUpgrade},
		{name: "upgrade behind an earlier request", run: upgradeBehindRequest},
		{name: "upgrade in the packet of an earlier request", run: upgradePipelined},
		{name: "upgrade behind a refused upgrade", run: upgradeBehindRefusal},
		{name: "upgrade elsewhere is 404", run: upgradeElsewhere},
		{name: "upgrade on /echo without --echo is 404", own: true, run: upgradeUnechoed},
		{name: "a head without end is refused", run: endlessHead},
		{name: "half a head is ended in time", own: true, run: func(tr *trial) { tr.wantLateHeadEnded("GET /ws HTTP/1.1\r\nHost: x\r\n") }},
		{name: "no byte at all is ended in time", own: true, run: func(tr *trial) { tr.wantLateHeadEnded("") }},
		{name: "bytes do not renew the time for the head", own: true, run: dribblingIsLate},
		{name: "a later request has the time from its first byte", own: true, run: laterHeadIsLate},
		{name: "clients that reset the connection at every phase", run: resetsInHandshake},
	})
}

// good are upgrade requests that must be answered 101. noHost is added by request.
var good = []struct {
	name, line string
	fields     []string
}{
	{"plain", "GET /ws HTTP/1.1", []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"odd letter case", "GET /ws HTTP/1.1", []string{"uPGRADE: WebSocket", "cONNECTION: uPGRADE", "sec-websocket-version: 13", "SEC-WEBSOCKET-KEY: " + nonce}},
	{"Connection: keep-alive, Upgrade", "GET /ws HTTP/1.1", []string{"Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"Connection: Upgrade ,x", "GET /ws HTTP/1.1", []string{"Upgrade: websocket", "Connection: Upgrade ,x", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"two Connection fields", "GET /ws HTTP/1.1", []string{"Upgrade: websocket", "Connection: keep-alive", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"two upgrades offered", "GET /ws HTTP/1.1", []string{"Upgrade: h2c, websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"no blank behind the colon", "GET /ws HTTP/1.1", []string{"Upgrade:websocket", "Connection:Upgrade", "Sec-WebSocket-Version:13", "Sec-WebSocket-Key:" + nonce}},
	{"blanks around the values", "GET /ws HTTP/1.1", []string{"Upgrade: \t websocket  ", "Connection:   Upgrade\t", "Sec-WebSocket-Version:  13 ", "Sec-WebSocket-Key:  " + nonce + "  "}},
	{"a query", "GET /ws?token=a%20b HTTP/1.1", []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"an absolute URI", "GET http://chat.example/ws HTTP/1.1", []string{"Host: chat.example", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"a subprotocol and an extension offered", "GET /ws HTTP/1.1", []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce, "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: x-unknown; a=1"}},
	{"a browser's fields", "GET /ws HTTP/1.1", []string{"Connection: keep-alive, Upgrade", "Pragma: no-cache", "Cache-Control: no-cache", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Upgrade: websocket", "Accept-Encoding: gzip, deflate, br, zstd", "Cookie: a=" + strings.Repeat("c", 3000), "Sec-WebSocket-Key: " + nonce, "Sec-WebSocket-Version: 13"}},
}

func upgradeCases() []testCase {
	var cases []testCase
	for _, row := range good {
		cases = append(cases, testCase{name: "upgraded: " + row.name, run: func(tr *trial) {
			p := tr.dial()
			p.write(tr.request(row.line, row.fields...))
			s := p.wantUpgraded()
			s.ping()
		}})
	}
	return cases
}

// refusals are upgrade requests on /ws that must not be answered 101. status 0: any from 400 on.
var refusals = []struct {
	name, line string
	status     int
	fields     []string
}{
	{"no Upgrade", "GET /ws HTTP/1.1", 426, []string{"Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"a plain GET", "GET /ws HTTP/1.1", 426, nil},
	{"another Upgrade", "GET /ws HTTP/1.1", 426, []string{"Upgrade: h2c", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"no Connection", "GET /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"Connection: keep-alive", "GET /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: keep-alive", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"no version", "GET /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: " + nonce}},
	{"version 8", "GET /ws HTTP/1.1", 426, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: " + nonce}},
	{"version 14", "GET /ws HTTP/1.1", 426, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 14", "Sec-WebSocket-Key: " + nonce}},
	{"version x", "GET /ws HTTP/1.1", 426, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: x", "Sec-WebSocket-Key: " + nonce}},
	{"no key", "GET /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"}},
	{"an empty key", "GET /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key:"}},
	{"a key of 15 bytes", "GET /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key(15)}},
	{"a key of 17 bytes", "GET /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key(17)}},
	{"a key that is no base64", "GET /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="}},
	{"two keys", "GET /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce, "Sec-WebSocket-Key: " + nonce}},
	{"POST", "POST /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"HEAD", "HEAD /ws HTTP/1.1", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"no Host", "GET /ws HTTP/1.1", 400, []string{noHost, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"two Hosts", "GET /ws HTTP/1.1", 400, []string{"Host: a", "Host: b", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"HTTP/1.0", "GET /ws HTTP/1.0", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"HTTP/2.0", "GET /ws HTTP/2.0", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"no HTTP version", "GET /ws", 0, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"a body with a length", "GET /ws HTTP/1.1", 0, []string{"Content-Length: 5", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"a chunked body", "GET /ws HTTP/1.1", 0, []string{"Transfer-Encoding: chunked", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
	{"a field without a colon", "GET /ws HTTP/1.1", 400, []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "nonsense", "Sec-WebSocket-Key: " + nonce}},
	{"a blank before the colon", "GET /ws HTTP/1.1", 400, []string{"Upgrade : websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}},
}

func key(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // it never fails
	return base64.StdEncoding.EncodeToString(b)
}

func refusalCases() []testCase {
	var cases []testCase
	for _, row := range refusals {
		detail := row.name == "HTTP/1.0" || row.name == "two Hosts" || row.name == "a blank before the colon"
		cases = append(cases, testCase{name: "refused: " + row.name, detail: detail, run: func(tr *trial) {
			p := tr.dial()
			p.write(tr.request(row.line, row.fields...))
			if strings.Contains(row.name, "body") {
				p.write("0\r\n\r\n")
			}
			method, _, _ := strings.Cut(row.line, " ")
			r := p.readResponse(method)
			if r.StatusCode < 400 || row.status != 0 && r.StatusCode != row.status {
				tr.Errorf("answered with %s, want %v (0 is any from 400 on)", r.Status, row.status)
			}
			if got := r.Header.Get("Sec-WebSocket-Version"); r.StatusCode == http.StatusUpgradeRequired && got != "13" {
				tr.Errorf("a 426 has Sec-WebSocket-Version %q, want 13", got)
			}
		}})
	}
	return cases
}

// strangers speak another protocol.
func strangers() map[string]string {
	return map[string]string{
		"junk":                       "\x00\x01\x02\xff\xfe garbage\r\n\r\n",
		"a line of words":            "hello this is no request line at all\r\n\r\n",
		"HTTP/2 preface":             "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"TLS hello":                  tlsHello(),
		"SSH":                        "SSH-2.0-OpenSSH_9.2\r\n",
		"a frame without handshake":  text(`{"path":"/ping"}`) + strings.Repeat("\x00", 100),
		"a request with bad version": "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
	}
}

// tlsHello is what a client of TLS says first.
func tlsHello() string {
	var hello bytes.Buffer
	client, server := net.Pipe()
	handshake := make(chan error, 1)
	go func() { handshake <- tls.Client(client, &tls.Config{ServerName: "chat.example"}).Handshake() }()
	buffer := make([]byte, 4096)
	n, _ := server.Read(buffer) // net.Pipe gives the whole write
	hello.Write(buffer[:n])
	_ = server.Close() // ends the handshake, which must fail
	<-handshake
	return hello.String()
}

func strangerCases() []testCase {
	var cases []testCase
	for name, bytes := range strangers() {
		cases = append(cases, testCase{name: "stranger: " + name, run: func(tr *trial) {
			p := tr.dial()
			p.write(bytes)
			rest, err := p.readEnd()
			if len(rest) == 0 && err != nil {
				tr.Errorf("the connection ended with %v, want a refusal or a clean end", err)
			}
			if len(rest) > 0 && !refuses(string(rest)) {
				tr.Errorf("answered with %.300q, want a refusal", rest)
			}
			tr.get("/live", http.StatusOK)
		}})
	}
	slices.SortFunc(cases, func(a, b testCase) int { return strings.Compare(a.name, b.name) })
	return cases
}

func refuses(answer string) bool {
	return strings.HasPrefix(answer, "HTTP/1.1 4") || strings.HasPrefix(answer, "HTTP/1.1 5")
}

func libraryClient(tr *trial) {
	for _, compressed := range []bool{false, true} {
		dialer := websocket.Dialer{HandshakeTimeout: patience, EnableCompression: compressed}
		conn, _, err := dialer.Dial("ws://"+tr.address+"/ws", http.Header{"Origin": {"http://" + tr.address}})
		if err != nil {
			tr.Fatalf("dial with compression offered %v: %v", compressed, err)
		}
		tr.Cleanup(func() { _ = conn.Close() }) // the answer has been seen
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			tr.Fatal(err)
		}
		if err := conn.WriteJSON(map[string]any{"path": "/ping", "id": 1}); err != nil {
			tr.Fatal(err)
		}
		var answer map[string]any
		if err := conn.ReadJSON(&answer); err != nil || answer["id"] != 1.0 || answer["result"] == nil {
			tr.Errorf("answered with %v, %v", answer, err)
		}
	}
}

func headSplit(tr *trial) {
	head := tr.upgradeRequest("/ws")
	for i := 1; i < len(head); i++ {
		p := tr.dial()
		p.write(head[:i])
		p.write(head[i:])
		p.wantUpgraded().ping()
		_ = p.conn.Close() // the cleanup would, after two hundred more
	}
}

func headDribbled(tr *trial) {
	p := tr.dial()
	for _, b := range []byte(tr.upgradeRequest("/ws")) {
		p.write(string(b))
	}
	p.wantUpgraded().ping()
}

func frameWithUpgrade(tr *trial) {
	p := tr.dial()
	p.write(tr.upgradeRequest("/ws") + text(`{"path":"/ping","id":1}`))
	if a := p.wantUpgraded().answer(); string(a.ID) != "1" || a.Error != nil {
		tr.Errorf("answered with %s", a.raw)
	}
}

func framesWithUpgrade(tr *trial) {
	all := tr.upgradeRequest("/ws")
	for i := range 10 {
		all += text(fmt.Sprintf(`{"path":"/ping","id":%d}`, i))
	}
	p := tr.dial()
	p.write(all[:len(all)-7])
	s := p.wantUpgraded()
	for i := range 9 {
		if a := s.answer(); string(a.ID) != fmt.Sprint(i) {
			tr.Fatalf("answer number %d is %s", i, a.raw)
		}
	}
	p.write(all[len(all)-7:])
	if a := s.answer(); string(a.ID) != "9" {
		tr.Errorf("the last answer is %s", a.raw)
	}
}

func upgradeBehindRequest(tr *trial) {
	p := tr.dial()
	for range 3 {
		p.write(tr.request("GET /hello HTTP/1.1"))
		p.wantStatus("GET", http.StatusOK)
	}
	p.write(tr.upgradeRequest("/ws"))
	s := p.wantUpgraded()
	s.ping()
	s.write(frame(fin|opPing, "still here"))
	s.wantFrame(opPong, "still here")
	s.write(frame(fin|opClose, closePayload(1000, "")))
	s.wantClose(1000)
}

func upgradePipelined(tr *trial) {
	p := tr.dial()
	p.write(tr.request("GET /live HTTP/1.1") + tr.upgradeRequest("/ws"))
	p.wantStatus("GET", http.StatusOK)
	p.wantUpgraded().ping()
}

func upgradeBehindRefusal(tr *trial) {
	p := tr.dial()
	p.write(tr.request("GET /ws HTTP/1.1"))
	if r := p.wantStatus("GET", http.StatusUpgradeRequired); r.Close {
		return // a server may end the connection after a refusal, if it says so
	}
	p.write(tr.upgradeRequest("/ws"))
	p.wantUpgraded().ping()
}

func upgradeElsewhere(tr *trial) {
	for _, path := range []string{"/", "/ws/", "/WS", "/live", "/metrics", "/nope", "/%77s/x", "/wss"} {
		p := tr.dial()
		p.write(tr.upgradeRequest(path))
		p.wantStatus("GET", http.StatusNotFound)
	}
}

func upgradeUnechoed(tr *trial) {
	p := tr.on(tr.shared()).dial()
	p.write(p.upgradeRequest("/echo"))
	p.wantStatus("GET", http.StatusNotFound)
}

// endlessHead sends fields until the server has had enough.
func endlessHead(tr *trial) {
	p := tr.dial()
	p.write("GET /ws HTTP/1.1\r\nHost: x\r\n")
	field := "X-Filler: " + strings.Repeat("f", 1000) + "\r\n"
	for range 10_000 { // 10 MB
		if p.tryWrite(field) != nil {
			break
		}
	}
	rest, _ := p.readEnd() // a refusal may be lost when the connection is reset
	if len(rest) > 0 && !refuses(string(rest)) {
		tr.Errorf("answered with %.300q, want a refusal", rest)
	}
	tr.wantServing()
}

// The time for a head in these cases; and what the design says that a server may take to end it.
const (
	headTime    = 2 * time.Second
	headTimeMax = 3 * headTime
)

func (tr *trial) withHeadTime() *trial {
	return tr.on(tr.shared("--handshake-timeout=" + headTime.String()))
}

func (tr *trial) wantLateHeadEnded(start string) {
	p := tr.withHeadTime().dial()
	from := time.Now()
	p.write(start)
	p.wantEndBy(from.Add(headTimeMax))
}

// wantEndBy fails the case unless the server ends the connection in time, with a refusal at most.
func (p *peer) wantEndBy(deadline time.Time) {
	p.Helper()
	rest, _ := p.readEnd() // any end is one
	if late := time.Since(deadline); late > 0 {
		p.Errorf("the connection was ended %v too late", late)
	}
	if len(rest) > 0 && !refuses(string(rest)) {
		p.Errorf("answered with %.300q, want a refusal", rest)
	}
}

func dribblingIsLate(tr *trial) {
	p := tr.withHeadTime().dial()
	deadline := time.Now().Add(headTimeMax)
	p.write("GET /ws HTTP/1.1\r\nX: ")
	// One byte at a time, until the server ends the connection or is late.
	for time.Now().Before(deadline) && p.tryWrite("x") == nil {
		time.Sleep(50 * time.Millisecond)
	}
	p.wantEndBy(deadline)
}

func laterHeadIsLate(tr *trial) {
	p := tr.withHeadTime().dial()
	p.write(p.request("GET /live HTTP/1.1"))
	p.wantStatus("GET", http.StatusOK)
	time.Sleep(headTime * 3 / 2) // idle between requests is no handshake
	p.write(p.request("GET /live HTTP/1.1"))
	p.wantStatus("GET", http.StatusOK)
	from := time.Now()
	p.write("GET /live HTTP/1.1\r\nHo")
	p.wantEndBy(from.Add(headTimeMax))
}

func resetsInHandshake(tr *trial) {
	head := tr.upgradeRequest("/ws")
	for _, start := range []string{"", "G", head[:40], head, head + text(`{"path":"/ping"}`), head + text("x")[:3],
		tr.request("GET /live HTTP/1.1"), tr.request("GET /metrics HTTP/1.1") + "GET /l", "\x16\x03\x01", "PRI * "} {
		for range 5 {
			p := tr.dial()
			p.write(start)
			p.reset()
		}
	}
	tr.wantServing()
}
