package sample

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHistogramSurvivesItsWayBetweenProcesses(t *testing.T) {
	h := NewHistogram()
	for ns := int64(1); ns < int64(time.Minute); ns *= 3 {
		h.Record(ns)
	}
	h.Record(-1)
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var back Histogram
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if back.Summary() != h.Summary() || back.Clamped() != 1 {
		t.Errorf("%+v, clamped %d\nwant %+v", back.Summary(), back.Clamped(), h.Summary())
	}
	back.Merge(h)
	if back.Count() != 2*h.Count() {
		t.Errorf("merged into %d", back.Count())
	}
	for _, bad := range []string{`{"hdr":"nonsense"}`, `{"hdr":""}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s passed as a histogram", bad)
		}
	}
}

func TestSeriesCountsByTheSecondOfReceipt(t *testing.T) {
	const start = 5_000_000_000
	s := NewSeries(start)
	for _, row := range []struct{ atNs, ns int64 }{
		{start - 1, 7}, // before the start
		{start, 10}, {start + 999_999_999, 20},
		{start + 1_000_000_000, 30},
		{start + 70_000_000_000, 40}, // after more than a minute's silence
	} {
		s.Record(row.atNs, row.ns)
	}
	packed, err := s.End()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.End(); err != nil || len(again) != len(packed) {
		t.Errorf("a second End gives %d seconds, error %v", len(again), err)
	}
	rows, err := Unpack(packed)
	if err != nil || len(rows) != 3 {
		t.Fatalf("%+v, error %v", rows, err)
	}
	for i, want := range []struct{ second, count, max int64 }{{0, 2, 20}, {1, 1, 30}, {70, 1, 40}} {
		if rows[i].Second != want.second || rows[i].Count != want.count || rows[i].MaxNs != want.max {
			t.Errorf("row %d is %+v, want %+v", i, rows[i], want)
		}
	}
}

// TestSeriesUsesHistogramsAgain: that of a second that has been packed serves a later one, empty.
func TestSeriesUsesHistogramsAgain(t *testing.T) {
	s := NewSeries(0)
	for second := range int64(5) {
		s.Record(second*nanosecondsPerSecond, second+1)
		if second == 0 {
			continue
		}
		for packed := false; !packed; time.Sleep(time.Millisecond) { // the one before, while this is under way
			s.mu.Lock()
			packed = s.seconds[second-1] != nil
			s.mu.Unlock()
		}
	}
	seconds, err := s.End()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := Unpack(seconds)
	if err != nil || len(rows) != 5 {
		t.Fatalf("%+v, error %v", rows, err)
	}
	for i, row := range rows {
		if row.Count != 1 || row.MaxNs != int64(i+1) {
			t.Errorf("second %d is %+v", i, row)
		}
	}
}

func TestSeriesOfProcessesMerge(t *testing.T) {
	whole, parts := NewSeries(0), []*Series{NewSeries(0), NewSeries(0)}
	for n := range int64(3000) {
		whole.Record(n*1_000_000, n*n)
		parts[n%2].Record(n*1_000_000, n*n)
	}
	wholeSeconds, err := whole.End()
	if err != nil {
		t.Fatal(err)
	}
	merged := map[int64][]byte{}
	for _, part := range parts {
		seconds, err := part.End()
		if err != nil {
			t.Fatal(err)
		}
		for number, packed := range seconds {
			if merged[number], err = MergePacked(merged[number], packed); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := Unpack(merged)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Unpack(wholeSeconds)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || len(want) != 3 {
		t.Fatalf("%d seconds merged, %d whole", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("merged %+v\nwhole  %+v", got[i], want[i])
		}
	}
}

func TestSpansMergeAsIfOneHadSeenAll(t *testing.T) {
	whole, parts := NewSpans(3), []*Spans{NewSpans(3), NewSpans(3)}
	for i, row := range []struct {
		event int
		atNs  int64
	}{{0, 100}, {0, 90}, {0, 250}, {2, 1000}} {
		whole.Receive(row.event, row.atNs)
		parts[i%2].Receive(row.event, row.atNs)
	}
	parts[0].Merge(parts[1])
	first, last := parts[0].Histograms(0, func(n int) int64 { return int64(n) * 400 })
	wholeFirst, wholeLast := whole.Histograms(0, func(n int) int64 { return int64(n) * 400 })
	if first.Summary() != wholeFirst.Summary() || last.Summary() != wholeLast.Summary() {
		t.Errorf("merged %+v %+v\nwhole %+v %+v", first.Summary(), last.Summary(), wholeFirst.Summary(), wholeLast.Summary())
	}
	if s := last.Summary(); s.Count != 2 || s.MinNs != 200 || s.MaxNs != 250 {
		t.Errorf("last receivers %+v", s)
	}
	if s := first.Summary(); s.MinNs != 90 {
		t.Errorf("first receivers %+v", s)
	}
	if late, _ := whole.Histograms(2, func(int) int64 { return 0 }); late.Count() != 1 {
		t.Errorf("%d events from number 2 on", late.Count())
	}
}

func TestRawHasEverySample(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raw.csv")
	r, err := CreateRaw(path)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 3*rowsPerBlock + 5
	for n := range int64(rows) {
		r.Add(n, n+1, n+2)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != rows+1 || lines[0] != "intended_ns,sent_ns,received_ns" || lines[1] != "0,1,2" || lines[rows] != "12292,12293,12294" {
		t.Errorf("%d lines: %q, %q ... %q", len(lines), lines[0], lines[1], lines[len(lines)-1])
	}
}

func TestRawSaysWhatItCouldNotWrite(t *testing.T) {
	if _, err := CreateRaw(filepath.Join(t.TempDir(), "missing", "raw.csv")); err == nil {
		t.Error("a file in no directory was created")
	}
	full, err := CreateRaw("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	full.Add(1, 2, 3)
	if err := full.Close(); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("a full disk: %v", err)
	}
	slow := &Raw{full: make(chan []row), written: make(chan error, 1)} // nobody takes blocks
	slow.written <- nil
	for n := range int64(rowsPerBlock) {
		slow.Add(n, n, n)
	}
	if err := slow.Close(); err == nil || !strings.Contains(err.Error(), "4096 samples") {
		t.Errorf("a slow disk: %v", err)
	}
}

func TestPercentileFile(t *testing.T) {
	dir := t.TempDir()
	h := NewHistogram()
	for n := range int64(10_000) {
		h.Record((n + 1) * 10_000) // 10 us to 100 ms, evenly
	}
	if err := h.WritePercentiles(dir, "x"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "x.hgrm"))
	if err != nil {
		t.Fatal(err)
	}
	rows, footer := readPercentiles(t, string(text))
	for i, row := range rows {
		exact := float64(100) * row.percentile
		if i > 0 && (row.value < rows[i-1].value || row.percentile < rows[i-1].percentile || row.count < rows[i-1].count) {
			t.Errorf("row %+v follows %+v", row, rows[i-1])
		}
		if i > 0 && math.Abs(row.value-exact) > 0.001*exact+0.01 {
			t.Errorf("%g of all values are below %g ms, want %g", row.percentile, row.value, exact)
		}
		if distance := 1 / (1 - row.percentile); row.percentile < 1 && math.Abs(row.inverse-distance) > 0.01*distance {
			t.Errorf("1/(1-%g) is said to be %g", row.percentile, row.inverse)
		}
	}
	if last := rows[len(rows)-1]; len(rows) < 40 || last.count != 10_000 || last.percentile != 1 {
		t.Errorf("%d rows, the last %+v", len(rows), last)
	}
	if footer["Max"] < 99.9 || footer["Max"] > 100.1 || footer["Total count"] != 10_000 || math.Abs(footer["Mean"]-50) > 0.1 {
		t.Errorf("footer %v", footer)
	}
	if err := h.WritePercentiles(filepath.Join(dir, "missing"), "x"); err == nil {
		t.Error("a file in no directory was written")
	}
}

// percentileRow is a line of a .hgrm file.
type percentileRow struct {
	value, percentile float64
	count             int64
	inverse           float64 // the plotter's horizontal axis
}

// readPercentiles reads a .hgrm file as HdrHistogram's plotter does: a line of headings, rows of four columns, and
// lines of "#[name = number, name = number]".
func readPercentiles(t *testing.T, text string) (rows []percentileRow, footer map[string]float64) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if got := strings.Join(strings.Fields(lines[0]), " "); got != "Value Percentile TotalCount 1/(1-Percentile)" {
		t.Fatalf("headings %q", got)
	}
	footer = map[string]float64{}
	for _, line := range lines[1:] {
		line = strings.TrimSpace(line)
		if inner, ok := strings.CutPrefix(line, "#["); ok {
			for pair := range strings.SplitSeq(strings.TrimSuffix(inner, "]"), ",") {
				name, number, _ := strings.Cut(pair, "=")
				footer[strings.TrimSpace(name)] = mustParse(t, strings.TrimSpace(number))
			}
			continue
		}
		if line == "" {
			continue
		}
		columns := strings.Fields(line)
		if len(columns) != 4 {
			t.Fatalf("row %q has %d columns", line, len(columns))
		}
		rows = append(rows, percentileRow{
			value: mustParse(t, columns[0]), percentile: mustParse(t, columns[1]),
			count: int64(mustParse(t, columns[2])), inverse: mustParse(t, columns[3]),
		})
	}
	return rows, footer
}

func mustParse(t *testing.T, text string) float64 {
	t.Helper()
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("a number: %v", err)
	}
	return number
}
