package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

func httpCases() []testCase {
	return []testCase{
		{name: "/live", run: func(tr *trial) { tr.wantPage("/live", "text/plain") }},
		{name: "/hello", run: func(tr *trial) { tr.wantPage("/hello", "text/plain") }},
		{name: "/metrics", run: func(tr *trial) { tr.wantPage("/metrics", "text/plain") }},
		{name: "/ the console", run: console},
		{name: "/ready", run: ready},
		{name: "unknown paths are 404", run: unknownPaths},
		{name: "/ws without an upgrade is 426", run: withoutUpgrade},
		{name: "a query does not change the page", run: func(tr *trial) { tr.get("/live?verbose=1", http.StatusOK) }},
		{name: "admin paths are 404 on the public port", run: adminOnPublicPort},
		{name: "several requests on one connection", run: keptAlive},
		{name: "pipelined requests are answered in order", run: pipelinedHTTP},
		{name: "pipelined requests in many pieces", run: pipelinedPieces},
		{name: "HEAD", run: head},
		{name: "Connection: close", run: connectionClose},
		{name: "HTTP/1.0", run: http10},
		{name: "a request without Host is 400", run: withoutHost},
		{name: "a request's body that nobody wants", run: unwantedBody},
		{name: "POST /echo", own: true, run: postEcho},
		{name: "POST /echo of the limit, and over it", own: true, run: postEchoLimit},
		{name: "POST /echo chunked", own: true, run: postEchoChunked},
		{name: "POST /echo with Expect: 100-continue", own: true, run: postEchoExpect},
		{name: "POST /echo several times on one connection", own: true, run: postEchoKeptAlive},
		{name: "/echo without an upgrade", own: true, run: getEcho},
		{name: "POST /echo is 404 without --echo", own: true, run: postUnechoed},
		{name: "a body must come in time", own: true, run: lateBody},
		{name: "a refused upgrade's body must come in time", run: lateBodyOfRefusal},
		{name: "admin: profiles", admin: true, run: adminProfiles},
		{name: "admin: POST /gc", admin: true, run: adminGC},
		{name: "admin: /memory", admin: true, run: adminMemory},
		{name: "admin: nothing of the public port", admin: true, run: publicOnAdminPort},
	}
}

func (tr *trial) wantPage(path, contentType string) {
	tr.Helper()
	r := tr.get(path, http.StatusOK)
	if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, contentType) {
		tr.Errorf("%s has Content-Type %q, want %s", path, got, contentType)
	}
	if r.body == "" {
		tr.Errorf("%s is empty", path)
	}
}

func console(tr *trial) {
	tr.wantPage("/", "text/html")
	if body := tr.get("/", http.StatusOK).body; !strings.Contains(strings.ToLower(body), "<html") {
		tr.Errorf("the console is %.200q", body)
	}
}

func ready(tr *trial) {
	tr.wantPage("/ready", "application/json")
	if body := tr.get("/ready", http.StatusOK).body; !json.Valid([]byte(body)) {
		tr.Errorf("/ready is no JSON: %.300q", body)
	}
}

func unknownPaths(tr *trial) {
	for _, path := range []string{"/nope", "/live/", "/Live", "/metrics/x", "/hello.txt", "/ws/x", "/index.html", "/favicon.icon", "/echo"} {
		tr.get(path, http.StatusNotFound)
	}
}

func withoutUpgrade(tr *trial) {
	if r := tr.get("/ws", http.StatusUpgradeRequired); r.Header.Get("Sec-WebSocket-Version") != "13" {
		tr.Errorf("the answer has Sec-WebSocket-Version %q, want 13", r.Header.Get("Sec-WebSocket-Version"))
	}
	tr.get("/ws?x=1", http.StatusUpgradeRequired)
}

func adminOnPublicPort(tr *trial) {
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/memory", "/gc"} {
		tr.get(path, http.StatusNotFound)
	}
	if r := tr.do(http.MethodPost, tr.address, "/gc", ""); r.StatusCode != http.StatusNotFound {
		tr.Errorf("POST /gc: %s, want 404", r.Status)
	}
}

func keptAlive(tr *trial) {
	p := tr.dial()
	for i, path := range []string{"/live", "/metrics", "/hello", "/nope", "/ready", "/", "/live"} {
		p.write(tr.request("GET " + path + " HTTP/1.1"))
		want := http.StatusOK
		if path == "/nope" {
			want = http.StatusNotFound
		}
		if r := p.wantStatus("GET", want); r.Close {
			tr.Fatalf("request %d, %s: the server ends the connection", i, path)
		}
	}
}

