package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// line is one figure of every variant.
type line struct {
	label    string
	scenario string
	name     string
	format   func(float64) string
	ratio    bool // with a line of ratios to the base below
}

// section is the lines of one scenario.
type section struct {
	scenario string
	lines    []line
}

var sections = []section{
	{idleScenario, []line{
		{"connections held", idleScenario, ConnectionsHeld, count, false},
		{"resident B/conn, as left", idleScenario, ResidentBytes, count, true},
		{"resident B/conn, after GC", idleScenario, ResidentBytesGC, count, true},
		{"kernel B/conn, both ends", idleScenario, KernelBytes, count, true},
		{"resident + kernel B/conn", idleScenario, TotalBytes, count, true},
	}},
	{pushScenario, []line{
		{"push p50 ms", pushScenario, PushP50, milliseconds, true},
		{"push p99 ms", pushScenario, PushP99, milliseconds, true},
		{"records lost", pushScenario, RecordsLost, count, false},
	}},
	{broadcastScenario, []line{
		{"first receiver p50 ms", broadcastScenario, FirstReceiverP50, milliseconds, true},
		{"last receiver p50 ms", broadcastScenario, LastReceiverP50, milliseconds, true},
		{"deliveries/s", broadcastScenario, DeliveriesPerSec, count, true},
		{"records lost", broadcastScenario, RecordsLost, count, false},
	}},
}

// toolLines are the load generator's own share.
var toolLines = []line{
	{"idle: B/conn", idleScenario, LoadgenBytes, count, false},
	{"idle: CPU s", idleScenario, LoadgenCPUSeconds, seconds, false},
	{"push: lag p99 ms", pushScenario, LoadgenLagP99, milliseconds, false},
	{"push: CPU s", pushScenario, LoadgenCPUSeconds, seconds, false},
	{"broadcast: lag p99 ms", broadcastScenario, LoadgenLagP99, milliseconds, false},
	{"broadcast: CPU s", broadcastScenario, LoadgenCPUSeconds, seconds, false},
}

// Print writes the comparative table and what must be known to read it.
func (r *Run) Print(w io.Writer) error {
	var out strings.Builder
	r.writeTable(&out)
	r.writeNotes(&out)
	out.WriteString("\n" + r.Statement() + "\n")
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("report: print the table: %w", err)
	}
	return nil
}

// writeTable has a column for each variant and a section for each scenario that
// took place.
func (r *Run) writeTable(out *strings.Builder) {
	heading := []string{""}
	for _, variant := range r.Configuration.Variants {
		heading = append(heading, variant.Name)
	}
	rows := [][]string{heading}
	for _, s := range sections {
		if described := r.scenario(s.scenario); described != nil {
			rows = append(rows, []string{described.Title()})
			rows = append(rows, r.rows(s.lines)...)
		}
	}
	rows = append(rows, []string{"load generator, its own share"})
	rows = append(rows, r.rows(toolLines)...)
	writeAligned(out, rows)
}

func (r *Run) rows(lines []line) [][]string {
	var rows [][]string
	for _, l := range lines {
		if r.scenario(l.scenario) == nil {
			continue
		}
		row, ratios := []string{"  " + l.label}, []string{"    / " + r.base()}
		for _, variant := range r.Configuration.Variants {
			f := r.Figure(variant.Name, l.scenario, l.name)
			row, ratios = append(row, f.cell(l)), append(ratios, f.ratioCell())
		}
		rows = append(rows, row)
		if l.ratio && slices.ContainsFunc(ratios[1:], func(cell string) bool { return cell != "" }) {
			rows = append(rows, ratios)
		}
	}
	return rows
}

const (
	noFigure = "-"
	invalid  = "!"
)

// cell is the figure with its spread. Of sums, every round is in the figure already.
func (f *Figure) cell(l line) string {
	if f == nil || f.Value == nil {
		return noFigure
	}
	text := l.format(*f.Value)
	if low, high := l.format(*f.Min), l.format(*f.Max); l.ratio && len(f.Samples) > 1 {
		text += " (" + low + ".." + high + ")"
	}
	if !f.Valid {
		text += invalid
	}
	return text
}

func (f *Figure) ratioCell() string {
	switch {
	case f == nil || f.Ratio == nil:
		return ""
	case f.Ratio.Value == nil:
		return noFigure
	}
	text := "x" + ratio(*f.Ratio.Value)
	if f.Ratio.Min != nil {
		text += " (" + ratio(*f.Ratio.Min) + ".." + ratio(*f.Ratio.Max) + ")"
	}
	if !f.Ratio.Valid {
		text += invalid
	}
	return text
}

