package report

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"chatmonitor/harness/probe"
)

// grid is a plain table of a report: the raw numbers beside the charts.
type grid struct {
	Title   string
	Note    string
	Head    []string
	Rows    [][]string
	Columns int // that hold text, at the left; the others hold numbers
}

// grids are all raw tables, those without rows left out.
func (r *Run) grids() ([]grid, error) {
	var all []grid
	for _, l := range shownLatencies {
		percentiles, err := r.percentileGrid(l.scenario, l.latency, l.title+": latency by percentile")
		if err != nil {
			return nil, err
		}
		all = append(all, percentiles)
	}
	all = append(all, r.memoryGrid(), r.ladderGrid(), r.rampGrid(), r.secondGrid(), r.calibrationGrid(), r.measurementGrid())
	return slices.DeleteFunc(all, func(g grid) bool { return len(g.Rows) == 0 }), nil
}

// shares are the percentiles that are printed.
var shares = []struct {
	name  string
	share float64
}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}}

func (r *Run) percentileGrid(scenario, latency, title string) (grid, error) {
	g := grid{
		Title: title, Columns: 1,
		Note: fmt.Sprintf("ms; all rounds together, in brackets the smallest and the largest round; %s: fewer than %d samples lie beyond.", undecided, trustedBeyond),
		Head: []string{"variant", "n"},
	}
	for _, s := range shares {
		g.Head = append(g.Head, s.name)
	}
	g.Head = append(g.Head, "max")
	all, err := r.distributions(scenario, latency)
	if err != nil {
		return grid{}, err
	}
	for _, d := range all {
		row := []string{d.variant, count(float64(d.all.TotalCount()))}
		for _, s := range shares {
			row = append(row, d.percentile(s.share))
		}
		g.Rows = append(g.Rows, append(row, milliseconds(float64(d.all.Max()))))
	}
	return g, nil
}

// percentile is the value with its range over the rounds.
func (d distribution) percentile(share float64) string {
	if !isTrusted(d.all, share) {
		return undecided
	}
	text := milliseconds(valueAt(d.all, share))
	if low, high := d.rangeAt(share); low != high {
		text += " (" + milliseconds(low) + ".." + milliseconds(high) + ")"
	}
	return text
}

func (r *Run) memoryGrid() grid {
	all := r.memory()
	g := grid{
		Title: "Memory of a connection, by part", Columns: 1,
		Note: "B per connection: growth from the server without connections to all held, by their number; one measurement a column, no spread. Below zero: it shrank meanwhile.",
		Head: []string{"part"},
	}
	for _, bar := range all.bars {
		g.Head = append(g.Head, all.label(bar))
	}
	if len(all.bars) == 0 {
		return g
	}
	for i, name := range all.names {
		row := []string{name}
		for _, bar := range all.bars {
			row = append(row, count(bar.parts[i]))
		}
		g.Rows = append(g.Rows, row)
	}
	total := []string{"all"}
	for _, bar := range all.bars {
		total = append(total, count(bar.total()))
	}
	g.Rows = append(g.Rows, total)
	return g
}

func (r *Run) ladderGrid() grid {
	g := grid{
		Title: "Ladder: resident memory over connections, as left", Columns: 1,
		Note: "Growth in B since the server was ready; slope: Theil-Sen, in B per connection.",
		Head: []string{"variant", "connections", "growth", "slope", "smallest", "largest"},
	}
	for _, variant := range r.Configuration.Variants {
		f := r.Figure(variant.Name, idleScenario, ResidentBytes)
		if f == nil || f.Value == nil {
			continue
		}
		for _, p := range f.Points {
			if p.X > 0 {
				g.Rows = append(g.Rows, []string{variant.Name, count(p.X), count(p.Y), count(*f.Value), count(*f.Min), count(*f.Max)})
			}
		}
	}
	return g
}

func (r *Run) rampGrid() grid {
	g := grid{
		Title: "Connect ramp", Columns: 1,
		Note: "Seconds until that share of the connections was upgraded, had its rule and one ping answered; idle, highest count.",
		Head: []string{"variant", "connections", "25 %", "50 %", "75 %", "100 %", "connects/s"},
	}
	for _, variant := range r.Configuration.Variants {
		for _, m := range highest(r.measured(variant.Name, idleScenario)) {
			result, err := m.Result()
			if err != nil || result == nil || len(result.Connections.Ramp) == 0 {
				continue
			}
			row := []string{variant.Name, count(float64(result.Connections.Held))}
			for _, share := range []float64{0.25, 0.5, 0.75, 1} {
				row = append(row, result.reached(share))
			}
			g.Rows = append(g.Rows, append(row, count(connectPerSecond(result))))
		}
	}
	return g
}

