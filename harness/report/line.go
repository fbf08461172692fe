package report

import (
	"fmt"
	"slices"
)

// line is one figure of every variant, as the reports print it.
type line struct {
	text     string // in the text table, unit included
	label    string
	unit     string
	scenario string
	name     string
	format   func(float64) string
	ratio    bool // compared with the base, and printed with its spread
}

// section is the lines of one scenario.
type section struct {
	scenario string
	lines    []line
}

var sections = []section{
	{idleScenario, []line{
		{"connections held", "Connections held", "connections", idleScenario, ConnectionsHeld, count, false},
		{"resident B/conn, as left", "Resident memory, as left", "B per connection", idleScenario, ResidentBytes, count, true},
		{"resident B/conn, after GC", "Resident memory, after a full collection", "B per connection", idleScenario, ResidentBytesGC, count, true},
		{"goroutines/conn", "Goroutines", "per connection", idleScenario, GoroutinesEach, ratio, false},
		{"kernel B/conn, both ends", "Kernel slab, both ends", "B per connection", idleScenario, KernelBytes, count, true},
		{"resident + kernel B/conn", "Resident and kernel, as left", "B per connection", idleScenario, TotalBytes, count, true},
	}},
	{pingScenario, []line{
		{"CPU us a ping", "Processor time of a ping and its answer", "us", pingScenario, PingCPU, microseconds, true},
	}},
	{pushScenario, []line{
		{"push p50 ms", "Due to received, p50", "ms", pushScenario, PushP50, milliseconds, true},
		{"push p99 ms", "Due to received, p99", "ms", pushScenario, PushP99, milliseconds, true},
		{"records lost", "Deliveries lost", "deliveries", pushScenario, RecordsLost, count, false},
	}},
	{broadcastScenario, []line{
		{"first receiver p50 ms", "Due to the first receiver, p50", "ms", broadcastScenario, FirstReceiverP50, milliseconds, true},
		{"last receiver p50 ms", "Due to the last receiver, p50", "ms", broadcastScenario, LastReceiverP50, milliseconds, true},
		{"deliveries/s", "Deliveries: receivers / p50 of the last", "per second", broadcastScenario, DeliveriesPerSec, count, true},
		{"records lost", "Deliveries lost", "deliveries", broadcastScenario, RecordsLost, count, false},
	}},
	{requestScenario, []line{
		{"round trip p50 ms", "Due to answered, p50", "ms", requestScenario, RequestP50, milliseconds, true},
		{"round trip p99 ms", "Due to answered, p99", "ms", requestScenario, RequestP99, milliseconds, true},
		{"sent to answered p50 ms", "Sent to answered, p50", "ms", requestScenario, RequestServiceP50, milliseconds, true},
		{"answers lost", "Answers lost", "answers", requestScenario, RecordsLost, count, false},
		{"repeated or wrong", "Answers repeated or wrong", "answers", requestScenario, RecordsUnsound, count, false},
	}},
	{connectScenario, []line{
		{"connections held", "Connections held", "connections", connectScenario, ConnectionsHeld, count, false},
		{"upgraded p50 ms", "Due to upgraded, p50", "ms", connectScenario, UpgradeP50, milliseconds, true},
		{"upgraded p99 ms", "Due to upgraded, p99", "ms", connectScenario, UpgradeP99, milliseconds, true},
		{"rule set, answered p50 ms", "Due to rule set and ping answered, p50", "ms", connectScenario, PreparedP50, milliseconds, true},
		{"rule set, answered p99 ms", "Due to rule set and ping answered, p99", "ms", connectScenario, PreparedP99, milliseconds, true},
	}},
	{churnScenario, []line{
		{"push p50 ms", "Due to received, p50", "ms", churnScenario, PushP50, milliseconds, true},
		{"push p99 ms", "Due to received, p99", "ms", churnScenario, PushP99, milliseconds, true},
		{"newcomers ready p50 ms", "Newcomers: due to rule set and ping answered, p50", "ms", churnScenario, NewcomerP50, milliseconds, true},
		{"newcomers ready p99 ms", "Newcomers: due to rule set and ping answered, p99", "ms", churnScenario, NewcomerP99, milliseconds, true},
		{"records lost", "Deliveries lost", "deliveries", churnScenario, RecordsLost, count, false},
	}},
	{slowScenario, []line{
		{"others' push p50 ms", "The others: due to received, p50", "ms", slowScenario, PushP50, milliseconds, true},
		{"others' push p99 ms", "The others: due to received, p99", "ms", slowScenario, PushP99, milliseconds, true},
		{"readers that stopped", "Connections that stopped reading", "connections", slowScenario, SlowPaused, count, false},
		{"closed by the server", "Of those, closed by the server", "connections", slowScenario, SlowClosed, count, false},
		{"records lost", "Deliveries to the others lost", "deliveries", slowScenario, RecordsLost, count, false},
	}},
}

