package client

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

const testLimit = 1 << 20

// serverFrame writes a frame as a right-minded server does.
func serverFrame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

func TestParseFrameTellsEveryViolation(t *testing.T) {
	for _, row := range []struct {
		sentence string
		bytes    []byte
		want     string
	}{
		{"a server must not mask", []byte{0x81, 0x85, 1, 2, 3, 4}, "masked"},
		{"RSV1 means compression, which was not offered", []byte{0xc1, 0}, "reserved bit"},
		{"RSV2 means nothing", []byte{0xa1, 0}, "reserved bit"},
		{"RSV3 means nothing", []byte{0x91, 0}, "reserved bit"},
		{"opcode 3 is reserved for data", []byte{0x83, 0}, "unknown opcode"},
		{"opcode 7 is the last of them", []byte{0x87, 0}, "unknown opcode"},
		{"opcode 11 is reserved for control", []byte{0x8b, 0}, "unknown opcode"},
		{"opcode 15 is the last of all", []byte{0x8f, 0}, "unknown opcode"},
		{"a ping comes in one piece", []byte{0x09, 0}, "fragmented control"},
		{"and has at most 125 bytes", []byte{0x89, 126, 0, 126}, "longer than 125"},
		{"125 bytes fit the short length", []byte{0x81, 126, 0, 125}, "shortest form"},
		{"65,535 fit the middle one", []byte{0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, "shortest form"},
		{"the highest bit of a length is zero", []byte{0x81, 127, 0x80, 0, 0, 0, 0, 1, 0, 0}, "highest bit"},
		{"a length beyond the limit is not waited for", []byte{0x81, 127, 0x7f, 0, 0, 0, 0, 1, 0, 0}, "message limit"},
	} {
		_, n, err := parseFrame(row.bytes, testLimit)
		if err == nil || !strings.Contains(err.Error(), row.want) || n != 0 {
			t.Errorf("%s: % x gives length %d and error %v, want one about %q", row.sentence, row.bytes, n, err, row.want)
		}
	}
}

func TestParseFrameAtEveryLength(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 255, 256, 65535, 65536, 70000} {
		payload := bytes.Repeat([]byte{'x'}, n)
		whole := serverFrame(0x81, payload)
		f, length, err := parseFrame(append(bytes.Clone(whole), "rest"...), testLimit)
		if err != nil || length != len(whole) || !f.final || f.opcode != opText || !bytes.Equal(f.payload, payload) {
			t.Errorf("frame of %d bytes: length %d of %d, final %v, opcode %d, error %v", n, length, len(whole), f.final, f.opcode, err)
		}
	}
}

func TestParseFrameWaitsForTheLastByte(t *testing.T) {
	for _, n := range []int{0, 3, 125, 126, 300, 65536} {
		whole := serverFrame(0x82, make([]byte, n))
		for cut := range len(whole) {
			if _, length, err := parseFrame(whole[:cut], testLimit); length != 0 || err != nil {
				t.Fatalf("the first %d of %d bytes give length %d, error %v", cut, len(whole), length, err)
			}
		}
	}
}

func TestAppendFrameIsWhatAServerReads(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 125, 126, 65535, 65536} {
		payload := make([]byte, n)
		for i := range payload {
			payload[i] = byte(i * 7)
		}
		const mask = 0xa1b2c3d4
		b := appendFrame(nil, opText, payload, mask)
		if b[0] != 0x81 || b[1]&0x80 == 0 {
			t.Fatalf("frame of %d bytes begins with % x", n, b[:2])
		}
		header := len(b) - n
		var key [4]byte
		copy(key[:], b[header-4:header])
		for i, x := range b[header:] {
			if x^key[i%4] != payload[i] {
				t.Fatalf("frame of %d bytes: byte %d comes out as %#x", n, i, x^key[i%4])
			}
		}
		unmasked := append(bytes.Clone(b[:header-4]), payload...)
		unmasked[1] &^= 0x80
		if f, length, err := parseFrame(unmasked, testLimit); err != nil || length != len(unmasked) || !bytes.Equal(f.payload, payload) {
			t.Errorf("frame of %d bytes: length %d, error %v", n, length, err)
		}
	}
}

