package vm

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame is a line: a mark, the checksum of the payload, the payload, which has no
// line ends. A serial line has no other framing, and whatever else is written to it
// (firmware, a kernel's last words) must not pass for a message.
//
//	vm1 89abcdef {"any": "text"}
const (
	frameMark      = "vm1 "
	checksumDigits = 8
	// MaxFrameBytes bounds a payload; what is longer is noise to the reader.
	MaxFrameBytes = 1 << 20
)

// WriteFrame writes a payload as one frame, in one write.
func WriteFrame(w io.Writer, payload []byte) error {
	if len(payload) > MaxFrameBytes {
		return fmt.Errorf("vm: a frame of %d bytes; at most %d are allowed", len(payload), MaxFrameBytes)
	}
	if bytes.ContainsAny(payload, "\r\n") {
		return fmt.Errorf("vm: a frame with a line end in it: %.80q", payload)
	}
	line := fmt.Appendf(nil, "%s%08x %s\n", frameMark, crc32.ChecksumIEEE(payload), payload)
	if _, err := w.Write(line); err != nil {
		return fmt.Errorf("vm: write a frame: %w", err)
	}
	return nil
}

// FrameReader reads frames and skips everything else.
type FrameReader struct {
	r      io.Reader
	buffer []byte // what has been read and not been looked at
	read   []byte // where it is read to
	// skipping: the current line is too long to be a frame.
	skipping bool
	noise    int
}

// NewFrameReader reads from r.
func NewFrameReader(r io.Reader) *FrameReader {
	return &FrameReader{r: r, read: make([]byte, 32<<10)}
}

// Noise counts the lines that were no frames, empty ones left out.
func (f *FrameReader) Noise() int { return f.noise }

const maxLineBytes = len(frameMark) + checksumDigits + 1 + MaxFrameBytes + len("\r\n")

// Next returns the next frame's payload; it is the caller's to keep. At the end it
// returns the reader's error: a frame without its line end is none.
func (f *FrameReader) Next() ([]byte, error) {
	for {
		for {
			end := bytes.IndexByte(f.buffer, '\n')
			if end < 0 {
				break
			}
			line := f.buffer[:end]
			f.buffer = f.buffer[end+1:]
			if payload, ok := f.take(line); ok {
				return payload, nil
			}
		}
		if len(f.buffer) >= maxLineBytes {
			f.skipping, f.buffer = true, nil
		}
		n, err := f.r.Read(f.read)
		f.buffer = append(f.buffer, f.read[:n]...)
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// take looks at one line, without its end.
func (f *FrameReader) take(line []byte) (payload []byte, ok bool) {
	tooLong := f.skipping
	f.skipping = false
	line = bytes.TrimSuffix(line, []byte("\r"))
	if !tooLong {
		if payload, ok := parseFrame(line); ok {
			return bytes.Clone(payload), true
		}
	}
	if tooLong || len(line) > 0 {
		f.noise++
	}
	return nil, false
}

// parseFrame looks for a frame that ends with the line. It may begin anywhere: what
// else is written to the line need not end its own.
func parseFrame(line []byte) (payload []byte, ok bool) {
	for {
		at := bytes.Index(line, []byte(frameMark))
		if at < 0 {
			return nil, false
		}
		line = line[at+len(frameMark):]
		if payload, ok := checked(line); ok {
			return payload, true
		}
	}
}

// checked returns the payload if its checksum, which stands before it, is right.
func checked(text []byte) (payload []byte, ok bool) {
	if len(text) < checksumDigits+1 || text[checksumDigits] != ' ' || len(text) > checksumDigits+1+MaxFrameBytes {
		return nil, false
	}
	payload = text[checksumDigits+1:]
	want := fmt.Appendf(nil, "%08x", crc32.ChecksumIEEE(payload))
	return payload, bytes.Equal(want, text[:checksumDigits])
}
