package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"chatmonitor/harness/verdict"
)

// Print writes the comparative table and what must be known to read it.
func (r *Run) Print(w io.Writer) error {
	var out strings.Builder
	if r.Million != nil {
		r.printClimbs(&out)
		return writeText(w, out.String())
	}
	standing, why := r.Standing()
	fmt.Fprintf(&out, "%s: %s\n\n", standing, why)
	r.writeTable(&out)
	r.writeNotes(&out)
	out.WriteString("\n" + r.Statement() + "\n")
	return writeText(w, out.String())
}

// writeTable has a column for each variant and a section for each scenario that
// took place.
func (r *Run) writeTable(out *strings.Builder) {
	heading := []string{""}
	for _, variant := range r.Configuration.Variants {
		heading = append(heading, variant.Name)
	}
	rows := [][]string{heading}
	for _, s := range r.usedSections() {
		rows = append(append(rows, []string{s.title}), r.rows(s.lines)...)
	}
	writeAligned(out, rows)
}

func (r *Run) rows(lines []line) [][]string {
	var rows [][]string
	for _, l := range lines {
		row, ratios := []string{"  " + l.text}, []string{"    / " + r.base()}
		for _, cell := range r.cells(l) {
			row, ratios = append(row, cell.figure()), append(ratios, cell.ratioText())
		}
		rows = append(rows, row)
		if l.ratio && slices.ContainsFunc(ratios[1:], func(cell string) bool { return cell != "" }) {
			rows = append(rows, ratios)
		}
	}
	return rows
}

// Title is the scenario in a line: what was done, how often, for how long.
func (s Scenario) Title() string {
	var counts []string
	for _, n := range s.Connections {
		counts = append(counts, count(float64(n)))
	}
	connections := strings.Join(counts, " / ") + " connections"
	switch {
	case s.Name == pingScenario:
		return s.Name + ": " + connections + " that do nothing but answer the server's pings"
	case s.RatePerSecond == 0:
		return s.Name + ": " + connections + ", with a rule each, at rest"
	}
	title := fmt.Sprintf("%s: %s %s/s", s.Name, rate(s.RatePerSecond), cmp.Or(s.Events, "records"))
	if s.RateFrom != "" {
		title += " (" + s.RateFrom + ")"
	}
	switch {
	case s.Receivers > 1 && s.Receivers == s.Connections[len(s.Connections)-1]:
		title += ", each to all of " + connections
	case s.Receivers > 0:
		title += fmt.Sprintf(", each to %s of %s", count(float64(s.Receivers)), connections)
	default:
		title += ", " + connections
	}
	if s.With != "" {
		title += ", " + s.With
	}
	title += "; " + rounds(s.Rounds)
	if s.DurationSeconds > 0 {
		title += fmt.Sprintf(" of %g s after %g s of warm-up", s.DurationSeconds, s.WarmupSeconds)
	}
	return title
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
	if notes := append(r.legend(), r.troubles()...); len(notes) > 0 {
		out.WriteString("\n" + strings.Join(notes, "\n") + "\n")
	}
}

// legend says what the lines mean.
func (r *Run) legend() []string {
	var lines []string
	if r.scenario(idleScenario) != nil {
		lines = append(lines, "Memory: slope over the number of connections (smallest..largest slope between two counts).")
		lines = append(lines, r.projection()...)
	}
	if slices.ContainsFunc(r.Configuration.Scenarios, func(s Scenario) bool { return s.RatePerSecond > 0 }) {
		lines = append(lines, "Times: from when an event was due, whatever happened before, to its end (a client has the record, the answer, the upgrade); median of the rounds ("+r.spreadNote()+").")
	}
	if r.scenario(broadcastScenario) != nil {
		lines = append(lines, "Deliveries/s: receivers / median time to the last of them.")
	}
	if len(r.Configuration.Variants) > 1 {
		lines = append(lines, fmt.Sprintf("/ %s: in the same round, where there are rounds; else figure by figure. %s: the rounds don't agree on which is larger.\n"+
			"  %s: the base's own can't be told from zero.", r.base(), undecided, noFigure))
	}
	for _, v := range r.Configuration.Variants {
		if v.Note != "" {
			lines = append(lines, v.Name+": "+v.Note+".")
		}
		lines = append(lines, r.absences(v.Name)...)
	}
	return lines
}

// absences say which scenarios leave the variant out, and why.
func (r *Run) absences(variant string) []string {
	var lines []string
	for _, s := range r.Configuration.Scenarios {
		if why, left := s.LeftOut[variant]; left {
			lines = append(lines, fmt.Sprintf("%s has no part in %s: %s.", variant, s.Name, why))
		}
	}
	return lines
}

// projectedConnections is what slopes are carried on to, apart from what was measured.
const projectedConnections = 1_000_000

// projection carries the slopes on to a million, unless so many were measured.
func (r *Run) projection() []string {
	var each []string
	for _, v := range r.Configuration.Variants {
		f, base := r.Figure(v.Name, idleScenario, ResidentBytes), r.Figure(v.Name, idleScenario, BaselineBytes)
		if f == nil || base == nil || f.Value == nil || base.Value == nil || !f.Valid || r.Configuration.Connections >= projectedConnections {
			continue
		}
		each = append(each, fmt.Sprintf("%s %s", v.Name, gibibytes(*base.Value+projectedConnections**f.Value)))
	}
	if each == nil {
		return nil
	}
	return []string{fmt.Sprintf("Projected, not measured: with %s connections, resident as left: %s; harness million measures it.",
		count(projectedConnections), strings.Join(each, ", "))}
}

// spreadNote says what stands in brackets behind the median of rounds.
func (r *Run) spreadNote() string {
	if r.Configuration.Rounds >= verdict.BootstrapFrom {
		return fmt.Sprintf("%g %% bootstrap interval", 100*wantedCoverage)
	}
	return "smallest..largest"
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
	return fmt.Sprintf("%d x %s, %s, Linux %s, %s, commit %s; %s Kafka broker%s.",
		m.Cores, m.CPUModel, memory, m.Kernel, r.Environment.GoVersion, r.commit(),
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

func microseconds(ns float64) string { return threeDigits(ns / 1e3) }

func seconds(v float64) string { return threeDigits(v) }

func ratio(v float64) string { return threeDigits(v) }

// threeDigits prints the digits that count, and of large numbers all.
func threeDigits(v float64) string {
	if math.Abs(v) >= 1000 {
		return count(v)
	}
	decimals := 2
	for limit := 10.0; decimals > 0 && math.Abs(v) >= limit; limit *= 10 {
		decimals--
	}
	if v != 0 && math.Abs(v) < 1 {
		decimals = 3
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// rate prints events per second: small ones may follow from others by a root.
func rate(v float64) string {
	if v < 100 {
		v = math.Round(v*100) / 100
	}
	return short(v)
}

// short prints a number without digits that say nothing.
func short(v float64) string {
	if v >= 1000 {
		return count(v)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
