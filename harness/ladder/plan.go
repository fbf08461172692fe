package ladder

import (
	"errors"
	"fmt"

	"chatmonitor/harness/report"
)

// Validate says what is wrong with the plan.
func Validate(p report.ClimbPlan) error {
	if len(p.Steps) == 0 {
		return errors.New("ladder: there is no step")
	}
	if p.Sample.Connections < 1 || p.Sample.Receivers < 1 || p.Sample.Rate <= 0 || p.Sample.Duration <= 0 {
		return errors.New("ladder: at least one session must be pushed to, for some time")
	}
	if p.Patience <= 0 {
		return errors.New("ladder: there must be some patience")
	}
	below := p.Sample.Connections
	for _, step := range p.Steps {
		if step <= below {
			return fmt.Errorf("ladder: a step of %d connections must be above %d: steps rise, and each has more than the %d that are pushed to",
				step, below, p.Sample.Connections)
		}
		below = step
	}
	return nil
}

// stage is what a step adds.
type stage struct {
	connections int // altogether, once it is up
	sample      part
	idle        part
}

// part is one load generator's share. The rule of its i-th group is made of the
// group's number, so parts that share no number share no rule.
type part struct {
	connections int
	firstGroup  int
}

// stages cuts the plan up. The sample has left again when the next step begins, and
// comes anew with rules that nobody had before.
func stages(p report.ClimbPlan) []stage {
	staying, nextSample := 0, p.Top()
	var all []stage
	for _, step := range p.Steps {
		s := stage{
			connections: step,
			sample:      part{p.Sample.Connections, nextSample},
			idle:        part{step - p.Sample.Connections - staying, staying},
		}
		staying += s.idle.connections
		nextSample += s.sample.connections
		all = append(all, s)
	}
	return all
}
