package reactor

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"chatmonitor/server/monitor"
)

func TestParseHead(t *testing.T) {
	mask := "\x01\x02\x03\x04"
	for _, c := range []struct {
		name, bytes string
		length      int64
		broken      bool
	}{
		{"empty text", "\x81\x80" + mask, 0, false},
		{"125 bytes", "\x82\xfd" + mask, 125, false},
		{"126 bytes in two", "\x81\xfe\x00\x7e" + mask, 126, false},
		{"65535 bytes", "\x81\xfe\xff\xff" + mask, 65535, false},
		{"65536 bytes in eight", "\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00" + mask, 65536, false},
		{"the longest that there is", "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + mask, 1<<63 - 1, false},
		{"125 bytes in two are not minimal", "\x81\xfe\x00\x7d" + mask, 0, true},
		{"65535 bytes in eight are not minimal", "\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff" + mask, 0, true},
		{"bit 63 is set", "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00" + mask, 0, true},
		{"no mask", "\x81\x05", 0, true},
		{"a reserved bit", "\xc1\x80" + mask, 0, true},
		{"a reserved opcode", "\x83\x80" + mask, 0, true},
		{"a reserved control opcode", "\x8b\x80" + mask, 0, true},
		{"a fragmented ping", "\x09\x80" + mask, 0, true},
		{"a ping of 126 bytes", "\x89\xfe\x00\x7e" + mask, 0, true},
	} {
		h, ok, broken := parseHead([]byte(c.bytes))
		if broken != c.broken || !broken && (!ok || h.Length != c.length || h.bytes != len(c.bytes)) {
			t.Errorf("%s: got %+v, %v, %v", c.name, h, ok, broken)
		}
		if _, _, broken := parseHead([]byte(c.bytes)); !broken { // the length is known with the last byte before the mask
			for n := range len(c.bytes) + 1 {
				if h, _, _ := parseHead([]byte(c.bytes[:n])); h.known != (n >= len(c.bytes)-len(mask)) {
					t.Errorf("%s: with %d bytes the length is known: %v", c.name, n, h.known)
				}
			}
		}
		for n := range len(c.bytes) { // a part is incomplete, or known to be broken already
			if _, ok, broken := parseHead([]byte(c.bytes[:n])); ok || broken && !c.broken {
				t.Errorf("%s, first %d bytes: ok %v, broken %v", c.name, n, ok, broken)
			}
		}
	}
}

func TestCheckClose(t *testing.T) {
	for _, c := range []struct {
		payload string
		fault   monitor.Reason
		ok      bool
	}{
		{"", 0, true}, {"\x03\xe8", 0, true}, {"\x03\xe8bye", 0, true}, {"\x0b\xb8", 0, true}, {"\x13\x87", 0, true}, {"\x03\xf6", 0, true},
		{"\x03", monitor.ProtocolError, false}, {"\x03\xe7", monitor.ProtocolError, false}, {"\x03\xec", monitor.ProtocolError, false},
		{"\x03\xed", monitor.ProtocolError, false}, {"\x03\xee", monitor.ProtocolError, false}, {"\x03\xf7", monitor.ProtocolError, false},
		{"\x0b\xb7", monitor.ProtocolError, false}, {"\x13\x88", monitor.ProtocolError, false}, {"\x03\xe8\xff", monitor.InvalidPayload, false},
	} {
		if fault, ok := checkClose([]byte(c.payload)); ok != c.ok || !ok && fault != c.fault {
			t.Errorf("%q: got %v, %v", c.payload, fault, ok)
		}
	}
}

func TestFrameIsWhatGobwasCompiles(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 100000} {
		payload := bytes.Repeat([]byte("x"), n)
		if !bytes.Equal(frame(ws.OpText, payload), ws.MustCompileFrame(ws.NewTextFrame(payload))) {
			t.Errorf("the frame of %d bytes differs", n)
		}
	}
}

func TestHeadEnd(t *testing.T) {
	for _, head := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nA: b\n\r\n"} {
		if got := headEnd([]byte(head + "rest\r\n\r\n")); got != len(head) {
			t.Errorf("%q: ends at %d, not %d", head, got, len(head))
		}
		for n := range len(head) {
			if got := headEnd([]byte(head[:n])); got != -1 {
				t.Errorf("%q: ends at %d", head[:n], got)
			}
		}
	}
}

func TestPlainHead(t *testing.T) {
	const line, version = "GET /ws HTTP/1.1\r\n", "Sec-WebSocket-Version: 13\r\n"
	const host, key = "Host: x\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, c := range []struct {
		fields string
		want   bool
	}{
		{host + key, true},
		{"hOST:x\r\nsec-websocket-KEY:dGhlIHNhbXBsZSBub25jZQ==  \r\n", true},
		{host, false},
		{"Host:\r\n" + key, false},
		{"Host: a b\r\n" + key, false},
		{"Host: x/y\r\n" + key, false},
		{"Host: [::1]:8080\r\n" + key, true},
		{host + key + "X: a\x00b\r\n", false},
		{host + key + "X: a\tb\xff\r\n", true},
		{key, false},
		{host + host + key, false},
		{host + key + key, false},
		{host + key + "Upgrade : websocket\r\n", false},
		{host + key + " folded\r\n", false},
		{host + key + "no colon\r\n", false},
		{host + key + ": no name\r\n", false},
		{host + "Sec-WebSocket-Key: short\r\n", false},
		{host + "Sec-WebSocket-Key: " + strings.Repeat("A", 24) + "\r\n", false}, // 18 bytes
		{host + "Sec-WebSocket-Key: " + strings.Repeat("A", 240) + "\r\n", false},
		{host + "Sec-WebSocket-Key: " + strings.Repeat("*", 24) + "\r\n", false},
	} {
		if got := plain([]byte(line + version + c.fields + "\r\n")); got != c.want {
			t.Errorf("%q: got %v", c.fields, got)
		}
	}
	for head, want := range map[string]bool{
		line + host + key + version:                              true,
		"GET /ws?\xc3\xa4=%zz HTTP/1.1\n" + host + key + version: true,
		line + host + key:                                        false,
		line + host + key + version + version:                    false,
		"GET /ws?\x00 HTTP/1.1\r\n" + host + key + version:       false,
		"GET /ws?\t HTTP/1.1\r\n" + host + key + version:         false,
		"GET /ws?\r HTTP/1.1\r\n" + host + key + version:         false,
		"GET /ws HTTP/1.1\r\r\n" + host + key + version:          false,
		"GET /ws HTTP/1.10\r\n" + host + key + version:           false,
		"GET /ws HTTP/01.1\r\n" + host + key + version:           false,
		line + "Host: x\r\r\n" + key + version:                   false,
		line + host + "\r\r\n" + key + version:                   false,
	} {
		if got := plain([]byte(head + "\r\n")); got != want {
			t.Errorf("%q: got %v", head, got)
		}
	}
}
