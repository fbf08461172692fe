package report

import (
	"fmt"
	"math"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/verdict"
)

// sloped is a figure per connection: the slope of something read, bytes for the most part, over the number
// of connections, each point less its own server's value without connections.
type sloped struct {
	name    string
	afterGC bool
	of      func(probe.Snapshot) probe.Reading
	// sound says why the difference of two snapshots must not be used; nil: it may.
	sound func(before, after probe.Snapshot) error
}

func residentBytes(s probe.Snapshot) probe.Reading { return s.Process.RSSBytes }
func slabBytes(s probe.Snapshot) probe.Reading     { return s.Kernel.SlabBytes }

// liveHeapMetric is runtime/metrics' name of what lives in the heap.
const liveHeapMetric = "/memory/classes/heap/objects:bytes"

var slopeFigures = []sloped{
	{ResidentBytes, false, residentBytes, nil},
	{ResidentBytesGC, true, residentBytes, nil},
	{LiveHeapBytesGC, true, goMetric(liveHeapMetric), nil},
	{StackBytesGC, true, goMetric("/memory/classes/heap/stacks:bytes"), nil},
	{GoroutinesEach, true, goMetric("/sched/goroutines:goroutines"), nil},
	{KernelBytes, false, slabBytes, undisturbed},
	{TotalBytes, false, func(s probe.Snapshot) probe.Reading { return s.Process.RSSBytes.Plus(s.Kernel.SlabBytes) }, undisturbed},
}

// strangeShare of the sockets may come from others before the kernel's share, which
// is read for the whole machine, is not used.
const strangeShare = 0.02

// undisturbed checks that between two snapshots there came two sockets, the ends of
// a loopback connection, for each connection.
func undisturbed(before, after probe.Snapshot) error {
	came, known := after.Kernel.TCPInUse.Minus(before.Kernel.TCPInUse).Value()
	if !known {
		return nil // then there is nothing to check with
	}
	ours := 2 * float64(after.Connections-before.Connections)
	if math.Abs(came-ours) > strangeShare*ours+strangeSockets {
		return fmt.Errorf("the machine had %.0f more sockets, where %.0f were expected: other programs opened or closed some meanwhile", came, ours)
	}
	return nil
}

// strangeSockets is how many sockets of others never matter.
const strangeSockets = 10

func goMetric(name string) func(probe.Snapshot) probe.Reading {
	return func(s probe.Snapshot) probe.Reading {
		if value, known := s.Go[name]; known {
			return probe.Known(value)
		}
		if s.GoUnavailable != "" {
			return probe.Unavailable(fmt.Errorf("%s", s.GoUnavailable))
		}
		return probe.Unavailable(fmt.Errorf("the server reports no %s", name))
	}
}

func (r *Run) slope(variant string, from []Measurement, s sloped) Figure {
	f := r.newFigure(variant, idleScenario, s.name)
	for _, m := range from {
		bytes, err := m.difference(s)
		if err != nil {
			f.miss(m, err.Error())
			continue
		}
		f.Points = append(f.Points, verdict.Point{X: float64(m.Connections), Y: bytes})
		f.add(m, bytes/float64(m.Connections))
	}
	if len(f.Points) > 0 {
		f.Points = append([]verdict.Point{{X: 0, Y: 0}}, f.Points...)
	}
	f.Method = "Theil-Sen slope over the connections, from each server's own value without any; spread: the slopes between pairs of points; samples: growth per connection of each step"
	f.set(verdict.TheilSen(f.Points))
	return f
}

// difference is what the connections added since the server was ready.
func (m Measurement) difference(s sloped) (float64, error) {
	before, err := m.snapshot(momentReady, true)
	if err != nil {
		return 0, err
	}
	after, err := m.snapshot(momentHeld, s.afterGC)
	if err != nil {
		return 0, err
	}
	if s.sound != nil {
		if err := s.sound(before, after); err != nil {
			return 0, err
		}
	}
	difference := s.of(after).Minus(s.of(before))
	if bytes, known := difference.Value(); known {
		return bytes, nil
	}
	return 0, fmt.Errorf("%s", difference.Reason())
}

func (m Measurement) snapshot(at string, afterGC bool) (probe.Snapshot, error) {
	for _, s := range m.Snapshots {
		if s.At == at && s.AfterGC == afterGC {
			return s, nil
		}
	}
	return probe.Snapshot{}, fmt.Errorf("nothing was read at the moment %q", at)
}

func (r *Run) baseline(variant string, from []Measurement) Figure {
	f := r.newFigure(variant, idleScenario, BaselineBytes)
	for _, m := range from {
		s, err := m.snapshot(momentReady, true)
		if err != nil {
			f.miss(m, err.Error())
			continue
		}
		if bytes, known := s.Process.RSSBytes.Value(); known {
			f.add(m, bytes)
		} else {
			f.miss(m, s.Process.RSSBytes.Reason())
		}
	}
	f.Method = "median of the servers, ready and after a collection"
	f.set(verdict.Summarize(f.Samples))
	return f
}
