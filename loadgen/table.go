package main

import (
	"fmt"
	"io"
	"strings"

	"chatmonitor/loadgen/sample"
)

func (p *program) print(r *result, to outputFlags) error {
	switch {
	case to.Control:
		return writeLine(p.stdout, map[string]any{"event": "result", "result": r})
	case to.JSON:
		return writeLine(p.stdout, r)
	}
	if _, err := io.WriteString(p.stdout, r.table()); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}

// table is the result for people.
func (r *result) table() string {
	var b strings.Builder
	line := func(heading, format string, args ...any) {
		fmt.Fprintf(&b, "%-13s "+format+"\n", append([]any{heading}, args...)...)
	}
	c := r.Connections
	line(r.Scenario, "%s", r.URL)
	line("connections", "%d of %d held, up in %.2f s (%.0f/s); %d failed, %d dropped",
		c.Held, c.Asked, c.ConnectSeconds, float64(c.Held)/max(c.ConnectSeconds, 1e-9), c.Failed, c.Dropped)
	if n := r.Records; n != nil {
		line("records", "%d of %d produced, %d acknowledged", n.Produced, n.Asked, n.Acknowledged)
		line("deliveries", "%d of %d; %d lost, %d duplicated, %d wrong, %d reordered",
			n.Deliveries, n.DeliveriesExpected, n.Lost, n.Duplicated, n.Wrong, n.Reordered)
	}
	if r.Rate != nil {
		line("rate", "%.2f/s of %.2f/s", r.Rate.AchievedPerSecond, r.Rate.AskedPerSecond)
	}
	if len(r.Latency) > 0 {
		line("latency, ms", "%9s %9s %9s %9s %9s %9s %9s", "count", "min", "p50", "p90", "p99", "p99.9", "max")
	}
	for _, name := range []string{response, service, lag} {
		if h, ok := r.Latency[name]; ok {
			line("  "+name, "%s", latencyRow(h))
		}
	}
	line("loadgen", "%.1f MiB resident, %d B a connection, %.2f s of processor time, %d goroutines",
		float64(r.Self.RSSBytes)/(1<<20), r.Self.BytesPerConnection, r.Self.CPUSeconds, r.Self.Goroutines)
	line("verdict", "%s", r.verdict())
	return b.String()
}

// latencyRow leaves out a percentile that fewer than ten samples lie beyond: it would be a guess.
func latencyRow(h sample.Summary) string {
	cell := func(ns int64, isKnown bool) string {
		if !isKnown {
			return "~"
		}
		return fmt.Sprintf("%.3f", float64(ns)/1e6)
	}
	some := h.Count > 0
	return fmt.Sprintf("%9d %9s %9s %9s %9s %9s %9s", h.Count, cell(h.MinNs, some), cell(h.P50Ns, some), cell(h.P90Ns, h.Count >= 100),
		cell(h.P99Ns, h.Count >= 1000), cell(h.P999Ns, h.Count >= 10_000), cell(h.MaxNs, some))
}

func (r *result) verdict() string {
	var parts []string
	if len(r.WrongBecause) > 0 {
		parts = append(parts, "the server was WRONG: "+strings.Join(r.WrongBecause, "; "))
	}
	if !r.Valid {
		parts = append(parts, "the run is INVALID: "+strings.Join(r.InvalidBecause, "; "))
	}
	if len(parts) == 0 {
		return "valid, and all answers were right"
	}
	return strings.Join(parts, "; ")
}
