package report

import (
	"fmt"
	"io"
	"strings"
)

// WriteBench writes the samples in Go's benchmark format: one line for each
// round, so that benchstat sees the samples and not their median. Figures of
// invalid runs are left out: the format has no way to mark them. The benchmarks that
// joined the run come last, as they are.
func (r *Run) WriteBench(w io.Writer) error {
	var out strings.Builder
	m := r.Environment.Machine
	fmt.Fprintf(&out, "goos: %s\ngoarch: %s\npkg: chatmonitor\ncpu: %s\n", m.OS, m.Arch, m.CPUModel)
	fmt.Fprintf(&out, "commit: %s\nrun: %s\nbroker: %s\n", r.Environment.Commit, r.ID, r.Configuration.Broker.Kind)
	for _, group := range benchGroups {
		for _, variant := range r.Configuration.Variants {
			r.writeGroup(&out, variant.Name, group)
		}
	}
	if r.Benchmarks != "" {
		out.WriteString("\n" + strings.TrimSpace(r.Benchmarks) + "\n")
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("report: write the benchmark file: %w", err)
	}
	return nil
}

// benchUnit is a figure's name in the benchmark format, where the unit says what
// is measured; benchstat reads -ns as a time and -B as bytes.
type benchUnit struct{ figure, unit string }

type benchGroup struct {
	scenario, title string
	units           []benchUnit
}

var benchGroups = []benchGroup{
	{idleScenario, "Idle", []benchUnit{
		{ResidentBytes, "resident-B"}, {ResidentBytesGC, "resident-gc-B"}, {KernelBytes, "kernel-B"},
	}},
	{pushScenario, "Push", []benchUnit{
		{PushP50, "p50-ns"}, {PushP90, "p90-ns"}, {PushP99, "p99-ns"}, {PushP999, "p999-ns"},
	}},
	{broadcastScenario, "Broadcast", []benchUnit{
		{FirstReceiverP50, "first-p50-ns"}, {LastReceiverP50, "last-p50-ns"}, {DeliveriesPerSec, "deliveries/s"},
	}},
	{pingScenario, "Ping", []benchUnit{{PingCPU, "cpu-ns"}}},
	{requestScenario, "Request", []benchUnit{{RequestP50, "p50-ns"}, {RequestP99, "p99-ns"}, {RequestServiceP50, "service-p50-ns"}}},
	{connectScenario, "Connect", []benchUnit{{UpgradeP50, "upgrade-p50-ns"}, {UpgradeP99, "upgrade-p99-ns"}, {PreparedP50, "prepared-p50-ns"}, {PreparedP99, "prepared-p99-ns"}}},
	{churnScenario, "Churn", []benchUnit{{PushP50, "p50-ns"}, {PushP99, "p99-ns"}, {NewcomerP50, "newcomer-p50-ns"}, {NewcomerP99, "newcomer-p99-ns"}}},
	{slowScenario, "Slow", []benchUnit{{PushP50, "p50-ns"}, {PushP99, "p99-ns"}}},
}

// benchLine is what the figures of one line have in common.
type benchLine struct{ round, connections int }

func (r *Run) writeGroup(out *strings.Builder, variant string, g benchGroup) {
	values := map[benchLine]string{}
	var order []benchLine
	for _, u := range g.units {
		f := r.Figure(variant, g.scenario, u.figure)
		if f == nil {
			continue
		}
		if !f.Valid {
			return
		}
		for i, sample := range f.Samples {
			line := benchLine{f.Rounds[i], f.Connections[i]}
			if _, known := values[line]; !known {
				order = append(order, line)
			}
			values[line] += fmt.Sprintf("\t%.6g %s", sample, u.unit)
		}
	}
	for _, line := range order {
		fmt.Fprintf(out, "Benchmark%s/variant=%s/connections=%d-%d\t1%s\n",
			g.title, variant, line.connections, r.Environment.Machine.Cores, values[line])
	}
}
