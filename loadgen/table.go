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
	t := &table{}
	t.line(r.Scenario, "%s", r.URL)
	c := r.Connections
	t.line("connections", "%d of %d held, up in %.2f s (%.0f/s); %d failed, %d dropped",
		c.Held, c.Asked, c.ConnectSeconds, float64(c.Held)/max(c.ConnectSeconds, 1e-9), c.Failed, c.Dropped)
	t.accounts(r)
	t.latencies(r.Latency)
	t.line("loadgen", "%.1f MiB resident, %d B a connection, %.2f s of processor time, %d goroutines, %d process%s",
		float64(r.Self.RSSBytes)/(1<<20), r.Self.BytesPerConnection, r.Self.CPUSeconds, r.Self.Goroutines, r.Processes, plural(r.Processes))
	t.verdict(r)
	return t.String()
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "es"
}

func (s *slowReaders) commonestClose() string {
	if len(s.Closes) == 0 {
		return ""
	}
	return ", most with: " + commonest(s.Closes)
}

func (u usage) pacing() string {
	if u.RealtimePacing {
		return "by a realtime thread"
	}
	return "by an ordinary thread: run as root, or with CAP_SYS_NICE, for less lag on a busy machine"
}

// table is lines with a heading each.
type table struct{ strings.Builder }

func (t *table) line(heading, format string, args ...any) {
	fmt.Fprintf(t, "%-16s %s\n", heading, fmt.Sprintf(format, args...))
}

func (t *table) accounts(r *result) {
	if n := r.Records; n != nil {
		t.line("records", "%d of %d produced, %d acknowledged", n.Produced, n.Asked, n.Acknowledged)
		t.line("deliveries", "%d of %d; %d lost, %d duplicated, %d wrong, %d reordered",
			n.Deliveries, n.DeliveriesExpected, n.Lost, n.Duplicated, n.Wrong, n.Reordered)
	}
	if n := r.Requests; n != nil {
		t.line("requests", "%d of %d sent, %d answered; %d lost, %d duplicated, %d wrong",
			n.Sent, n.Asked, n.Answered, n.Lost, n.Duplicated, n.Wrong)
	}
	if n := r.Churn; n != nil {
		t.line("churn", "%d came, %d went; %d failed, %d lost", n.Connected, n.Dropped, n.Failed, n.Lost)
	}
	if n := r.Slow; n != nil {
		t.line("slow readers", "%d stopped reading, %d closed by the server%s", n.Paused, n.ClosedByServer, n.commonestClose())
	}
	if r.Rate != nil {
		t.line("rate", "%.2f/s of %.2f/s, %s", r.Rate.AchievedPerSecond, r.Rate.AskedPerSecond, r.Self.pacing())
	}
}

func (t *table) latencies(latency map[string]sample.Summary) {
	if len(latency) == 0 {
		return
	}
	t.line("latency, ms", "%9s %9s %9s %9s %9s %9s %9s", "count", "min", "p50", "p90", "p99", "p99.9", "max")
	for _, name := range []string{response, service, lag, prepared, firstReceiver, lastReceiver, churned, churnLag} {
		if h, ok := latency[name]; ok {
			t.line("  "+name, "%s", latencyRow(h))
		}
	}
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
	return fmt.Sprintf("%9d %9s %9s %9s %9s %9s %9s", h.Count, cell(h.MinNs, some), cell(h.P50Ns, h.Count >= 20), cell(h.P90Ns, h.Count >= 100),
		cell(h.P99Ns, h.Count >= 1000), cell(h.P999Ns, h.Count >= 10_000), cell(h.MaxNs, some))
}

// verdict has a line for each reason.
func (t *table) verdict(r *result) {
	heading := "verdict"
	say := func(format string, args ...any) {
		t.line(heading, format, args...)
		heading = ""
	}
	for _, reason := range r.WrongBecause {
		say("the server was WRONG: %s", reason)
	}
	for _, reason := range r.InvalidBecause {
		say("the run is INVALID: %s", reason)
	}
	if len(r.WrongBecause) == 0 && r.Valid {
		say("valid, and all answers were right")
	}
}
