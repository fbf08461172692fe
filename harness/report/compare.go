package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"chatmonitor/harness/verdict"
)

// Comparison is two runs side by side: B divided by A.
type Comparison struct {
	A, B     *Run
	Differs  []Difference // in what else they differ
	Compared []Compared
	Left     []string // figures that only one of them has, or that must not be used
}

// Difference is something other than the figures in which the runs differ.
type Difference struct{ What, A, B string }

// Compared is one figure of both runs.
type Compared struct {
	Line    line
	Variant string
	A, B    *Figure
	// Ratio is B / A. With rounds: the Hodges-Lehmann ratio with the Mann-Whitney
	// interval. Without: value by value, and the interval is the widest that the
	// spreads allow, which covers nobody knows how much.
	Ratio  verdict.Interval
	Rounds bool
	// OverBase is the same with each run's figure divided by its own base, round by
	// round: what one day's machine does to all variants alike is not in it. nil:
	// there is none.
	OverBase *verdict.Interval
}

// wantedCoverage is what an interval should cover, if there are samples enough.
const wantedCoverage = 0.95

// Compare puts the figures that both runs have side by side.
func Compare(a, b *Run) *Comparison {
	c := &Comparison{A: a, B: b, Differs: differences(a, b)}
	for _, s := range sections {
		for _, l := range s.lines {
			for _, v := range a.Configuration.Variants {
				c.compare(l, v.Name)
			}
		}
	}
	return c
}

func (c *Comparison) compare(l line, variant string) {
	if !l.ratio || c.A.scenario(l.scenario) == nil || c.B.scenario(l.scenario) == nil {
		return
	}
	a, b := c.A.Figure(variant, l.scenario, l.name), c.B.Figure(variant, l.scenario, l.name)
	name := fmt.Sprintf("%s: %s of %s", l.scenario, l.text, variant)
	switch {
	case a == nil || b == nil || a.Value == nil || b.Value == nil:
		c.Left = append(c.Left, name+": not in both runs")
		return
	case !a.Valid:
		c.Left = append(c.Left, name+": invalid in A: "+a.Invalid[0])
		return
	case !b.Valid:
		c.Left = append(c.Left, name+": invalid in B: "+b.Invalid[0])
		return
	}
	compared := Compared{Line: l, Variant: variant, A: a, B: b}
	var ok bool
	if compared.Rounds = len(a.Points) == 0; compared.Rounds {
		compared.Ratio, ok = verdict.IndependentRatio(b.Samples, a.Samples, wantedCoverage)
	} else {
		compared.Ratio, ok = widestRatio(b, a)
	}
	if !ok {
		c.Left = append(c.Left, name+": can't be told from zero")
		return
	}
	compared.OverBase = overBase(a, b)
	c.Compared = append(c.Compared, compared)
}

// widestRatio divides slopes.
func widestRatio(over, by *Figure) (verdict.Interval, bool) {
	if *by.Min <= 0 || *over.Min <= 0 {
		return verdict.Interval{}, false
	}
	return verdict.Interval{Value: *over.Value / *by.Value, Low: *over.Min / *by.Max, High: *over.Max / *by.Min, Coverage: math.NaN()}, true
}

func overBase(a, b *Figure) *verdict.Interval {
	if a.Ratio == nil || b.Ratio == nil || a.Ratio.Base != b.Ratio.Base || !a.Ratio.Valid || !b.Ratio.Valid {
		return nil
	}
	if len(a.Ratio.Samples) == 0 || len(b.Ratio.Samples) == 0 {
		return nil
	}
	ratio, ok := verdict.IndependentRatio(b.Ratio.Samples, a.Ratio.Samples, wantedCoverage)
	if !ok {
		return nil
	}
	return &ratio
}

// differences are what may explain a difference besides the code.
func differences(a, b *Run) []Difference {
	var found []Difference
	differ := func(what string, x, y any) {
		if as, bs := fmt.Sprint(x), fmt.Sprint(y); as != bs {
			found = append(found, Difference{what, as, bs})
		}
	}
	differ("commit", a.commit(), b.commit())
	if a.commit() == b.commit() { // which says nothing of what was changed beside it
		for _, p := range a.Environment.Binaries {
			for _, q := range b.Environment.Binaries {
				if p.Name == q.Name && p.SHA256 != "" && q.SHA256 != "" {
					differ("program "+p.Name, p.short(), q.short())
				}
			}
		}
	}
	differ("Go", a.Environment.GoVersion, b.Environment.GoVersion)
	m, n := a.Environment.Machine, b.Environment.Machine
	differ("processors", fmt.Sprintf("%d x %s", m.Cores, m.CPUModel), fmt.Sprintf("%d x %s", n.Cores, n.CPUModel))
	differ("memory", readingText(m.MemoryBytes, gibibytes), readingText(n.MemoryBytes, gibibytes))
	differ("kernel", m.OS+" "+m.Kernel+" "+m.Arch, n.OS+" "+n.Kernel+" "+n.Arch)
	if a.busy() || b.busy() {
		differ("load before the run", readingText(m.LoadAverage, loadText), readingText(n.LoadAverage, loadText))
	}
	differ("environment", variables(a), variables(b))
	c, d := a.Configuration, b.Configuration
	differ("broker", c.Broker.Kind, d.Broker.Kind)
	differ("ratios divide by", a.base(), b.base())
	for i := range c.Scenarios {
		if other := b.scenario(c.Scenarios[i].Name); other != nil {
			differ(c.Scenarios[i].Name, c.Scenarios[i].Title(), other.Title())
		}
	}
	return found
}

