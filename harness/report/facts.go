package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// fact is one line of what a run was made of.
type fact struct{ Name, Value string }

// facts say where the run took place, and what was run.
func (r *Run) facts() []fact {
	m, c := r.Environment.Machine, r.Configuration
	facts := []fact{
		{"Started", r.Started.UTC().Format("2006-01-02 15:04:05") + " UTC, took " + (time.Duration(r.Seconds) * time.Second).String()},
		{"Processors", fmt.Sprintf("%d x %s", m.Cores, m.CPUModel)},
		{"Memory", readingText(m.MemoryBytes, gibibytes) + ", " + readingText(m.MemoryAvailableBytes, gibibytes) + " available"},
		{"Load before the run", readingText(m.LoadAverage, loadText) + " (average of a minute)"},
		{"Steal", readingText(m.StealShare, func(v float64) string { return fmt.Sprintf("%.2g %% of the processors' time since boot", 100*v) })},
		{"Governor", cmp.Or(m.Governor, "none that the kernel shows")},
		{"Kernel", m.OS + " " + m.Kernel + ", " + m.Arch},
		{"Commit", r.commit()},
		{"Go", r.Environment.GoVersion},
		{"Broker", strings.TrimSpace(c.Broker.Kind + brokerNote(c.Broker))},
		{"Order", c.Order},
	}
	if r.Million != nil {
		facts = append(facts, r.Million.facts()...)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Environment.Variables)) {
		facts = append(facts, fact{"Environment", name + "=" + r.Environment.Variables[name]})
	}
	for _, b := range c.ConnectionsFrom {
		text := b.Found
		if b.Decides {
			text += " (decides how many connections there are)"
		}
		facts = append(facts, fact{"Limit: " + b.Name, text})
	}
	for _, b := range r.Environment.Binaries {
		text := b.short() + ", " + b.GoVersion
		if b.Unknown != "" {
			text = "unknown: " + b.Unknown
		}
		facts = append(facts, fact{"Program " + b.Name, text})
	}
	return facts
}

func gibibytes(v float64) string { return fmt.Sprintf("%.1f GiB", v/(1<<30)) }

// short is enough of the sum to tell programs apart.
func (b Binary) short() string { return "sha256 " + b.SHA256[:min(len(b.SHA256), 16)] }

func (r *Run) commit() string {
	if r.Environment.Dirty {
		return r.Environment.Commit + " with changes"
	}
	return r.Environment.Commit
}

// again is the command line that asks for the same run.
func (r *Run) again() string {
	if r.Million != nil {
		return r.climbAgain()
	}
	c := r.Configuration
	var variants, scenarios []string
	for _, v := range c.Variants {
		variants = append(variants, v.Name)
	}
	for _, s := range c.Scenarios {
		scenarios = append(scenarios, s.Name)
	}
	more := ""
	if c.CalibrateShare > 0 {
		more = fmt.Sprintf(" --calibrate=%g", c.CalibrateShare)
	}
	if c.Retries > 0 {
		more += fmt.Sprintf(" --retries=%d", c.Retries)
	}
	return fmt.Sprintf("harness run --variants=%s --scenarios=%s --connections=%d --rate=%g --duration=%gs --warmup=%gs --rounds=%d --seed=%d%s",
		strings.Join(variants, ","), strings.Join(scenarios, ","), c.Connections, c.RatePerSecond, c.DurationSeconds, c.WarmupSeconds, c.Rounds, c.Seed, more)
}

// commands are the first server and load generator of each scenario and variant.
func (r *Run) commands() []string {
	var lines []string
	seen := map[[2]string]bool{}
	for _, m := range r.Measurements {
		key := [2]string{m.Scenario, m.Variant}
		if seen[key] {
			continue
		}
		seen[key] = true
		lines = append(lines, "# "+m.Scenario+", "+m.Variant, quoted(m.ServerCommand), quoted(m.LoadgenCommand))
	}
	return lines
}

// quoted is the command as a shell takes it.
func quoted(command []string) string {
	var words []string
	for _, word := range command {
		if word == "" || strings.ContainsFunc(word, func(c rune) bool {
			return !strings.ContainsRune("-_./:=,@%+", c) && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
		}) {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}
