package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"chatmonitor/harness/probe"
)

// pinging is a server that took so much processor time in 5 s without connections and
// in 20 s with them, and whose peers answered so many pings.
func pinging(resting, held float64, answered int) Measurement {
	start := time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)
	at := func(moment string, gc bool, after time.Duration, cpu float64) probe.Snapshot {
		return probe.Snapshot{At: moment, AfterGC: gc, Time: start.Add(after),
			Process: probe.Process{CPUUserSeconds: probe.Known(cpu * 0.25), CPUSystemSeconds: probe.Known(cpu * 0.75)}}
	}
	return Measurement{
		Variant: "reactor", Scenario: "ping", Round: 1, Connections: 5000,
		Snapshots: []probe.Snapshot{
			at("ready", true, 0, 1), at("rested", false, 5*time.Second, 1+resting),
			at("held", false, time.Minute, 10), at("pinged", false, time.Minute+20*time.Second, 10+held),
		},
		Loadgen: json.RawMessage(fmt.Sprintf(`{"schema":1,"connections":{"held":5000,"pings_answered":%d},"valid":true}`, answered)),
	}
}

func TestProcessorTimeOfAPing(t *testing.T) {
	unread := pinging(0, 1, 1000)
	unread.Snapshots[3].Process.CPUUserSeconds = probe.Unavailable(fmt.Errorf("gone"))
	for _, test := range []struct {
		sentence string
		m        Measurement
		wantNs   float64
		problem  string
	}{
		{"all of it is the pings'", pinging(0, 0.8, 40_000), 20_000, ""},
		{"a hundredth of a processor at rest, for 20 s, is not", pinging(0.05, 1, 40_000), 20_000, ""},
		{"nobody was pinged", pinging(0, 1, 0), 0, "no ping was answered"},
		{"the time was not read", unread, 0, "not known"},
		{"nothing was read at the end", func() Measurement { m := pinging(0, 1, 1); m.Snapshots = m.Snapshots[:3]; return m }(), 0, "pinged"},
	} {
		r := &Run{Configuration: Configuration{Variants: []Variant{{Name: "reactor"}}}, Measurements: []Measurement{test.m}}
		r.DeriveFigures()
		f := r.Figure("reactor", "ping", PingCPU)
		switch {
		case test.problem != "" && (f.Value != nil || len(f.Unavailable) != 1 || !strings.Contains(f.Unavailable[0], test.problem)):
			t.Errorf("%s: %+v", test.sentence, f)
		case test.problem == "" && (f.Value == nil || !near(*f.Value, test.wantNs)):
			t.Errorf("%s: %+v, want %v ns", test.sentence, f, test.wantNs)
		}
	}
}
