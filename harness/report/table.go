package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"chatmonitor/harness/verdict"
)

// column is one figure of every variant.
type column struct {
	heading  []string // two lines
	scenario string
	name     string
	format   func(float64) string
	spread   bool // with min..max
	ratio    bool // compared with the first variant
}

var columns = []column{
	{[]string{"connections", "held"}, pushScenario, ConnectionsHeld, count, false, false},
	{[]string{"resident B/conn", "as left"}, idleScenario, ResidentBytes, count, true, true},
	{[]string{"resident B/conn", "after GC"}, idleScenario, ResidentBytesGC, count, true, true},
	{[]string{"kernel B/conn", "both ends"}, idleScenario, KernelBytes, count, false, false},
	{[]string{"push p50", "ms"}, pushScenario, PushP50, milliseconds, true, true},
	{[]string{"push p99", "ms"}, pushScenario, PushP99, milliseconds, true, true},
	{[]string{"records", "lost"}, pushScenario, RecordsLost, count, false, false},
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

func (r *Run) writeTable(out *strings.Builder) {
	used := r.usedColumns()
	rows := [][]string{{"variant"}, {""}}
	for _, c := range used {
		rows[0] = append(rows[0], c.heading[0])
		rows[1] = append(rows[1], c.heading[1])
	}
	for i, variant := range r.Configuration.Variants {
		row := []string{variant.Name}
		for _, c := range used {
			row = append(row, r.cell(variant.Name, c))
		}
		rows = append(rows, row)
		if i > 0 {
			rows = append(rows, r.ratioRow(variant.Name, r.Configuration.Variants[0].Name, used))
		}
	}
	writeAligned(out, rows)
}

// usedColumns leaves out scenarios that did not take place. How many connections
// were held is known from either.
func (r *Run) usedColumns() []column {
	var used []column
	for _, c := range columns {
		if c.name == ConnectionsHeld && !r.took(c.scenario) {
			c.scenario = idleScenario
		}
		if r.took(c.scenario) {
			used = append(used, c)
		}
	}
	return used
}

const (
	noFigure = "-"
	invalid  = "!"
)

func (r *Run) cell(variant string, c column) string {
	f := r.Figure(variant, c.scenario, c.name)
	if f == nil || f.Value == nil {
		return noFigure
	}
	text := c.format(*f.Value)
	if c.spread && len(f.Samples) > 1 {
		text += " (" + c.format(*f.Min) + ".." + c.format(*f.Max) + ")"
	}
	if !f.Valid {
		text += invalid
	}
	return text
}

func (r *Run) ratioRow(variant, base string, used []column) []string {
	row := []string{"  / " + base}
	for _, c := range used {
		row = append(row, r.ratioCell(variant, base, c))
	}
	return row
}

// ratioCell compares with the first variant: the medians of the paired rounds
// where rounds were paired, else the two figures.
func (r *Run) ratioCell(variant, base string, c column) string {
	a, b := r.Figure(variant, c.scenario, c.name), r.Figure(base, c.scenario, c.name)
	if !c.ratio || a == nil || b == nil || a.Value == nil || b.Value == nil || *b.Value == 0 {
		return ""
	}
	mark := ""
	if !a.Valid || !b.Valid {
		mark = invalid
	}
	if c.scenario == pushScenario {
		s := verdict.Summarize(verdict.PairedRatios(inSameRounds(a, b)))
		if s.Count > 1 {
			return fmt.Sprintf("x%s (%s..%s)%s", ratio(s.Median), ratio(s.Min), ratio(s.Max), mark)
		}
	}
	return "x" + ratio(*a.Value / *b.Value) + mark
}

// inSameRounds returns the samples of the rounds that both have.
func inSameRounds(a, b *Figure) (as, bs []float64) {
	for i, round := range a.Rounds {
		if j := slices.Index(b.Rounds, round); j >= 0 {
			as, bs = append(as, a.Samples[i]), append(bs, b.Samples[j])
		}
	}
	return as, bs
}

// writeAligned writes the first column to the left and the others to the right.
func writeAligned(out *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
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

// legend says what the columns mean.
func (r *Run) legend() []string {
	var lines []string
	c := r.Configuration
	if r.took(pushScenario) {
		lines = append(lines, fmt.Sprintf("Push: from when a record is due to when its client has it, at %g records a second for %g s; median of %d rounds (min..max);\n"+
			"  ratios are between variants in the same round.", c.RatePerSecond, c.DurationSeconds, c.Rounds))
	}
	if r.took(idleScenario) {
		lines = append(lines, "Memory: slope over the number of connections (smallest..largest slope between two counts).")
	}
	return lines
}

func (r *Run) took(scenario string) bool {
	return slices.ContainsFunc(r.Configuration.Scenarios, func(s Scenario) bool { return s.Name == scenario })
}

func printed(f Figure) bool {
	return slices.ContainsFunc(columns, func(c column) bool { return c.name == f.Name && c.scenario == f.Scenario })
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
