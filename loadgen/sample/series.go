package sample

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

const nanosecondsPerSecond = int64(time.Second)

// Series keeps one histogram for each second, by the time of receipt. The second under way belongs to the one
// goroutine that records; finished ones are packed on another, since packing takes milliseconds.
type Series struct {
	// static after construction
	startNs int64
	full    chan second
	packed  chan struct{} // closed when all is packed

	// owned by the goroutine that records
	current int64 // the second under way; -1 before the first
	filling *Histogram
	ended   bool

	// guarded by mu
	mu      sync.Mutex
	spare   []*Histogram
	seconds map[int64][]byte
	latest  Summary
	fault   error
}

type second struct {
	number    int64
	histogram *Histogram
}

// queuedSeconds may wait to be packed; a packer that is a minute behind holds up the recorder.
const queuedSeconds = 64

// NewSeries begins a series whose second 0 begins at startNs. End it.
func NewSeries(startNs int64) *Series {
	s := &Series{
		startNs: startNs, current: -1,
		full: make(chan second, queuedSeconds), packed: make(chan struct{}),
		seconds: map[int64][]byte{},
	}
	go s.pack()
	return s
}

// Record counts a duration that was known at nowNs. What comes before the start is not counted; time does not go
// back.
func (s *Series) Record(nowNs, ns int64) {
	if nowNs < s.startNs {
		return
	}
	if number := (nowNs - s.startNs) / nanosecondsPerSecond; number != s.current {
		s.turn()
		s.current, s.filling = number, s.take()
	}
	s.filling.Record(ns)
}

// turn gives the second under way to the packer.
func (s *Series) turn() {
	if s.filling != nil {
		s.full <- second{s.current, s.filling}
		s.filling = nil
	}
}

func (s *Series) take() *Histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.spare); n > 0 {
		h := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return h
	}
	return NewHistogram()
}

func (s *Series) pack() {
	defer close(s.packed)
	for full := range s.full {
		packed, err := full.histogram.MarshalJSON()
		summary := full.histogram.Summary()
		full.histogram.reset()
		s.mu.Lock()
		s.latest = summary
		s.spare = append(s.spare, full.histogram)
		if err != nil {
			s.fault = err
		}
		s.seconds[full.number] = packed
		s.mu.Unlock()
	}
}

// Latest describes the last full second.
func (s *Series) Latest() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

// End gives the histograms in HDR's packed form, by second. Nothing may be recorded afterwards. It may be called
// again.
func (s *Series) End() (map[int64][]byte, error) {
	if !s.ended {
		s.ended = true
		s.turn()
		close(s.full)
	}
	<-s.packed
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seconds, s.fault
}

// Second is one row of a series.
type Second struct {
	Second int64 `json:"second"`
	Summary
}

// MergePacked adds two packed histograms; nil is an empty one.
func MergePacked(a, b []byte) ([]byte, error) {
	if a == nil {
		return b, nil
	}
	var into, from Histogram
	if err := errors.Join(into.UnmarshalJSON(a), from.UnmarshalJSON(b)); err != nil {
		return nil, err
	}
	into.Merge(&from)
	return into.MarshalJSON()
}

// Unpack describes each second of a packed series, in order.
func Unpack(series map[int64][]byte) ([]Second, error) {
	var rows []Second
	for _, number := range slices.Sorted(maps.Keys(series)) {
		var h Histogram
		if err := h.UnmarshalJSON(series[number]); err != nil {
			return nil, err
		}
		rows = append(rows, Second{Second: number, Summary: h.Summary()})
	}
	return rows, nil
}