func variables(r *Run) string {
	var all []string
	for _, f := range r.facts() {
		if f.Name == "Environment" {
			all = append(all, f.Value)
		}
	}
	if all == nil {
		return "nothing set"
	}
	return strings.Join(all, " ")
}

// machineDiffers tells that the runs are of different machines.
func (c *Comparison) machineDiffers() bool {
	return slices.ContainsFunc(c.Differs, func(d Difference) bool {
		return slices.Contains([]string{"processors", "memory", "kernel"}, d.What)
	})
}

// loadDiffers names the scenarios that were not the same load.
func (c *Comparison) loadDiffers() []string {
	var names []string
	for _, d := range c.Differs {
		if c.A.scenario(d.What) != nil {
			names = append(names, d.What)
		}
	}
	return names
}

// Print writes the comparison as text.
func (c *Comparison) Print(w io.Writer) error {
	var out strings.Builder
	for _, named := range []struct {
		name string
		run  *Run
	}{{"A", c.A}, {"B", c.B}} {
		standing, why := named.run.Standing()
		fmt.Fprintf(&out, "%s: %s, %s: %s\n", named.name, named.run.ID, standing, why)
	}
	c.printDifferences(&out)
	out.WriteString("\n")
	if len(c.Compared) > 0 {
		writeAligned(&out, c.rows())
		out.WriteString("\n")
	}
	for _, note := range c.notes() {
		out.WriteString(note + "\n")
	}
	return writeText(w, out.String())
}

func (c *Comparison) printDifferences(out *strings.Builder) {
	if len(c.Differs) == 0 {
		out.WriteString("\nSame commit, machine, broker and load.\n")
		return
	}
	out.WriteString("\nThey differ in:\n")
	for _, d := range c.Differs {
		fmt.Fprintf(out, "  %s\n    A: %s\n    B: %s\n", d.What, d.A, d.B)
	}
}

func (c *Comparison) rows() [][]string {
	rows := [][]string{{"", "A", "B", "B / A", "n", "covers", "B / A, each over its base"}}
	for i, compared := range c.Compared {
		if i == 0 || c.Compared[i-1].Line.text != compared.Line.text || c.Compared[i-1].Line.scenario != compared.Line.scenario {
			rows = append(rows, []string{compared.Line.scenario + ": " + compared.Line.text})
		}
		rows = append(rows, compared.row())
	}
	return rows
}

func (c *Compared) row() []string {
	covers, over := "?", ""
	if c.Rounds {
		covers = coverage(c.Ratio)
	}
	if c.OverBase != nil {
		over = intervalText(*c.OverBase)
	}
	return []string{"  " + c.Variant, c.A.cell(c.Line).figure(), c.B.cell(c.Line).figure(), intervalText(c.Ratio),
		fmt.Sprintf("%d, %d", c.A.samples(), c.B.samples()), covers, over}
}

// samples is how many the figure comes from.
func (f *Figure) samples() int {
	if len(f.Points) > 0 {
		return len(f.Points) - 1
	}
	return len(f.Samples)
}

func coverage(i verdict.Interval) string { return fmt.Sprintf("%.3g %%", 100*i.Coverage) }

func intervalText(i verdict.Interval) string {
	text := fmt.Sprintf("x%s (%s..%s)", ratio(i.Value), ratio(i.Low), ratio(i.High))
	if i.Low <= 1 && 1 <= i.High {
		text = undecided + text
	}
	return text
}

// notes say what the comparison can't say.
func (c *Comparison) notes() []string {
	notes := []string{
		undecided + ": the interval holds 1: no difference is shown.",
		"With rounds: Hodges-Lehmann ratio of all pairs of rounds, exact Mann-Whitney interval; \"covers\" is how often such an interval holds the true ratio.",
		"Slopes: value by value, with the widest interval that the spreads allow; it covers nobody knows how much.",
		"Runs of different times differ without any change, many a time by a tenth. \"Each over its base\" leaves out what hit all variants alike.",
	}
	if c.machineDiffers() {
		notes = append(notes, invalid+" The machines differ: a ratio says as much of them as of the programs. Only the last column may be compared.")
	}
	if names := c.loadDiffers(); len(names) > 0 {
		notes = append(notes, invalid+" Not the same load: "+strings.Join(names, ", ")+". Those ratios do not compare the programs.")
	}
	for _, left := range c.Left {
		notes = append(notes, noFigure+" "+left)
	}
	return notes
}
