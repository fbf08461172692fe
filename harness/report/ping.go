package report

import (
	"errors"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/verdict"
)

func (r *Run) derivePing(variant string) {
	from := r.measured(variant, pingScenario)
	if len(from) == 0 {
		return
	}
	f := r.newFigure(variant, pingScenario, PingCPU)
	for _, m := range from {
		ns, err := m.cpuPerPing()
		if err != nil {
			f.miss(m, err.Error())
			continue
		}
		f.add(m, ns)
	}
	f.Method = "processor time of the server, user and system, from all connections held to some time later, less what it took for as long without any; by the pings that were answered"
	f.set(verdict.Summarize(f.Samples))
	r.Figures = append(r.Figures, f)
	r.deriveSampled(variant, pingScenario, from, []sampled{{name: ConnectionsHeld, of: heldConnections}}, toolFigures)
}

// cpuPerPing is what a ping and its answer took of the processors, in nanoseconds.
func (m Measurement) cpuPerPing() (float64, error) {
	result, err := m.Result()
	switch {
	case err != nil:
		return 0, err
	case result == nil:
		return 0, errors.New("the load generator gave no result")
	case result.Connections.PingsAnswered == 0:
		return 0, errors.New("no ping was answered")
	}
	base, resting, err := m.cpuBetween(momentReady, true, momentRested)
	if err != nil {
		return 0, err
	}
	all, pinging, err := m.cpuBetween(momentHeld, false, momentPinged)
	if err != nil {
		return 0, err
	}
	return (all - base/resting*pinging) * 1e9 / float64(result.Connections.PingsAnswered), nil
}

// cpuBetween is the server's processor time between two moments, and how long that was;
// both in seconds.
func (m Measurement) cpuBetween(from string, afterGC bool, to string) (cpu, passed float64, err error) {
	before, err := m.snapshot(from, afterGC)
	if err != nil {
		return 0, 0, err
	}
	after, err := m.snapshot(to, false)
	if err != nil {
		return 0, 0, err
	}
	cpu, known := processorTime(after).Minus(processorTime(before)).Value()
	if !known {
		return 0, 0, errors.New("the server's processor time is not known")
	}
	return cpu, after.Time.Sub(before.Time).Seconds(), nil
}

func processorTime(s probe.Snapshot) probe.Reading {
	return s.Process.CPUUserSeconds.Plus(s.Process.CPUSystemSeconds)
}
