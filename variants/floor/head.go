package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
)

const (
	maxHeadBytes = 16 << 10
	acceptGUID   = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	upgradeHead  = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
	endOfHead    = "\r\n\r\n"
)

var (
	answerLive     = plain("200 OK", "alive\n")
	answerReady    = plain("200 OK", "ready\n")
	answerNotReady = plain("503 Service Unavailable", "not every partition of the topic is being read yet\n")
	answerNotFound = plain("404 Not Found", "there are /ws and /echo, for WebSockets, and /live and /ready\n")
	answerTooLong  = plain("431 Request Header Fields Too Large", "the request head is longer than "+strconv.Itoa(maxHeadBytes)+" bytes\n")
	answerFull     = plain("503 Service Unavailable", "there are as many connections as the descriptor limit allows\n")
)

func plain(status, body string) []byte {
	return []byte("HTTP/1.1 " + status + "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: " +
		strconv.Itoa(len(body)) + endOfHead + body)
}

// takeHead answers the request at the front of b when its head is complete, and returns what follows it. over tells
// that the answer is the end.
func (l *loop) takeHead(fd int, b []byte) (rest []byte, over bool) {
	method := []byte("GET ")
	if n := min(len(b), len(method)); !bytes.Equal(b[:n], method[:n]) {
		l.out = append(l.out, answerNotFound...)
		return nil, true
	}
	end := bytes.Index(b[:min(len(b), maxHeadBytes)], []byte(endOfHead))
	switch {
	case end >= 0:
		return b[end+len(endOfHead):], l.answerRequest(fd, b[len(method):end])
	case len(b) >= maxHeadBytes:
		l.out = append(l.out, answerTooLong...)
		return nil, true
	}
	return b, false
}

// answerRequest makes the connection a WebSocket, or answers for the last time.
func (l *loop) answerRequest(fd int, head []byte) (over bool) {
	line, headers, _ := bytes.Cut(head, []byte("\r\n"))
	target, _, _ := bytes.Cut(line, []byte(" "))
	path, _, _ := bytes.Cut(target, []byte("?"))
	answer := answerNotFound
	switch string(path) {
	case "/ws", "/echo":
		if key, ok := upgradeKey(headers); ok {
			l.out = appendUpgrade(l.out, key)
			l.upgraded(fd, string(path) == "/echo")
			return false
		}
	case "/live":
		answer = answerLive
	case "/ready":
		if answer = answerNotReady; l.server.ready.Load() {
			answer = answerReady
		}
	}
	l.out = append(l.out, answer...)
	return true
}

func (l *loop) upgraded(fd int, echoes bool) {
	switch {
	case echoes:
		l.setState(fd, echoing)
	case l.server.takePlace():
		l.setState(fd, receiver)
		l.receivers = append(l.receivers, fd)
		l.receiving.Add(1)
	default:
		l.setState(fd, chatting)
	}
}

// upgradeKey gives the key of a request for a WebSocket.
func upgradeKey(headers []byte) (key []byte, ok bool) {
	asks := false
	for line := range bytes.SplitSeq(headers, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Upgrade")):
			asks = bytes.EqualFold(bytes.TrimSpace(value), []byte("websocket"))
		case bytes.EqualFold(name, []byte("Sec-WebSocket-Key")):
			key = bytes.TrimSpace(value)
		}
	}
	return key, asks && len(key) == base64.StdEncoding.EncodedLen(16)
}

func appendUpgrade(b, key []byte) []byte {
	var text [24 + len(acceptGUID)]byte
	copy(text[copy(text[:], key):], acceptGUID)
	sum := sha1.Sum(text[:])
	b = base64.StdEncoding.AppendEncode(append(b, upgradeHead...), sum[:])
	return append(b, endOfHead...)
}
