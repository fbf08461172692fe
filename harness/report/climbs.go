package report

import (
	"fmt"
	"slices"
	"strings"

	"chatmonitor/harness/probe"
)

// climbGrid is the table of a run up to very many connections: a line for each step of
// each server.
func (r *Run) climbGrid() grid {
	g := grid{
		Title: "Step by step", Columns: 1,
		Note: "Resident: the server's process, and per connection its growth since it was started; kernel: slab for both ends of a loopback connection. " +
			"Deliveries: of pushes to a sample of the sessions at that step.",
		Head: []string{"variant", "connections", "resident MiB", "B/conn", "after GC MiB", "B/conn", "live heap B/conn", "kernel B/conn", "deliveries", "lost"},
	}
	if r.Million == nil {
		return g
	}
	for _, m := range r.Measurements {
		g.Rows = append(g.Rows, r.climbRow(m))
	}
	return g
}

func (r *Run) climbRow(m Measurement) []string {
	each := func(of func(probe.Snapshot) probe.Reading, afterGC bool) string {
		growth, err := m.difference(sloped{afterGC: afterGC, of: of})
		if err != nil {
			return noFigure
		}
		return count(growth / float64(m.Connections))
	}
	row := []string{
		m.Variant, count(float64(m.Connections)),
		m.mebibytes(momentHeld, false), each(residentBytes, false), m.mebibytes(momentHeld, true), each(residentBytes, true),
		each(goMetric(liveHeapMetric), true), each(slabBytes, false),
	}
	return append(row, r.Million.pushed(m)...)
}

// pushed is the account of the step's pushes.
func (m *Million) pushed(at Measurement) []string {
	for _, climb := range m.Climbs {
		i := slices.IndexFunc(climb.Steps, func(s ClimbStep) bool { return s.Connections == at.Connections })
		if climb.Variant != at.Variant || i < 0 {
			continue
		}
		if result, err := (Measurement{Loadgen: climb.Steps[i].Push}).Result(); err == nil && result != nil {
			return []string{count(float64(result.Records.Deliveries)), count(float64(result.Records.Lost))}
		}
	}
	return []string{noFigure, noFigure}
}

// ends say in a line each how the climbs ended.
func (m *Million) ends() []string {
	var lines []string
	for _, climb := range m.Climbs {
		if climb.End != nil {
			lines = append(lines, climb.Variant+": "+climb.End.String())
		}
	}
	return lines
}

// String says in a line how far a server came.
func (e ClimbEnd) String() string {
	switch {
	case e.Outcome == Complete:
		return fmt.Sprintf("at the top; all of %s that stayed answered at the end", count(float64(e.Answered.Answered)))
	case e.Reason == "":
		return fmt.Sprintf("%s at %s connections", e.Outcome, count(float64(e.Last.Connections)))
	}
	return fmt.Sprintf("%s at %s connections, server %s, %s free: %s", e.Outcome, count(float64(e.Last.Connections)),
		mebibytes(e.Last.ServerBytes), mebibytes(e.Last.AvailableBytes), e.shortReason())
}

// shortReason is one line of what is known: the kernel's verdict where there is one.
func (e ClimbEnd) shortReason() string {
	for _, line := range e.Kernel {
		if strings.Contains(line, "Killed process") {
			return "the kernel said: " + line
		}
	}
	line, _, _ := strings.Cut(e.Reason, "\n")
	if said, _, ok := strings.Cut(line, "; the end of "); ok && strings.HasSuffix(line, ":") { // of a log, which is in the lines below
		return said
	}
	return line
}

func mebibytes(bytes int64) string { return count(float64(bytes>>20)) + " MiB" }

// failures: a server that ran out of memory has not failed; the others that did not
// get to the top have.
func (m *Million) failures() []Failure {
	all := []Failure{}
	for _, climb := range m.Climbs {
		if climb.End == nil || climb.End.Outcome == Complete || climb.End.Outcome == OutOfMemory {
			continue
		}
		kind := KindFailed
		if climb.End.Outcome == Strayed {
			kind = KindWrong
		}
		all = append(all, Failure{Kind: kind, Variant: climb.Variant, Scenario: millionScenario, Round: 1,
			Reason: fmt.Sprintf("%s at %d connections: %s", climb.End.Outcome, climb.End.Last.Connections, climb.End.Reason)})
	}
	return all
}

const (
	millionScenario = "million"
	emulatedNote    = "the processor was emulated: times mean nothing"
)

