package main

import (
	"io"
	"sync"
)

// joinBytes is what several messages that are written as one may have together.
const joinBytes = 16 << 10

var joinBuffers = sync.Pool{New: func() any { return new([joinBytes]byte) }}

// joiner joins writes: gorilla writes every message by itself, and what that costs is mostly the system
// call. Between hold and release, what is written is kept back until there is too much of it.
type joiner struct {
	mu     sync.Mutex // gorilla's reader writes, too, when it has found a fault
	buffer *[joinBytes]byte
	kept   int // guarded by mu: bytes in buffer, which is nil unless something is held
}

func (j *joiner) hold() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.buffer == nil {
		j.buffer = joinBuffers.Get().(*[joinBytes]byte)
	}
}

// write writes p to w, or keeps it back.
func (j *joiner) write(w io.Writer, p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.buffer == nil {
		return w.Write(p)
	}
	if j.kept+len(p) > joinBytes {
		if err := j.flush(w); err != nil {
			return 0, err
		}
	}
	if len(p) > joinBytes {
		return w.Write(p)
	}
	j.kept += copy(j.buffer[j.kept:], p)
	return len(p), nil
}

// keeps says whether something that was written is kept back.
func (j *joiner) keeps() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kept > 0
}

// release writes to w what was kept back, and keeps nothing back any more.
func (j *joiner) release(w io.Writer) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.buffer == nil {
		return nil
	}
	err := j.flush(w)
	joinBuffers.Put(j.buffer)
	j.buffer = nil
	return err
}

func (j *joiner) flush(w io.Writer) error {
	n := j.kept
	if j.kept = 0; n == 0 {
		return nil
	}
	_, err := w.Write(j.buffer[:n])
	return err
}