func TestParseClose(t *testing.T) {
	for _, row := range []struct {
		sentence string
		payload  string
		code     int
		reason   string
		bad      bool
	}{
		{"no payload, no code", "", 1005, "", false},
		{"a normal end", "\x03\xe8bye", 1000, "bye", false},
		{"try again later", "\x03\xf5", 1013, "", false},
		{"codes of applications", "\x0f\xa0", 4000, "", false},
		{"half a code", "\x03", 0, "", true},
		{"1005 is never sent", "\x03\xed", 0, "", true},
		{"1006 is never sent", "\x03\xee", 0, "", true},
		{"1015 is never sent", "\x03\xf7", 0, "", true},
		{"999 is no code", "\x03\xe7", 0, "", true},
		{"2999 is no code yet", "\x0b\xb7", 0, "", true},
		{"5000 is no code", "\x13\x88", 0, "", true},
		{"a reason is UTF-8", "\x03\xe8\xff", 0, "", true},
	} {
		got, err := parseClose([]byte(row.payload))
		if row.bad != (err != nil) {
			t.Errorf("%s: error %v", row.sentence, err)
		} else if !row.bad && (got.Code != row.code || got.Reason != row.reason) {
			t.Errorf("%s: got %d %q", row.sentence, got.Code, got.Reason)
		}
	}
}

func TestMessageJoinsFragments(t *testing.T) {
	type step struct {
		final   bool
		opcode  byte
		payload string
		whole   string // "" while unfinished
		bad     string
	}
	for sentence, steps := range map[string][]step{
		"one frame":               {{true, opText, "hello", "hello", ""}},
		"three fragments":         {{false, opText, "a", "", ""}, {false, opContinuation, "b", "", ""}, {true, opContinuation, "c", "abc", ""}},
		"two messages in a row":   {{false, opBinary, "a", "", ""}, {true, opContinuation, "b", "ab", ""}, {true, opText, "c", "c", ""}},
		"a character cut in two":  {{false, opText, "\xe4\xbb", "", ""}, {true, opContinuation, "\xa3", "代", ""}},
		"continuation of nothing": {{true, opContinuation, "x", "", "continuation of nothing"}},
		"message in a message":    {{false, opText, "a", "", ""}, {true, opText, "b", "", "inside a fragmented"}},
		"text not UTF-8":          {{true, opText, "\xff", "", "not UTF-8"}},
		"binary may be anything":  {{true, opBinary, "\xff", "\xff", ""}},
		"too long in sum":         {{false, opText, "12345678", "", ""}, {true, opContinuation, "9", "", "message limit"}},
	} {
		var m message
		for i, s := range steps {
			whole, text, done, err := m.add(frame{final: s.final, opcode: s.opcode, payload: []byte(s.payload)}, 8)
			switch {
			case s.bad != "" && (err == nil || !strings.Contains(err.Error(), s.bad)):
				t.Errorf("%s, step %d: error %v, want one about %q", sentence, i, err, s.bad)
			case s.bad == "" && (err != nil || done != (s.whole != "") || string(whole) != s.whole):
				t.Errorf("%s, step %d: %q, done %v, error %v; want %q", sentence, i, whole, done, err, s.whole)
			case done && text != (steps[0].opcode == opText || s.opcode == opText):
				t.Errorf("%s, step %d: text %v", sentence, i, text)
			}
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(serverFrame(0x81, []byte("hello")))
	f.Add(serverFrame(0x82, make([]byte, 300)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, n, err := parseFrame(b, testLimit)
		if n == 0 || err != nil {
			return
		}
		again := serverFrame(b[0], got.payload)
		if !bytes.Equal(again, b[:n]) {
			t.Errorf("% x was read as a frame that is written % x", b[:n], again)
		}
	})
}