// reached is when the share of the connections was up.
func (l *LoadgenResult) reached(share float64) string {
	for _, p := range l.Connections.Ramp {
		if float64(p.Connections) >= share*float64(l.Connections.Held) {
			return seconds(p.Seconds)
		}
	}
	return noFigure
}

func (r *Run) secondGrid() grid {
	g := grid{
		Title: "Push, by the second of receipt", Columns: 1,
		Note: "ms, due to received.",
		Head: []string{"variant", "round", "second", "n", "p50", "p99", "max"},
	}
	for _, variant := range r.Configuration.Variants {
		for _, m := range r.measured(variant.Name, pushScenario) {
			result, err := m.Result()
			if err != nil || result == nil {
				continue
			}
			for _, s := range result.Series {
				g.Rows = append(g.Rows, []string{variant.Name, strconv.Itoa(m.Round), strconv.Itoa(s.Second), count(float64(s.Count)),
					milliseconds(s.P50Ns), milliseconds(s.P99Ns), milliseconds(s.MaxNs)})
			}
		}
	}
	return g
}

func (r *Run) calibrationGrid() grid {
	g := grid{
		Title: "Calibration: rates that were tried", Columns: 2,
		Note: "Each with a fresh server, for two seconds. Sustained: nothing lost, 99.5 % of the rate, p99 of due to received at most 250 ms, " +
			"with broker and load generator on the same machine. Rates of the run follow from the weakest variant.",
		Head: []string{"scenario", "variant", "connections", "per second", "sustained", "p99 ms"},
	}
	for _, c := range r.Calibration {
		for _, t := range c.Tries {
			row := []string{c.Scenario, c.Variant, count(float64(c.Connections)), threeDigits(t.RatePerSecond), "yes", milliseconds(t.P99Ns)}
			if !t.Sustained {
				row[4] = "no: " + t.Because
			}
			if t.P99Ns == 0 {
				row[5] = noFigure
			}
			g.Rows = append(g.Rows, row)
		}
	}
	return g
}

func (r *Run) measurementGrid() grid {
	g := grid{
		Title: "Measurements, in the order in which they were made", Columns: 2,
		Note: "RSS of the server in MiB: ready, all held as left, and after a full collection; CPU of the server up to then and of the load generator in s; deliveries or answers; latencies in ms, from due to received, answered or upgraded.",
		Head: []string{"scenario", "variant", "round", "connections", "began", "took s", "RSS ready", "held", "after GC", "CPU server", "CPU loadgen", "arrived", "lost", "p50", "p99", "lag p99"},
	}
	for _, m := range r.Measurements {
		row := []string{m.Scenario, m.Variant, strconv.Itoa(m.Round), count(float64(m.Connections)), m.Started.UTC().Format(time.TimeOnly), seconds(m.Seconds),
			m.mebibytes(momentReady, true), m.mebibytes(momentHeld, false), m.mebibytes(momentHeld, true), m.serverCPU()}
		g.Rows = append(g.Rows, append(row, m.loadgenCells()...))
	}
	return g
}

func (m Measurement) mebibytes(at string, afterGC bool) string {
	s, err := m.snapshot(at, afterGC)
	if err != nil {
		return noFigure
	}
	return readingText(s.Process.RSSBytes, func(v float64) string { return threeDigits(v / (1 << 20)) })
}

func (m Measurement) serverCPU() string {
	s, err := m.snapshot(momentHeld, false)
	if err != nil {
		return noFigure
	}
	return readingText(processorTime(s), seconds)
}

func readingText(r probe.Reading, format func(float64) string) string {
	if v, known := r.Value(); known {
		return format(v)
	}
	return noFigure
}

func (m Measurement) loadgenCells() []string {
	result, err := m.Result()
	if err != nil || result == nil {
		return slices.Repeat([]string{noFigure}, 6)
	}
	cells := []string{seconds(result.Self.CPUSeconds)}
	if result.Expected() == 0 {
		cells = append(cells, noFigure, noFigure)
	} else {
		cells = append(cells, count(float64(result.Expected()-result.Lost())), count(float64(result.Lost())))
	}
	response, lag := result.Latency.Response, result.Latency.Lag
	if response.Count == 0 {
		return append(cells, noFigure, noFigure, noFigure)
	}
	return append(cells, milliseconds(response.P50Ns), milliseconds(response.P99Ns), milliseconds(lag.P99Ns))
}
