package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHandshakeAtEverySplit(t *testing.T) {
	s := newTestServer(t, config{Loops: 1}, testDescriptors)
	stop := startServer(t, s)
	request := append(upgradeRequest("/echo?who=x"), masked(textFrame, []byte("at once"))...)
	want := append(bytes.Clone(upgradeAnswer), plainFrame(textFrame, []byte("at once"))...)
	for split := range request {
		p := dial(t, s)
		if split > 0 {
			p.write(request[:split])
			awaitRead(t, s)
		}
		p.write(request[split:])
		p.wantBytes(want)
		p.sync()
		if split == len(request)-1 {
			break // this one stays
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		awaitConnections(t, s, 0)
	}
	stop()
	if l := s.loops[0]; len(l.unfinished) > 0 || len(l.unsent) > 0 {
		t.Errorf("connections that have nothing under way have %d beginnings and %d ends", len(l.unfinished), len(l.unsent))
	}
}

func TestPlainRequests(t *testing.T) {
	s := start(t, config{Loops: 2})
	answer := func(request string) string {
		t.Helper()
		p := dial(t, s)
		p.write([]byte(request))
		b, err := io.ReadAll(p.reader)
		if err != nil && !errors.Is(err, unix.ECONNRESET) {
			t.Fatal(err)
		}
		return string(b)
	}
	request := func(line string) string { return line + " HTTP/1.1\r\nHost: x\r\n\r\n" }
	tests := []struct{ request, status string }{
		{request("GET /live"), "200 OK"},
		{request("GET /ready"), "503 Service Unavailable"},
		{request("GET /"), "404 Not Found"},
		{request("GET /ws"), "404 Not Found"},
		{request("GET /wsx"), "404 Not Found"},
		{request("POST /live"), "404 Not Found"},
		{"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "404 Not Found"},
		{"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: short\r\n\r\n", "404 Not Found"},
		{"GET /ws HTTP/1.1\r\nSec-WebSocket-Key: " + exampleKey + "\r\n\r\n", "404 Not Found"},
		{strings.Replace(string(upgradeRequest("/other")), "x", "y", 1), "404 Not Found"},
		{"\x16\x03\x01\x02\x00", "404 Not Found"},
		{"GET /live HTTP/1.1\r\nX: " + strings.Repeat("x", maxHeadBytes), "431 Request Header Fields Too Large"},
	}
	for _, test := range tests {
		got := answer(test.request)
		if !strings.HasPrefix(got, "HTTP/1.1 "+test.status+"\r\n") || !strings.Contains(got, "\r\nConnection: close\r\n") {
			t.Errorf("%.60q: got %q, want %s", test.request, got, test.status)
		}
	}
	s.ready.Store(true)
	if got := answer(request("GET /ready")); got != string(answerReady) {
		t.Errorf("when the feed has caught up: %q", got)
	}
}