// markTimes marks the figures that are made of times.
func (r *Run) markTimes() {
	for i := range r.Figures {
		f := &r.Figures[i]
		if f.Name == ConnectPerSecond || strings.HasSuffix(f.Name, "_seconds") {
			f.Valid, f.Invalid = false, append(f.Invalid, emulatedNote)
		}
	}
}

// method says how the climbs were made.
func (m *Million) method() []string {
	lines := []string{
		"One server process for each variant, which grows from step to step; load generators come on top of those that hold already.",
		"Each connection has its handshake, a rule that no other has, and an answered ping behind it when memory is read.",
		fmt.Sprintf("At each step %s of the connections are pushed to, %g records/s for %v, and every push is accounted for; the floor has no rules, so its sample gets one record a second, all of it.",
			count(float64(m.Plan.Sample.Connections)), m.Plan.Sample.Rate, m.Plan.Sample.Duration),
		"Memory is read from /proc and from Go's own metrics: before the first connection, with all of them held as the load left it, and after a full collection.",
		"At the end every connection that stayed answers one more ping. A server that runs out of memory is a result.",
	}
	if !m.TimesComparable {
		lines = append(lines, "The processor was emulated: the memory figures count, times do not and are left out. Servers were given more time for handshakes, and did not ping idle connections.")
	}
	return lines
}

// facts say where the climbs took place.
func (m *Million) facts() []fact {
	v := m.Machine
	if v == nil {
		return nil
	}
	var settings []string
	for _, s := range v.Settings {
		settings = append(settings, s.Name+" = "+s.Value)
	}
	return []fact{
		{"Virtual machine", fmt.Sprintf("%d processors, %s, %s, %s, transparent huge pages: %s", v.CPUs, mebibytes(v.MemoryBytes), v.Accel, v.QEMU, v.HugePages)},
		{"Its host", fmt.Sprintf("%d x %s, Linux %s", v.Host.Cores, v.Host.CPUModel, v.Host.Kernel)},
		{"Its kernel's settings", strings.Join(settings, ", ")},
	}
}

// printClimbs writes the table of the steps, and how each climb ended.
func (r *Run) printClimbs(out *strings.Builder) {
	g := r.climbGrid()
	writeAligned(out, append([][]string{g.Head}, g.Rows...))
	out.WriteString("\n")
	for _, line := range r.Million.ends() {
		out.WriteString(line + "\n")
	}
	if r.Interrupted {
		out.WriteString(interruptedNote + "\n")
	}
	out.WriteString("\n" + r.climbStatement() + "\n")
}

// climbStatement is what must be known to read the table.
func (r *Run) climbStatement() string {
	m := r.Environment.Machine
	where := fmt.Sprintf("on %d cores (%s), Linux %s", m.Cores, m.CPUModel, m.Kernel)
	if v := r.Million.Machine; v != nil {
		where = fmt.Sprintf("in a virtual machine with %d processors and %s (%s, %s, Linux %s)", v.CPUs, mebibytes(v.MemoryBytes), v.QEMU, v.Accel, m.Kernel)
	}
	text := "One server process for each variant, growing from step to step, " + where + ",\n" + r.Environment.GoVersion + ", commit " + r.commit() + ".\n" +
		"Each connection has its handshake, a rule of its own and an answered ping behind it. Resident: the server's process; B/conn: its growth\n" +
		"since it was started, per connection; kernel: slab for both ends. Deliveries: pushes to a sample of the sessions at that step."
	if !r.Million.TimesComparable {
		text += "\nThe processor was emulated: the memory figures count, times do not and are left out."
	}
	return text
}

// climbAgain is the command line that asks for the same climbs.
func (r *Run) climbAgain() string {
	command := "harness million"
	if r.Million.Machine != nil {
		command = "harness vm"
	}
	var variants, steps []string
	for _, v := range r.Configuration.Variants {
		variants = append(variants, v.Name)
	}
	for _, n := range r.Million.Plan.Steps {
		steps = append(steps, fmt.Sprint(n))
	}
	command = fmt.Sprintf("%s --variants=%s --connections=%d --steps=%s --sample=%d", command,
		strings.Join(variants, ","), r.Million.Plan.Top(), strings.Join(steps, ","), r.Million.Plan.Sample.Connections)
	if v := r.Million.Machine; v != nil {
		command += fmt.Sprintf(" --cpus=%d --memory=%dMiB", v.CPUs, v.MemoryBytes>>20)
	}
	return command
}
