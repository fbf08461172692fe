// Package sample keeps what was measured and what was received.
//
// Latencies go into HDR histograms of three digits, one per thread that measures, merged at the end: percentiles
// cannot be merged, histograms can. A Ledger accounts for every delivery that was expected. The package knows no
// socket, no clock and no message format.
package sample

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	digits = 3
	// longest is the largest latency kept as it is; 160 KiB a histogram.
	longest = 5 * time.Minute
)

// Histogram counts durations with a relative error below 0.1 %. It is not safe for concurrent use: one per worker.
type Histogram struct {
	hdr     *hdrhistogram.Histogram
	clamped int64
}

// NewHistogram makes an empty histogram.
func NewHistogram() *Histogram {
	return &Histogram{hdr: hdrhistogram.New(1, longest.Nanoseconds(), digits)}
}

// Record counts one duration. What lies beyond the range is counted at its end, and in Clamped.
func (h *Histogram) Record(ns int64) {
	kept := min(max(ns, 0), longest.Nanoseconds())
	if kept != ns {
		h.clamped++
	}
	if err := h.hdr.RecordValue(kept); err != nil {
		panic(fmt.Sprintf("sample: %d ns within the histogram's range was refused: %v", kept, err))
	}
}

// Merge adds what another histogram counted.
func (h *Histogram) Merge(from *Histogram) {
	if dropped := h.hdr.Merge(from.hdr); dropped != 0 {
		panic(fmt.Sprintf("sample: %d values lost in a merge of equal histograms", dropped))
	}
	h.clamped += from.clamped
}

// Count gives the number of durations counted.
func (h *Histogram) Count() int64 { return h.hdr.TotalCount() }

// Clamped gives how many lay beyond the range: below zero, or above five minutes.
func (h *Histogram) Clamped() int64 { return h.clamped }

// Summary is what is told of a histogram; nothing is computed from summaries.
type Summary struct {
	Count  int64 `json:"count"`
	MinNs  int64 `json:"min_ns"`
	MeanNs int64 `json:"mean_ns"`
	P50Ns  int64 `json:"p50_ns"`
	P90Ns  int64 `json:"p90_ns"`
	P99Ns  int64 `json:"p99_ns"`
	P999Ns int64 `json:"p999_ns"`
	MaxNs  int64 `json:"max_ns"`
}

// Summary describes the histogram; that of an empty one is zero throughout.
func (h *Histogram) Summary() Summary {
	if h.Count() == 0 {
		return Summary{}
	}
	return Summary{
		Count:  h.Count(),
		MinNs:  h.hdr.Min(),
		MeanNs: int64(h.hdr.Mean()),
		P50Ns:  h.hdr.ValueAtQuantile(50),
		P90Ns:  h.hdr.ValueAtQuantile(90),
		P99Ns:  h.hdr.ValueAtQuantile(99),
		P999Ns: h.hdr.ValueAtQuantile(99.9),
		MaxNs:  h.hdr.Max(),
	}
}

// wire is a histogram on its way between processes: HDR's own compressed form, in base64.
type wire struct {
	HDR     string `json:"hdr"`
	Clamped int64  `json:"clamped,omitempty"`
}

// MarshalJSON writes all counts.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	encoded, err := h.hdr.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("sample: encode histogram: %w", err)
	}
	return json.Marshal(wire{HDR: string(encoded), Clamped: h.clamped})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var w wire
	if err := json.Unmarshal(text, &w); err != nil {
		return fmt.Errorf("sample: read histogram: %w", err)
	}
	hdr, err := hdrhistogram.Decode([]byte(w.HDR))
	if err != nil {
		return fmt.Errorf("sample: decode histogram: %w", err)
	}
	h.hdr, h.clamped = hdr, w.Clamped
	return nil
}

const (
	ticksPerHalfDistance  = 5
	nanosecondsPerMilli   = 1e6
	percentileFilePattern = "%s.hgrm"
)

// WritePercentiles writes the distribution in milliseconds in HDR's .hgrm form, which its plotter reads.
func (h *Histogram) WritePercentiles(dir, name string) error {
	var text bytes.Buffer
	if _, err := h.hdr.PercentilesPrint(&text, ticksPerHalfDistance, nanosecondsPerMilli); err != nil {
		return fmt.Errorf("sample: write percentiles of %s: %w", name, err)
	}
	path := filepath.Join(dir, fmt.Sprintf(percentileFilePattern, name))
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("sample: write percentiles of %s: %w", name, err)
	}
	return nil
}

func (h *Histogram) reset() {
	h.hdr.Reset()
	h.clamped = 0
}
