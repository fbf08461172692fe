package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatmonitor/harness/report"
	"chatmonitor/harness/scenario"
)

// pace is how a timed scenario is loaded.
type pace struct {
	rate             float64 // per second
	warmup, duration time.Duration
}

// paceOf is the scenario's in this run.
func (c *campaign) paceOf(s scenario.Scenario) pace {
	p := pace{rate: s.Rate(c.config.Rate), warmup: c.config.Warmup, duration: c.config.Duration}
	if rate, calibrated := c.calibrated[s.Name]; calibrated {
		p.rate = rate
	}
	return p
}

const (
	// A try is short: what a server does not sustain shows within a second or two.
	tryWarmup   = 500 * time.Millisecond
	tryDuration = 2 * time.Second
	// triesOfRate: one that other programs disturbed is made again.
	triesOfRate = 2
	// sustainedP99 bounds the wait: with a load that is a tenth too much, a quarter of
	// a second has piled up at the end of a try.
	sustainedP99 = 250 * time.Millisecond
	// keptShare of its rate is what the load generator has to keep.
	keptShare = 0.995
	// tryConnections are enough to spread the load over, and come up at once.
	tryConnections = 2000
	// Doublings and halvings of a scenario's own rate.
	mostDoublings, mostHalvings = 12, 4
)

// calibrate finds what each variant sustains of each scenario whose rate is to follow
// from that, and sets the rate to a share of what the weakest does.
func (c *campaign) calibrate(ctx context.Context) error {
	if c.config.Calibrate == 0 {
		return nil
	}
	for _, s := range c.scenarios {
		if !s.Calibrated {
			continue
		}
		var all []report.Calibration
		for _, v := range takingPart(c.variants, s) {
			found, err := c.calibrateVariant(ctx, s, v)
			c.record.Calibration = append(c.record.Calibration, found)
			if err != nil {
				return err
			}
			all = append(all, found)
		}
		c.follow(s, weakest(all))
	}
	return nil
}

func weakest(all []report.Calibration) report.Calibration {
	return slices.MinFunc(all, func(a, b report.Calibration) int {
		return int(math.Copysign(1, a.SustainedPerSecond-b.SustainedPerSecond))
	})
}

// follow sets the scenario's rate.
func (c *campaign) follow(s scenario.Scenario, least report.Calibration) {
	rate := c.config.Calibrate * least.SustainedPerSecond
	if rate > 10 {
		rate = math.Round(rate)
	}
	c.calibrated[s.Name] = rate
	for i := range c.record.Configuration.Scenarios {
		if described := &c.record.Configuration.Scenarios[i]; described.Name == s.Name {
			described.RatePerSecond = rate
			described.RateFrom = fmt.Sprintf("%g %% of what %s, the weakest, sustains", 100*c.config.Calibrate, least.Variant)
		}
	}
	fmt.Fprintf(c.stderr, "%s: %s/s, %g %% of the %s/s that %s, the weakest, sustains\n",
		s.Name, rateText(rate), 100*c.config.Calibrate, rateText(least.SustainedPerSecond), least.Variant)
}

// calibrateVariant tries rates until it knows which one the variant sustains.
func (c *campaign) calibrateVariant(ctx context.Context, s scenario.Scenario, v variant) (report.Calibration, error) {
	steps := s.Steps(c.connections)
	count := steps[len(steps)-1]
	if s.Receivers > 0 {
		count = min(count, tryConnections)
	}
	found := report.Calibration{Scenario: s.Name, Variant: v.name, Connections: count, Tries: []report.Try{}}
	sustains := func(rate float64) bool {
		for range triesOfRate {
			if ctx.Err() != nil {
				return false
			}
			tried := c.try(ctx, step{scenario: s, variant: v, connections: count}, rate)
			found.Tries = append(found.Tries, tried)
			if tried.Sustained {
				return true
			}
		}
		return false
	}
	fmt.Fprintf(c.stderr, "calibrating %s, %s, %d connections\n", s.Name, v.name, count)
	found.SustainedPerSecond = searchRate(s.Rate(c.config.Rate), sustains)
	switch {
	case ctx.Err() != nil:
		return found, context.Cause(ctx)
	case found.SustainedPerSecond == 0:
		last := found.Tries[len(found.Tries)-1]
		return found, fmt.Errorf("calibrate %s: %s does not sustain %s/s: %s", s.Name, v.name, rateText(last.RatePerSecond), last.Because)
	}
	return found, nil
}

// searchRate returns the largest rate that is sustained, to a factor of the square root
// of two, beginning with a guess; 0: not even a small part of the guess.
func searchRate(guess float64, sustains func(float64) bool) float64 {
	rate := guess
	for halvings := 0; !sustains(rate); halvings++ {
		if halvings == mostHalvings {
			return 0
		}
		rate /= 2
	}
	if rate == guess {
		for doublings := 0; doublings < mostDoublings && sustains(2*rate); doublings++ {
			rate *= 2
		}
	}
	if between := rate * math.Sqrt2; sustains(between) {
		rate = between
	}
	return rate
}

// try loads a fresh server with a rate. That it fails beyond what it can do is what is
// looked for, and no failure of the run.
func (c *campaign) try(ctx context.Context, s step, rate float64) report.Try {
	out := report.Try{RatePerSecond: rate}
	m := newMeasurement(c, s)
	m.quiet, m.pace = true, pace{rate: rate, warmup: tryWarmup, duration: tryDuration}
	// That records were sent late is in the latency, which counts from when they were due. By itself, on a machine
	// that others use, it says nothing about the rate.
	failures := slices.DeleteFunc(m.take(ctx), func(f report.Failure) bool { return f.Kind == report.KindInvalid })
	result, err := m.out.Result()
	switch {
	case len(failures) > 0:
		out.Because, _, _ = strings.Cut(failures[0].Reason, "\n")
	case err != nil:
		out.Because = err.Error()
	case result == nil:
		out.Because = "the load generator gave no result"
	case result.Rate.AchievedPerSecond < keptShare*rate:
		out.Because = fmt.Sprintf("the load generator keeps %s/s", rateText(result.Rate.AchievedPerSecond))
	default:
		out.P99Ns = result.Latency.Response.P99Ns
		if out.Sustained = out.P99Ns <= float64(sustainedP99); !out.Sustained {
			out.Because = fmt.Sprintf("p99 %.0f ms", out.P99Ns/1e6)
		}
	}
	text := "sustained"
	if !out.Sustained {
		text = "not sustained: " + out.Because
	}
	fmt.Fprintf(c.stderr, "  %s/s: %s\n", rateText(rate), text)
	return out
}

// rateText prints a rate: 12,800, 6.25.
func rateText(rate float64) string {
	if rate >= 100 {
		return grouped(int(math.Round(rate)))
	}
	return strconv.FormatFloat(rate, 'g', 3, 64)
}
