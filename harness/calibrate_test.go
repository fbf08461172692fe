package main

import (
	"math"
	"strings"
	"testing"

	"chatmonitor/harness/report"
	"chatmonitor/harness/stack/stacktest"
)

func TestSearchRate(t *testing.T) {
	for _, test := range []struct {
		guess, capacity float64
		want            float64
		tries           int
	}{
		{200, 200, 200, 3},                      // itself, twice, 1.4 times
		{200, 1000, 800, 5},                     // 200 400 800, not 1600, not 1131
		{200, 1200, 800 * math.Sqrt2, 5},        // not 1600, but 1131
		{200, 60, 50, 4},                        // not 200, not 100, 50, not 71
		{200, 80, 50 * math.Sqrt2, 4},           //
		{200, 1, 0, 5},                          // down to 12.5
		{1, math.Inf(1), 4096 * math.Sqrt2, 14}, // it does not search for ever
	} {
		tries := 0
		got := searchRate(test.guess, func(rate float64) bool { tries++; return rate <= test.capacity })
		if math.Abs(got-test.want) > 1e-9 || tries != test.tries {
			t.Errorf("from %v, with a capacity of %v: %v after %d tries, want %v after %d", test.guess, test.capacity, got, tries, test.want, test.tries)
		}
	}
}

func TestRateText(t *testing.T) {
	for rate, want := range map[float64]string{12800: "12,800", 6.25: "6.25", 99.94: "99.9", 1131.37: "1,131"} {
		if got := rateText(rate); got != want {
			t.Errorf("%v is %q, want %q", rate, got, want)
		}
	}
}

// The stand-ins sustain whatever is asked for.
func TestRunFollowsTheCalibration(t *testing.T) {
	c, out := startRun(t.Context(), t, "--scenarios=push", "--variants=floor,reactor", "--calibrate=0.5", "--rounds=1", "--rate=1")
	c.want(t, 0)
	wantIn(t, c.stderr.String(), "calibrating push, floor", "calibrating push, reactor", "the weakest, sustains")
	r, _ := theRun(t, out)
	if len(r.Calibration) != 2 || len(r.Calibration[0].Tries) != 14 || !r.Calibration[0].Tries[0].Sustained || len(r.Measurements) != 2 {
		t.Fatalf("%d measurements, calibration %+v", len(r.Measurements), r.Calibration)
	}
	s := r.Configuration.Scenarios[0]
	if half := r.Calibration[0].SustainedPerSecond / 2; math.Abs(s.RatePerSecond-half) > 1 || !strings.Contains(s.RateFrom, "50 % of what floor") {
		t.Errorf("scenario %+v, half is %v", s, half)
	}
	wantIn(t, strings.Join(r.Measurements[0].LoadgenCommand, " "), "--rate=2896", "--duration=")
	wantSchema(t, out+"/"+r.ID)
	wantIn(t, c.stdout.String(), "50 % of what floor, the weakest, sustains")
}

func TestRunSaysWhatIsNotSustained(t *testing.T) {
	stacktest.SetFault(t, "loadgen", stacktest.Wrong)
	c, out := startRun(t.Context(), t, "--scenarios=push", "--variants=reactor", "--calibrate=0.5")
	c.want(t, 1)
	wantIn(t, c.stderr.String(), "reactor does not sustain", "pushes are missing")
	r, _ := theRun(t, out)
	if len(r.Calibration) != 1 || r.Calibration[0].SustainedPerSecond != 0 || len(r.Calibration[0].Tries) != triesOfRate*(mostHalvings+1) {
		t.Errorf("calibration %+v", r.Calibration)
	}
}

// What the load generator cannot do in time says nothing about the server, as long as it does it.
func TestALateSenderIsNoLimitOfTheServer(t *testing.T) {
	stacktest.SetFault(t, "loadgen", stacktest.Invalid)
	c, out := startRun(t.Context(), t, "--scenarios=push", "--variants=reactor", "--calibrate=0.5", "--rounds=1", "--rate=1")
	c.want(t, 0)
	if r, _ := theRun(t, out); len(r.Calibration) != 1 || r.Calibration[0].SustainedPerSecond < 4096 {
		t.Errorf("calibration %+v", r.Calibration)
	}
}

func TestWeakest(t *testing.T) {
	got := weakest([]report.Calibration{{Variant: "a", SustainedPerSecond: 30}, {Variant: "b", SustainedPerSecond: 0.25}, {Variant: "c", SustainedPerSecond: 0.5}})
	if got.Variant != "b" {
		t.Errorf("%+v", got)
	}
}
