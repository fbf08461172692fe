package sample

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
)

const (
	rowsPerBlock = 4096
	// queuedBlocks may wait for the disk: 24 MB. When it is slower than that, rows are left out and Close says so,
	// for waiting would show up in the very times that are written.
	queuedBlocks = 256
)

// Raw writes every sample to a CSV file: intended, sent, received, in nanoseconds of CLOCK_MONOTONIC; sent is 0
// when another process sent. One goroutine adds, another writes.
type Raw struct {
	// owned by the goroutine that adds
	block   []row
	omitted int

	// static
	full    chan []row
	written chan error
}

type row struct{ intendedNs, sentNs, receivedNs int64 }

// CreateRaw begins a file; an existing one is replaced.
func CreateRaw(path string) (*Raw, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("sample: create raw file: %w", err)
	}
	r := &Raw{full: make(chan []row, queuedBlocks), written: make(chan error, 1)}
	go func() { r.written <- write(file, r.full) }()
	return r, nil
}

// Add notes one sample.
func (r *Raw) Add(intendedNs, sentNs, receivedNs int64) {
	if r.block == nil {
		r.block = make([]row, 0, rowsPerBlock)
	}
	r.block = append(r.block, row{intendedNs, sentNs, receivedNs})
	if len(r.block) < rowsPerBlock {
		return
	}
	select {
	case r.full <- r.block:
		r.block = nil
	default:
		r.omitted += len(r.block)
		r.block = r.block[:0]
	}
}

// Close writes what is left. It fails if any sample is not in the file.
func (r *Raw) Close() error {
	if len(r.block) > 0 {
		r.full <- r.block
	}
	close(r.full)
	if err := <-r.written; err != nil {
		return fmt.Errorf("sample: write raw file: %w", err)
	}
	if r.omitted > 0 {
		return fmt.Errorf("sample: raw file: the disk was too slow for %d samples", r.omitted)
	}
	return nil
}

func write(file *os.File, blocks <-chan []row) error {
	w := bufio.NewWriterSize(file, 256<<10)
	_, err := w.WriteString("intended_ns,sent_ns,received_ns\n")
	var line []byte
	for block := range blocks { // to the end even after an error: nobody else empties the queue
		for _, r := range block {
			line = strconv.AppendInt(line[:0], r.intendedNs, 10)
			line = strconv.AppendInt(append(line, ','), r.sentNs, 10)
			line = strconv.AppendInt(append(line, ','), r.receivedNs, 10)
			if err == nil {
				_, err = w.Write(append(line, '\n'))
			}
		}
	}
	return errors.Join(err, w.Flush(), file.Close())
}