// sequence is a number of requests whose answers tell them apart, and the statuses of these.
func (tr *trial) sequence() (requests string, statuses []int) {
	for i := range 12 {
		path, status := "/live", http.StatusOK
		if i%3 == 1 {
			path, status = "/nope", http.StatusNotFound
		} else if i%3 == 2 {
			path, status = "/ws", http.StatusUpgradeRequired
		}
		requests += tr.request("GET " + path + " HTTP/1.1")
		statuses = append(statuses, status)
	}
	return requests, statuses
}

func pipelinedHTTP(tr *trial) {
	p := tr.dial()
	requests, statuses := tr.sequence()
	p.write(requests)
	for _, status := range statuses {
		p.wantStatus("GET", status)
	}
}

func pipelinedPieces(tr *trial) {
	requests, statuses := tr.sequence()
	for size := 1; size < 200; size = size*2 + 1 {
		p := tr.dial()
		for at := 0; at < len(requests); at += size {
			p.write(requests[at:min(at+size, len(requests))])
		}
		for _, status := range statuses {
			p.wantStatus("GET", status)
		}
	}
}

func head(tr *trial) {
	p := tr.dial()
	for range 2 { // a body would be read as the next answer
		p.write(tr.request("HEAD /live HTTP/1.1"))
		p.wantStatus("HEAD", http.StatusOK)
	}
	p.write(tr.request("GET /live HTTP/1.1"))
	if r := p.wantStatus("GET", http.StatusOK); r.body == "" {
		tr.Errorf("GET behind HEAD has no body")
	}
}

func connectionClose(tr *trial) {
	p := tr.dial()
	p.write(tr.request("GET /live HTTP/1.1", "Connection: close"))
	if r := p.wantStatus("GET", http.StatusOK); !r.Close {
		tr.Errorf("the answer does not say Connection: close")
	}
	p.wantEnd()
}

func http10(tr *trial) {
	p := tr.dial()
	p.write(tr.request("GET /live HTTP/1.0"))
	p.wantStatus("GET", http.StatusOK)
	p.wantEnd()
}

func withoutHost(tr *trial) {
	p := tr.dial()
	p.write(tr.request("GET /live HTTP/1.1", noHost))
	p.wantStatus("GET", http.StatusBadRequest)
}

func unwantedBody(tr *trial) {
	p := tr.dial()
	p.write(tr.request("POST /nope HTTP/1.1", "Content-Length: 10") + "0123456789")
	p.wantStatus("POST", http.StatusNotFound)
	p.write(tr.request("GET /live HTTP/1.1"))
	p.wantStatus("GET", http.StatusOK)
}

func (tr *trial) withEcho() *trial { return tr.on(tr.shared("--echo")) }

func postEcho(tr *trial) {
	away := tr.withEcho()
	for _, body := range []string{"", "x", `{"a":"代练"}`, "\x00\xff\r\n\r\n", strings.Repeat("body", 10_000)} {
		if r := away.do(http.MethodPost, away.address, "/echo", body); r.StatusCode != http.StatusOK || r.body != body {
			tr.Errorf("POST of %d bytes: %s, %d bytes", len(body), r.Status, len(r.body))
		}
	}
}

func postEchoLimit(tr *trial) {
	away := tr.withEcho()
	body := strings.Repeat("b", messageLimitBytes)
	if r := away.do(http.MethodPost, away.address, "/echo", body); r.StatusCode != http.StatusOK || r.body != body {
		tr.Errorf("POST of the limit: %s, %d bytes", r.Status, len(r.body))
	}
	if r := away.do(http.MethodPost, away.address, "/echo", body+"b"); r.StatusCode != http.StatusRequestEntityTooLarge {
		tr.Errorf("POST over the limit: %s, want 413", r.Status)
	}
}

func postEchoChunked(tr *trial) {
	p := tr.withEcho().dial()
	p.write(p.request("POST /echo HTTP/1.1", "Transfer-Encoding: chunked"))
	for _, chunk := range []string{"first ", "second", strings.Repeat("third", 1000)} {
		p.write(fmt.Sprintf("%x\r\n%s\r\n", len(chunk), chunk))
	}
	p.write("0\r\n\r\n")
	if r := p.wantStatus("POST", http.StatusOK); r.body != "first second"+strings.Repeat("third", 1000) {
		tr.Errorf("the body came back as %.100q (%d bytes)", r.body, len(r.body))
	}
	p.write(p.request("GET /live HTTP/1.1"))
	p.wantStatus("GET", http.StatusOK)
}

