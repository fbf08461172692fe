package main

import (
	"math/rand/v2"
	"strings"
	"testing"

	"chatmonitor/server/monitor"
)

// streams are what a client may send, and the fault, if there is one, in the frame at the end.
var streams = []struct {
	name  string
	good  string // passes
	bad   string // its last byte does not
	fault monitor.Reason
}{
	{"frames of all kinds", masked(0x81, "text") + masked(0x82, "") + masked(0x89, "ping") + masked(0x8a, "") + masked(0x81, strings.Repeat("x", 126)), "", 0},
	{"fragments", masked(0x01, "a") + masked(0x00, "") + masked(0x89, "ping") + masked(0x00, "b") + masked(0x80, "c") + masked(0x81, "d"), "", 0},
	{"exactly the limit", masked(0x81, strings.Repeat("x", 200)) + masked(0x02, strings.Repeat("x", 150)) + masked(0x80, strings.Repeat("x", 50)), "", 0},
	{"nothing behind a Close is looked at", masked(0x88, "\x03\xe8") + "\xff\xff\xff", "", 0},
	{"over the limit", "\x81\xfe\x00", "\xc9", monitor.TooBig},
	{"over the limit by fragments", masked(0x01, strings.Repeat("x", 150)) + masked(0x89, strings.Repeat("x", 100)) + "\x80", "\xb3", monitor.TooBig},
	{"far over the limit", "\x81\xff\x7f\xff\xff\xff\xff\xff\xff", "\xff", monitor.TooBig},
	{"far over the limit by fragments", masked(0x01, "x") + "\x80\xff\x7f\xff\xff\xff\xff\xff\xff", "\xff", monitor.TooBig},
	{"bit 63 of a length", "\x81\xff", "\x80", monitor.ProtocolError},
	{"a length of 125 in 2 bytes", "\x81\xfe\x00", "\x7d", monitor.ProtocolError},
	{"a length of 65535 in 8 bytes", "\x81\xff\x00\x00\x00\x00\x00\x00\xff", "\xff", monitor.ProtocolError},
	{"unmasked", masked(0x81, "ok") + "\x81", "\x02", monitor.ProtocolError},
	{"a reserved bit", masked(0x81, "ok"), "\xc1", monitor.ProtocolError},
	{"a reserved opcode", "", "\x83", monitor.ProtocolError},
	{"a reserved opcode of control", "", "\x8b", monitor.ProtocolError},
	{"a ping in fragments", "", "\x09", monitor.ProtocolError},
	{"a ping of 126 bytes", "\x89", "\xfe", monitor.ProtocolError},
	{"half a close code", "\x88", "\x81", monitor.ProtocolError},
	{"a continuation of nothing", masked(0x81, "ok"), "\x80", monitor.ProtocolError},
	{"text among fragments", masked(0x01, "a"), "\x81", monitor.ProtocolError},
}

func TestFrames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, s := range streams {
		for range 50 {
			f := frameCheck{limit: 200}
			all := s.good + s.bad
			passed := 0
			for rest := all; rest != ""; {
				n := 1 + random.IntN(len(rest))
				good := f.pass([]byte(rest[:n]))
				passed += good
				if good < n {
					break
				}
				rest = rest[n:]
			}
			want := len(all)
			if s.bad != "" {
				want = len(s.good) + len(s.bad) - 1
			}
			if passed != want || s.bad != "" && f.fault != s.fault {
				t.Errorf("%s: %d of %d bytes passed, fault %v; want %d and %v", s.name, passed, len(all), f.fault, want, s.fault)
			}
		}
	}
}