// Title is the scenario in a line: what was done, how often, for how long.
func (s Scenario) Title() string {
	var counts []string
	for _, n := range s.Connections {
		counts = append(counts, count(float64(n)))
	}
	connections := strings.Join(counts, " / ") + " connections"
	if s.RatePerSecond == 0 {
		return s.Name + ": " + connections + ", with a rule each, at rest"
	}
	to := fmt.Sprintf("to %s of %s", count(float64(s.Receivers)), connections)
	if s.Receivers > 1 && s.Receivers == s.Connections[len(s.Connections)-1] {
		to = "to all of " + connections
	}
	return fmt.Sprintf("%s: %g records/s, each %s; %s of %g s after %g s of warm-up",
		s.Name, s.RatePerSecond, to, rounds(s.Rounds), s.DurationSeconds, s.WarmupSeconds)
}

func rounds(n int) string {
	if n == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", n)
}

// writeAligned writes the first column to the left and the others to the right. A
// row of one cell is a title, which may be as long as it likes.
func writeAligned(out *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		if len(row) == 1 {
			continue
		}
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
			switch {
			case i == 0:
				line.WriteString(cell + pad)
			default:
				line.WriteString("  " + pad + cell)
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

func (r *Run) writeNotes(out *strings.Builder) {
	notes := r.legend()
	for _, f := range r.Figures {
		if f.Value == nil && len(f.Unavailable) > 0 && printed(f) {
			notes = append(notes, fmt.Sprintf("- No %s of %s: %s", f.Name, f.Variant, f.Unavailable[0]))
		}
	}
	for _, failure := range r.Failures {
		notes = append(notes, invalid+" "+failure.String())
	}
	if r.Interrupted {
		notes = append(notes, invalid+" The run was interrupted: what is missing was not measured.")
	}
	if len(notes) > 0 {
		out.WriteString("\n" + strings.Join(notes, "\n") + "\n")
	}
}

// legend says what the lines mean.
func (r *Run) legend() []string {
	var lines []string
	if r.scenario(idleScenario) != nil {
		lines = append(lines, "Memory: slope over the number of connections (smallest..largest slope between two counts).")
	}
	if r.scenario(pushScenario) != nil || r.scenario(broadcastScenario) != nil {
		lines = append(lines, "Times: from when a record was due to when its client had it; median of the rounds (smallest..largest).")
	}
	if r.scenario(broadcastScenario) != nil {
		lines = append(lines, "Deliveries/s: receivers / median time to the last of them.")
	}
	if len(r.Configuration.Variants) > 1 {
		lines = append(lines, fmt.Sprintf("/ %s: in the same round, where there are rounds; else figure by figure; %s: its own can't be told from zero.", r.base(), noFigure))
	}
	for _, v := range r.Configuration.Variants {
		if v.Note != "" {
			lines = append(lines, v.Name+": "+v.Note+".")
		}
	}
	return lines
}

// scenario is one that took place; nil if it did not.
func (r *Run) scenario(name string) *Scenario {
	for i := range r.Configuration.Scenarios {
		if s := &r.Configuration.Scenarios[i]; s.Name == name {
			return s
		}
	}
	return nil
}

func printed(f Figure) bool {
	return slices.ContainsFunc(sections, func(s section) bool {
		return slices.ContainsFunc(s.lines, func(l line) bool { return l.name == f.Name && l.scenario == f.Scenario })
	})
}

// Statement says in one line where the figures come from.
func (r *Run) Statement() string {
	m := r.Environment.Machine
	memory := "memory unknown"
	if bytes, known := m.MemoryBytes.Value(); known {
		memory = fmt.Sprintf("%.1f GiB", bytes/(1<<30))
	}
	commit := r.Environment.Commit
	if r.Environment.Dirty {
		commit += " with changes"
	}
	return fmt.Sprintf("%d x %s, %s, Linux %s, %s, commit %s; %s Kafka broker%s.",
		m.Cores, m.CPUModel, memory, m.Kernel, r.Environment.GoVersion, commit,
		r.Configuration.Broker.Kind, brokerNote(r.Configuration.Broker))
}

func brokerNote(b Broker) string {
	if b.Note == "" {
		return ""
	}
	return " (" + b.Note + ")"
}

// count prints a whole number with separators.
func count(v float64) string {
	digits := strconv.FormatFloat(math.Abs(math.Round(v)), 'f', 0, 64)
	var out strings.Builder
	if math.Round(v) < 0 {
		out.WriteByte('-')
	}
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(digit)
	}
	return out.String()
}

// milliseconds prints nanoseconds with three digits that count.
func milliseconds(ns float64) string { return threeDigits(ns / 1e6) }

func seconds(v float64) string { return threeDigits(v) }

func ratio(v float64) string { return threeDigits(v) }

func threeDigits(v float64) string {
	decimals := 2
	for limit := 10.0; decimals > 0 && math.Abs(v) >= limit; limit *= 10 {
		decimals--
	}
	if v != 0 && math.Abs(v) < 1 {
		decimals = 3
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}