// toolLines are the load generator's own share.
var toolLines = func() []line {
	lines := []line{
		{"idle: B/conn", "Resident memory, idle", "B per connection", idleScenario, LoadgenBytes, count, false},
		{"idle: CPU s", "Processor time, idle", "s", idleScenario, LoadgenCPUSeconds, seconds, false},
	}
	for _, timed := range timedFigures {
		name := timed.scenario
		lines = append(lines,
			line{name + ": lag p99 ms", "Sent late, " + name + ", p99", "ms", name, LoadgenLagP99, milliseconds, false},
			line{name + ": CPU s", "Processor time, " + name, "s", name, LoadgenCPUSeconds, seconds, false})
	}
	return lines
}()

const (
	noFigure = "-"
	invalid  = "!"
	// undecided marks a ratio whose spread holds 1.
	undecided = "~"
)

// cell is a figure as text, in pieces.
type cell struct {
	Value, Low, High string // Low and High are "" if there is no spread
	N                string // what the figure comes from
	Ratio            string // to the base; "" if there is none
	RatioLow         string
	RatioHigh        string
	Undecided        bool // the ratio's spread holds 1
	Invalid          bool // the figure must not be used
	RatioInvalid     bool
	Why              string // why there is no figure, or why it must not be used
}

// cells are the line's, one for each variant.
func (r *Run) cells(l line) []cell {
	var cells []cell
	for _, variant := range r.Configuration.Variants {
		cells = append(cells, r.Figure(variant.Name, l.scenario, l.name).cell(l))
	}
	return cells
}

func (f *Figure) cell(l line) cell {
	if f == nil || f.Value == nil {
		c := cell{Value: noFigure, Why: "not measured"}
		if f != nil && len(f.Unavailable) > 0 {
			c.Why = f.Unavailable[0]
		}
		return c
	}
	c := cell{Value: l.format(*f.Value), N: f.n(), Invalid: !f.Valid}
	if l.ratio && len(f.Samples) > 1 {
		low, high := spread(f.Interval, *f.Min, *f.Max)
		c.Low, c.High = l.format(low), l.format(high)
	}
	if !f.Valid {
		c.Why = f.Invalid[0]
	}
	if l.ratio && f.Ratio != nil {
		c.addRatio(f.Ratio)
	}
	return c
}

func (c *cell) addRatio(r *Ratio) {
	c.RatioInvalid = !r.Valid
	switch {
	case r.Value == nil:
		c.Ratio = noFigure
		return
	case r.Min != nil:
		low, high := spread(r.Interval, *r.Min, *r.Max)
		c.RatioLow, c.RatioHigh = ratio(low), ratio(high)
		c.Undecided = low <= 1 && 1 <= high
	}
	c.Ratio = ratio(*r.Value)
}

// n says how many of what the figure comes from.
func (f *Figure) n() string {
	switch {
	case len(f.Points) > 0:
		return plural(len(f.Points)-1, "count")
	case f.Scenario == idleScenario || f.Scenario == pingScenario:
		return plural(len(f.Samples), "measurement")
	}
	return plural(len(f.Samples), "round")
}

// n is what the cells of a line have in common; where they differ, each.
func commonN(cells []cell) string {
	var all []string
	for _, c := range cells {
		if c.N != "" && !slices.Contains(all, c.N) {
			all = append(all, c.N)
		}
	}
	switch len(all) {
	case 0:
		return "none"
	case 1:
		return all[0]
	}
	return all[0] + " to " + all[len(all)-1]
}

// figure is the cell in the text table.
func (c cell) figure() string {
	text := c.Value
	if c.Low != "" {
		text += " (" + c.Low + ".." + c.High + ")"
	}
	if c.Invalid {
		text += invalid
	}
	return text
}

// ratioText is the cell's ratio in the text table.
func (c cell) ratioText() string {
	if c.Ratio == "" || c.Ratio == noFigure {
		return c.Ratio
	}
	text := "x" + c.Ratio
	if c.RatioLow != "" {
		text += fmt.Sprintf(" (%s..%s)", c.RatioLow, c.RatioHigh)
	}
	if c.Undecided {
		text = undecided + text
	}
	if c.RatioInvalid {
		text += invalid
	}
	return text
}

// ratioProse is the cell's ratio in a sentence.
func (c cell) ratioProse() string {
	text := "×" + c.Ratio
	if c.RatioLow != "" {
		text += " (" + c.RatioLow + " to " + c.RatioHigh + ")"
	}
	if c.Undecided {
		text = undecided + text
	}
	if c.RatioInvalid {
		text += invalid
	}
	return text
}
