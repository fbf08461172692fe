package client

import (
	"errors"
	"strings"
	"testing"
)

// sampleKey and sampleAccept are the example of RFC 6455, section 1.3.
var sampleKey = [24]byte([]byte("dGhlIHNhbXBsZSBub25jZQ=="))

const sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

const goodAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + sampleAccept + "\r\n\r\n"

func TestParseUpgrade(t *testing.T) {
	for _, row := range []struct {
		sentence string
		answer   string
		want     string // part of the error; "" if the answer is good
	}{
		{"the example of the RFC", goodAnswer, ""},
		{"names and tokens in any case, among others, with space", "HTTP/1.1 101 ok\r\nUPGRADE:WebSocket \r\nconnection: keep-alive, upgrade\r\nServer: x\r\nsec-websocket-accept:  " + sampleAccept + "\r\n\r\n", ""},
		{"the key's answer in another case is another answer", strings.ToUpper(goodAnswer[:20]) + strings.ReplaceAll(goodAnswer[20:], "s3p", "S3P"), "Accept"},
		{"no answer to the key", strings.Replace(goodAnswer, "Accept", "Nothing", 1), "Accept"},
		{"no upgrade", strings.Replace(goodAnswer, "websocket", "h2c", 1), "Upgrade: websocket"},
		{"no connection header", strings.Replace(goodAnswer, "Connection: Upgrade", "Connection: close", 1), "Connection: Upgrade"},
		{"an extension nobody offered", strings.Replace(goodAnswer, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 1), "none was offered"},
		{"a subprotocol nobody offered", strings.Replace(goodAnswer, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n", 1), "none was offered"},
		{"a line that is no header", strings.Replace(goodAnswer, "Upgrade: websocket", "Upgrade websocket", 1), "without a colon"},
		{"a refusal, with its reason", "HTTP/1.1 503 Service Unavailable\r\n\r\n", "upgrade refused: 503 Service Unavailable"},
		{"not HTTP at all", "SSH-2.0-OpenSSH\r\n\r\n", "not HTTP/1.1"},
		{"HTTP/1.0 cannot upgrade", "HTTP/1.0 101 Switching Protocols\r\n\r\n", "not HTTP/1.1"},
		{"a head without end", strings.Repeat("x", maxHeadBytes+1), "longer than 8 KiB"},
	} {
		n, err := parseUpgrade([]byte(row.answer), sampleKey)
		switch {
		case row.want == "" && (err != nil || n != len(row.answer)):
			t.Errorf("%s: length %d of %d, error %v", row.sentence, n, len(row.answer), err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: error %v, want one about %q", row.sentence, err, row.want)
		}
	}
}

func TestParseUpgradeWaitsForTheLastByte(t *testing.T) {
	for cut := range len(goodAnswer) {
		if n, err := parseUpgrade([]byte(goodAnswer[:cut]), sampleKey); n != 0 || err != nil {
			t.Fatalf("the first %d bytes give length %d, error %v", cut, n, err)
		}
	}
	if n, err := parseUpgrade([]byte(goodAnswer+"\x81\x00"), sampleKey); n != len(goodAnswer) || err != nil {
		t.Errorf("with a frame behind: length %d, error %v", n, err)
	}
}

func TestRefusalIsNoProtocolError(t *testing.T) {
	_, err := parseUpgrade([]byte("HTTP/1.1 429 Slow Down\r\n\r\n"), sampleKey)
	var refused RefusedError
	if !errors.As(err, &refused) || string(refused) != "429 Slow Down" {
		t.Errorf("got %v", err)
	}
}

func TestKeysDiffer(t *testing.T) {
	l := &Loop{config: Config{Seed: 1}}
	seen := map[[24]byte]bool{}
	for i := range 1000 {
		for generation := range uint16(3) {
			seen[l.key(i, generation)] = true
		}
	}
	if len(seen) != 3000 {
		t.Errorf("%d different keys for 3000 sockets", len(seen))
	}
}