func postEchoExpect(tr *trial) {
	p := tr.withEcho().dial()
	p.write(p.request("POST /echo HTTP/1.1", "Content-Length: 5", "Expect: 100-continue"))
	p.wantStatus("POST", http.StatusContinue)
	p.write("hello")
	if r := p.wantStatus("POST", http.StatusOK); r.body != "hello" {
		tr.Errorf("the body came back as %q", r.body)
	}
}

func postEchoKeptAlive(tr *trial) {
	p := tr.withEcho().dial()
	for i := range 20 {
		body := strings.Repeat("b", i*997)
		p.write(p.request("POST /echo HTTP/1.1", fmt.Sprintf("Content-Length: %d", len(body))) + body)
		if r := p.wantStatus("POST", http.StatusOK); r.body != body {
			tr.Fatalf("round %d: %d bytes came back", i, len(r.body))
		}
	}
	p.write(p.upgradeRequest("/echo"))
	s := p.wantUpgraded()
	s.write(frame(fin|opBinary, "\x00"))
	s.wantFrame(opBinary, "\x00")
}

func getEcho(tr *trial) {
	if r := tr.withEcho().get("/echo", http.StatusUpgradeRequired); r.Header.Get("Sec-WebSocket-Version") != "13" {
		tr.Errorf("the answer has Sec-WebSocket-Version %q, want 13", r.Header.Get("Sec-WebSocket-Version"))
	}
}

func postUnechoed(tr *trial) {
	away := tr.on(tr.shared())
	if r := away.do(http.MethodPost, away.address, "/echo", "x"); r.StatusCode != http.StatusNotFound {
		tr.Errorf("POST /echo: %s, want 404", r.Status)
	}
}

// A body has 10 s. What is answered is left open; that the request ends is not.
func lateBody(tr *trial) {
	p := tr.withEcho().dial()
	p.write(p.request("POST /echo HTTP/1.1", "Content-Length: 5") + "he")
	p.wantEndBy(time.Now().Add(patience))
}

func lateBodyOfRefusal(tr *trial) {
	for _, c := range []struct{ request, body string }{
		{"GET /ws HTTP/1.1", "Content-Length: 5"}, {"GET /ws HTTP/1.1", "Transfer-Encoding: chunked"},
		{"POST /ws HTTP/1.1", "Content-Length: 5"}, {"GET /nope HTTP/1.1", "Content-Length: 5"},
	} {
		p := tr.dial()
		p.write(p.request(c.request, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+key(16), c.body))
		defer p.wantEndBy(time.Now().Add(patience)) // all wait at once
	}
}

// adminDo makes a request of the admin listener.
func (tr *trial) adminDo(method, path string) response {
	tr.Helper()
	admin := tr.admin
	if admin == "" {
		admin = tr.shared().Admin
	}
	return tr.do(method, admin, path, "")
}

func adminProfiles(tr *trial) {
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap", "/debug/pprof/cmdline"} {
		if r := tr.adminDo(http.MethodGet, path); r.StatusCode != http.StatusOK || r.body == "" {
			tr.Errorf("%s: %s, %d bytes", path, r.Status, len(r.body))
		}
	}
}

func adminGC(tr *trial) {
	if r := tr.adminDo(http.MethodPost, "/gc"); r.StatusCode != http.StatusOK {
		tr.Errorf("POST /gc: %s, want 200", r.Status)
	}
	if r := tr.adminDo(http.MethodGet, "/gc"); r.StatusCode < 400 {
		tr.Errorf("GET /gc: %s; it changes state and is a POST", r.Status)
	}
}

func adminMemory(tr *trial) {
	r := tr.adminDo(http.MethodGet, "/memory")
	var numbers map[string]float64
	if err := json.Unmarshal([]byte(r.body), &numbers); err != nil {
		tr.Fatalf("/memory: %v: %.300q", err, r.body)
	}
	for _, name := range []string{"/memory/classes/total:bytes", "/memory/classes/heap/objects:bytes", "/sched/goroutines:goroutines"} {
		if numbers[name] <= 0 {
			tr.Errorf("/memory has %s = %v", name, numbers[name])
		}
	}
	if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		tr.Errorf("/memory has Content-Type %q", got)
	}
}

func publicOnAdminPort(tr *trial) {
	for _, path := range []string{"/", "/ws", "/echo", "/metrics", "/nope"} {
		if r := tr.adminDo(http.MethodGet, path); r.StatusCode != http.StatusNotFound {
			tr.Errorf("%s on the admin port: %s, want 404", path, r.Status)
		}
	}
}
