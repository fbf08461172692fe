package client

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
)

const (
	maxHeadBytes = 8 << 10
	acceptGUID   = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// errNotHTTP is no ProtocolError: most likely the address is another program's.
var errNotHTTP = errors.New("the answer to the upgrade is not HTTP/1.1")

// key derives a connection's Sec-WebSocket-Key, so that nothing need be kept until the answer comes. It differs
// between connections and between sockets of one connection; it is not secret.
func (l *Loop) key(i int, generation uint16) (key [24]byte) {
	var raw [16]byte
	source := rand.NewPCG(l.config.Seed, uint64(generation)<<48|uint64(i))
	binary.NativeEndian.PutUint64(raw[:8], source.Uint64())
	binary.NativeEndian.PutUint64(raw[8:], source.Uint64())
	base64.StdEncoding.Encode(key[:], raw[:])
	return key
}

func appendUpgrade(b []byte, path, host string, key [24]byte) []byte {
	b = append(b, "GET "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	b = append(b, key[:]...)
	return append(b, "\r\n\r\n"...)
}

// parseUpgrade checks the answer to an upgrade request and returns its length, or 0 if b ends before the head does.
func parseUpgrade(b []byte, key [24]byte) (int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > maxHeadBytes {
			return 0, ProtocolError("answer to the upgrade longer than 8 KiB")
		}
		return 0, nil
	}
	status, headers, _ := bytes.Cut(b[:end], []byte("\r\n"))
	if err := checkStatus(status); err != nil {
		return 0, err
	}
	return end + 4, checkUpgradeHeaders(headers, key)
}

func checkStatus(line []byte) error {
	status, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !ok {
		return errNotHTTP
	}
	if !bytes.HasPrefix(status, []byte("101 ")) && !bytes.Equal(status, []byte("101")) {
		return RefusedError(status)
	}
	return nil
}

func checkUpgradeHeaders(headers []byte, key [24]byte) error {
	var upgrade, connection, accept bool
	for line := range bytes.SplitSeq(headers, []byte("\r\n")) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return ProtocolError("header line without a colon in the answer to the upgrade")
		}
		value = bytes.TrimSpace(value)
		switch {
		case isHeader(name, "Upgrade"):
			upgrade = isHeader(value, "websocket")
		case isHeader(name, "Connection"):
			connection = connection || hasToken(value, "upgrade")
		case isHeader(name, "Sec-WebSocket-Accept"):
			want := acceptFor(key)
			accept = bytes.Equal(value, want[:])
		case isHeader(name, "Sec-WebSocket-Extensions"), isHeader(name, "Sec-WebSocket-Protocol"):
			return ProtocolError(fmt.Sprintf("%s in the answer, though none was offered", name))
		}
	}
	switch {
	case !upgrade:
		return ProtocolError("101 without Upgrade: websocket")
	case !connection:
		return ProtocolError("101 without Connection: Upgrade")
	case !accept:
		return ProtocolError("101 whose Sec-WebSocket-Accept is missing or wrong")
	}
	return nil
}

func isHeader(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

func hasToken(list []byte, want string) bool {
	for token := range bytes.SplitSeq(list, []byte(",")) {
		if isHeader(bytes.TrimSpace(token), want) {
			return true
		}
	}
	return false
}

func acceptFor(key [24]byte) (accept [28]byte) {
	var text [24 + len(acceptGUID)]byte
	copy(text[:], key[:])
	copy(text[24:], acceptGUID)
	sum := sha1.Sum(text[:])
	base64.StdEncoding.Encode(accept[:], sum[:])
	return accept
}
