package vm

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func frameOf(t testing.TB, payload string) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteFrame(&out, []byte(payload)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// readAll reads frames until the end.
func readAll(t *testing.T, r io.Reader) (payloads []string, noise int) {
	t.Helper()
	frames := NewFrameReader(r)
	for {
		payload, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return payloads, frames.Noise()
		}
		if err != nil {
			t.Fatal(err)
		}
		payloads = append(payloads, string(payload))
	}
}

func TestFrames(t *testing.T) {
	one, two := frameOf(t, `{"n":1}`), frameOf(t, `{"n":2}`)
	const got1, got2 = `{"n":1}`, `{"n":2}`
	flipped := strings.Replace(one, `"n":1`, `"n":7`, 1)
	tests := []struct {
		sentence string
		line     string
		want     []string
		noise    int
	}{
		{"nothing", "", nil, 0},
		{"two frames", one + two, []string{got1, got2}, 0},
		{"a terminal's line ends", strings.ReplaceAll(one+two, "\n", "\r\n"), []string{got1, got2}, 0},
		{"empty lines are not noise", "\n\r\n" + one + "\n", []string{got1}, 0},
		{"noise before, between and behind", "BIOS\n" + one + "panic: at the disco\n" + two + "bye\n", []string{got1, got2}, 3},
		{"noise without a line end of its own", "\x1b[2Jvm1 Booting" + one + two, []string{got1, got2}, 0},
		{"a frame that is cut off by the end", one + two[:len(two)-1], []string{got1}, 0},
		{"a frame that is cut off by another", one[:9] + two, []string{got2}, 0},
		{"a payload that is another", flipped + two, []string{got2}, 1},
		{"a checksum that is another", "vm1 00000000 {}\n" + two, []string{got2}, 1},
		{"a checksum in capitals", strings.ToUpper(one[:12]) + one[12:] + two, []string{got2}, 1},
		{"a mark and nothing else", "vm1 \nvm1 0123\nvm1 01234567\nvm1 01234567 \n" + two, []string{got2}, 4},
		{"zero bytes", "\x00\x00\x00\n" + one, []string{got1}, 1},
		{"an empty payload", frameOf(t, ""), []string{""}, 0},
		{"a payload that looks like a frame's begin", frameOf(t, "vm1 "), []string{"vm1 "}, 0},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"at once":  strings.NewReader(test.line),
				"by bytes": iotest.OneByteReader(strings.NewReader(test.line)),
				"with EOF": iotest.DataErrReader(strings.NewReader(test.line)),
			} {
				got, noise := readAll(t, r)
				if strings.Join(got, "|") != strings.Join(test.want, "|") || len(got) != len(test.want) || noise != test.noise {
					t.Errorf("%s: %q and %d lines of noise, want %q and %d", name, got, noise, test.want, test.noise)
				}
			}
		})
	}
}

func TestFramesBehindEndlessLines(t *testing.T) {
	long := strings.Repeat("vm1 ", 3*MaxFrameBytes/4)
	got, noise := readAll(t, strings.NewReader(long+"\n"+frameOf(t, "after")))
	if len(got) != 1 || got[0] != "after" || noise != 1 {
		t.Errorf("%d frames, %d lines of noise", len(got), noise)
	}
	if largest, _ := readAll(t, strings.NewReader(frameOf(t, strings.Repeat("x", MaxFrameBytes)))); len(largest) != 1 || len(largest[0]) != MaxFrameBytes {
		t.Error("the largest frame did not come through")
	}
}

func TestFramesThatMayNotBeWritten(t *testing.T) {
	for _, payload := range []string{"two\nlines", "a\rb", strings.Repeat("x", MaxFrameBytes+1)} {
		var out bytes.Buffer
		if err := WriteFrame(&out, []byte(payload)); err == nil || out.Len() > 0 {
			t.Errorf("%.10q: error %v, %d bytes written", payload, err, out.Len())
		}
	}
	errTorn := errors.New("torn")
	if err := WriteFrame(failing{errTorn}, nil); !errors.Is(err, errTorn) {
		t.Errorf("on a broken line: %v", err)
	}
	if _, err := NewFrameReader(iotest.ErrReader(errTorn)).Next(); !errors.Is(err, errTorn) {
		t.Errorf("from a broken line: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzFrames: whatever stands on the lines before it, a frame comes through, as it was
// written and once.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("noise"), []byte("payload"))
	f.Add([]byte("vm1 00000000 "), []byte(""))
	f.Add([]byte("\r\x00vm1 vm1 "), []byte("vm1 "))
	f.Fuzz(func(t *testing.T, noise, payload []byte) {
		var line bytes.Buffer
		line.Write(noise)
		line.WriteByte('\n')
		before, _ := readAll(t, bytes.NewReader(line.Bytes()))
		if WriteFrame(&line, payload) != nil {
			return
		}
		got, _ := readAll(t, &line)
		if len(got) != len(before)+1 || got[len(got)-1] != string(payload) {
			t.Errorf("%q came as %q, behind %q", payload, got, before)
		}
	})
}
