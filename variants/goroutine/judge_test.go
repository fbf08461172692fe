package main

import (
	"strings"
	"testing"
)

func TestMaybeRequest(t *testing.T) {
	for text, want := range map[string]bool{
		"G": true, "GET": true, "GET / HTTP/1.1\r\n": true, "M-SEARCH * HTTP/1.1": true, "\r\nGET /": true, "\n": true,
		" GET /": false, "\x00": false, "GE\x00T /": false, "GET\r\n": false, "\xc3\xa9 /": false,
		strings.Repeat("X", longestMethod): true, strings.Repeat("X", longestMethod+1): false,
	} {
		if got := maybeRequest([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
