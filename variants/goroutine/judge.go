package main

import (
	"bytes"
	"net/http"
	"strconv"

	"chatmonitor/server/monitor"
)

// Answers to what is no request, or one too many. Whatever is one is answered by net/http.
var (
	requestTimeout = refusal("408 Request Timeout", "the request head did not come in time")
	notHTTP        = refusal("400 Bad Request", "this port speaks HTTP/1.1 and WebSocket, and this is neither")
	noTLS          = refusal("400 Bad Request", "this port does not speak TLS: put a TLS proxy before it, or use http:// and ws://")
	noHTTP2        = refusal("505 HTTP Version Not Supported", "this port speaks HTTP/1.1, not HTTP/2")
	full           = refusal("503 Service Unavailable", fullText)
	crowdedAddress = refusal("503 Service Unavailable", "your address has as many connections as it may")
)

const (
	fullText    = "the server has as many connections as it may"
	leavingText = "the server is leaving"
)

func refusal(status, text string) []byte {
	return []byte("HTTP/1.1 " + status + "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: " +
		strconv.Itoa(len(text)+1) + "\r\n\r\n" + text + "\n")
}

const tlsHandshake = 0x16 // type of a TLS record

var (
	http2Preface = []byte("PRI * HTTP/2.0\r\n")
	headTooLong  = []byte("HTTP/1.1 431 ")
)

// judge looks at a connection's first bytes. Without an answer they may be a request's beginning.
func judge(b []byte) (reason monitor.Reason, answer []byte) {
	switch {
	case b[0] == tlsHandshake:
		return monitor.TLSHello, noTLS
	case bytes.HasPrefix(b, http2Preface):
		return monitor.HTTP2, noHTTP2
	case !maybeRequest(b):
		return monitor.NotHTTP, notHTTP
	}
	return 0, nil
}

// No method that anybody uses is longer.
const longestMethod = 32

// maybeRequest says whether b may be the beginning of a request line: a method is a token, and a space
// follows it (RFC 9112 3). Empty lines before it are net/http's to judge.
func maybeRequest(b []byte) bool {
	if b[0] == '\r' || b[0] == '\n' {
		return true
	}
	method, _, ended := bytes.Cut(b, []byte(" "))
	if len(method) > longestMethod || ended && len(method) == 0 {
		return false
	}
	return !bytes.ContainsFunc(method, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isTooLong says whether an answer is net/http's to a head over the limit.
func isTooLong(answer []byte) bool { return bytes.HasPrefix(answer, headTooLong) }

// refuse answers a request that comes when there is no room, or no time.
func (s *server) refuse(w http.ResponseWriter, reason monitor.Reason, text string) {
	s.app.stats.Refused(reason).Add(1)
	w.Header().Set("Connection", "close")
	http.Error(w, text, http.StatusServiceUnavailable)
}
