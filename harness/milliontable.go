package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
)

// printMillion writes the table: a line for each step of each variant, then how each
// climb ended.
func (r *millionRun) printMillion(w io.Writer) error {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "variant\tconnections\tresident MiB\tB/conn\tafter GC MiB\tB/conn\tlive heap B/conn\tkernel B/conn\tdeliveries\tlost\t")
	for _, m := range r.Measurements {
		fmt.Fprintln(table, strings.Join(r.cells(m), "\t")+"\t")
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("lay the table out: %w", err)
	}
	out.WriteString("\n")
	for _, climb := range r.Million.Climbs {
		if climb.End != nil {
			fmt.Fprintf(&out, "%s: %s\n", climb.Variant, describeEnd(*climb.End))
		}
	}
	out.WriteString("\n" + r.statement() + "\n")
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

// Places of a measurement's snapshots.
const (
	snapshotReady = iota
	snapshotHeld
	snapshotCollected
	snapshotsOfStep
)

// cells is one line. Bytes per connection are the growth over the same server's value
// without connections.
func (r *millionRun) cells(m report.Measurement) []string {
	row := []string{m.Variant, grouped(m.Connections)}
	if len(m.Snapshots) != snapshotsOfStep {
		return row
	}
	ready, held, collected := m.Snapshots[snapshotReady], m.Snapshots[snapshotHeld], m.Snapshots[snapshotCollected]
	rss := func(s probe.Snapshot) probe.Reading { return s.Process.RSSBytes }
	each := func(of func(probe.Snapshot) probe.Reading, s probe.Snapshot) string {
		growth, known := of(s).Minus(of(ready)).Value()
		if !known {
			return "-"
		}
		return grouped(int(growth / float64(m.Connections)))
	}
	all := func(s probe.Snapshot) string {
		bytes, known := rss(s).Value()
		if !known {
			return "-"
		}
		return grouped(int(bytes) >> 20)
	}
	row = append(row, all(held), each(rss, held), all(collected), each(rss, collected), each(liveHeap, collected),
		each(func(s probe.Snapshot) probe.Reading { return s.Kernel.SlabBytes }, held))
	return append(row, r.pushed(m)...)
}

func liveHeap(s probe.Snapshot) probe.Reading {
	if bytes, known := s.Go["/memory/classes/heap/objects:bytes"]; known {
		return probe.Known(bytes)
	}
	return probe.Unavailable(fmt.Errorf("%s", s.GoUnavailable))
}

// pushed is the account of the step's pushes.
func (r *millionRun) pushed(m report.Measurement) []string {
	for _, climb := range r.Million.Climbs {
		for _, step := range climb.Steps {
			if climb.Variant != m.Variant || step.Connections != m.Connections {
				continue
			}
			if result, err := (report.Measurement{Loadgen: step.Push}).Result(); err == nil && result != nil {
				return []string{grouped(result.Records.Deliveries), grouped(result.Records.Lost)}
			}
		}
	}
	return []string{"-", "-"}
}

// statement is what must be known to read the table.
func (r *millionRun) statement() string {
	m := r.Environment.Machine
	where := fmt.Sprintf("on %d cores (%s), Linux %s", m.Cores, m.CPUModel, m.Kernel)
	if v := r.Million.Machine; v != nil {
		where = fmt.Sprintf("in a virtual machine with %d processors and %s (%s, %s, Linux %s)", v.CPUs, mebibytes(v.MemoryBytes), v.QEMU, v.Accel, m.Kernel)
	}
	text := "One server process for each variant, growing from step to step, " + where + ", " + r.Environment.GoVersion + ".\n" +
		"Each connection has its handshake, a rule of its own and an answered ping behind it. Resident: the server's process; B/conn: its growth\n" +
		"since it was started, per connection; kernel: slab for both ends. Deliveries: pushes to a sample of the sessions at that step."
	if !r.Million.TimesComparable {
		text += "\nThe processor was emulated: the memory figures count, times do not and are left out."
	}
	return text
}
