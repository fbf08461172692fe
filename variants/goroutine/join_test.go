package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// writes keeps the length of each write.
type writes struct {
	lengths []int
	text    strings.Builder
	err     error
}

func (w *writes) Write(p []byte) (int, error) {
	w.lengths = append(w.lengths, len(p))
	w.text.Write(p)
	return len(p), w.err
}

func TestJoiner(t *testing.T) {
	var j joiner
	var w writes
	var sent strings.Builder
	say := func(n int) {
		p := strings.Repeat(string(rune('a'+len(w.lengths))), n)
		sent.WriteString(p)
		if got, err := j.write(&w, []byte(p)); got != n || err != nil {
			t.Fatalf("a write of %d bytes: %d, %v", n, got, err)
		}
	}
	release := func() {
		if err := j.release(&w); err != nil {
			t.Fatal(err)
		}
	}
	say(1)
	j.hold()
	say(2)
	j.hold() // again is once
	say(3)
	release()
	release()
	say(4)
	j.hold()
	say(5)
	say(joinBytes)
	say(joinBytes + 1)
	say(6)
	release()
	if want := []int{1, 5, 4, 5, joinBytes, joinBytes + 1, 6}; !slices.Equal(w.lengths, want) || w.text.String() != sent.String() {
		t.Errorf("written in parts of %d, want %d", w.lengths, want)
	}
	w.err = errors.New("gone")
	j.hold()
	say(1)
	if err := j.release(&w); !errors.Is(err, w.err) {
		t.Errorf("release says %v, want %v", err, w.err)
	}
}
