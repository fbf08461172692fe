package report

import (
	"fmt"

	"chatmonitor/harness/verdict"
)

// usedSection is a section that took place, with its heading.
type usedSection struct {
	title string
	shows string
	lines []line
}

// usedSections are those of the scenarios that took place, and the load generator's.
func (r *Run) usedSections() []usedSection {
	var used []usedSection
	for _, s := range sections {
		if described := r.scenario(s.scenario); described != nil {
			used = append(used, usedSection{described.Title(), described.Shows, s.lines})
		}
	}
	if r.Million != nil {
		return used // there were several load generators at a time
	}
	tool := usedSection{title: "load generator, its own share", shows: "what the tool took of the machine that it shares with the server"}
	for _, l := range toolLines {
		if r.scenario(l.scenario) != nil {
			tool.lines = append(tool.lines, l)
		}
	}
	if len(tool.lines) > 0 {
		used = append(used, tool)
	}
	return used
}

func (r *Run) title() string { return "chatmonitor: run " + r.ID }

// headlines are the figures that the findings compare.
var headlines = []struct{ scenario, name, what string }{
	{idleScenario, TotalBytes, "Memory of a connection, kernel included"},
	{pushScenario, PushP50, "Push p50"},
	{pushScenario, PushP99, "Push p99"},
	{broadcastScenario, LastReceiverP50, "Broadcast to the last receiver, p50"},
}

// findings compare the variants with the base, a sentence for each headline.
func (r *Run) findings() []string {
	var sentences []string
	if r.Million != nil {
		sentences = r.Million.ends()
	}
	for _, h := range headlines {
		text := ""
		for _, v := range r.Configuration.Variants {
			f := r.Figure(v.Name, h.scenario, h.name)
			if f == nil || f.Ratio == nil || f.Ratio.Value == nil {
				continue
			}
			c := cell{}
			c.addRatio(f.Ratio)
			if text != "" {
				text += "; "
			}
			text += v.Name + " " + c.ratioProse()
		}
		if text != "" {
			sentences = append(sentences, fmt.Sprintf("%s, divided by that of %s: %s.", h.what, r.base(), text))
		}
	}
	if m := r.Environment.Machine; r.busy() {
		sentences = append(sentences, fmt.Sprintf("The machine was busy before the run: load %s on %d cores. Expect wide spreads.", readingText(m.LoadAverage, loadText), m.Cores))
	}
	return sentences
}

// busyLoad is the load average of a core from which on it counts as busy.
const busyLoad = 0.4

// busy tells that others were at work before the run began.
func (r *Run) busy() bool {
	load, known := r.Environment.Machine.LoadAverage.Value()
	return known && load > busyLoad*float64(r.Environment.Machine.Cores)
}

func loadText(v float64) string { return fmt.Sprintf("%.2f", v) }

const interruptedNote = invalid + " The run was interrupted: what is missing was not measured."

// troubles are what went wrong, and why figures are missing.
func (r *Run) troubles() []string {
	var lines []string
	for _, f := range r.Figures {
		if f.Value == nil && len(f.Unavailable) > 0 && printed(f) {
			lines = append(lines, fmt.Sprintf("%s No %s of %s: %s", noFigure, f.Name, f.Variant, f.Unavailable[0]))
		}
	}
	for _, failure := range r.Failures {
		lines = append(lines, invalid+" "+failure.String())
	}
	if r.Interrupted {
		lines = append(lines, interruptedNote)
	}
	return lines
}

const sharedNote = "The server, the load generator and the broker share the machine."

// method says how the run was made.
func (r *Run) method() []string {
	if r.Million != nil {
		return append(r.Million.method(), sharedNote)
	}
	lines := []string{
		"Each measurement has a fresh server process and a fresh load generator, one after the other; " + r.Configuration.Order + ".",
		"The load is open: records are due on a schedule that no slow answer delays, and times begin when a record was due.",
		"Every delivery is checked: once to each receiver, byte for byte, in order within a partition.",
		"Memory is read from /proc and from Go's own metrics: before the first connection, with all of them held as the load left it, and after a full collection.",
		sharedNote,
	}
	if n := r.Configuration.Retries; n > 0 {
		lines = append(lines, fmt.Sprintf("A measurement whose load the load generator could not keep to its schedule was made again, up to %s; %s. `run.json` says which, and why. What a server does wrong is not made again.",
			plural(n, "time"), pluralWere(len(r.Repeated), "attempt")))
	}
	switch n := r.Configuration.Rounds; {
	case n >= verdict.BootstrapFrom:
		lines = append(lines, fmt.Sprintf("Intervals are of the median of %d rounds, for ratios of the median of their paired ratios: percentile bootstrap, %g %%. Slopes: the smallest and the largest between two counts.",
			n, 100*wantedCoverage))
	case n > 1:
		lines = append(lines, fmt.Sprintf("Spreads are the smallest and the largest round: of %d rounds they hold the median of all rounds there could be in %.3g %% of cases.",
			n, 100*verdict.MedianCoverage(n)))
	}
	return lines
}
