package ladder

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"chatmonitor/harness/report"
)

func planOf(sample int, steps ...int) report.ClimbPlan {
	return report.ClimbPlan{Steps: steps, Patience: time.Minute, Settle: time.Millisecond, Sample: report.ClimbSample{Connections: sample, Receivers: 1, Rate: 10, Duration: time.Second}}
}

func TestStages(t *testing.T) {
	got := stages(planOf(10, 100, 250, 1000))
	want := []stage{
		{connections: 100, sample: part{10, 1000}, idle: part{90, 0}},
		{connections: 250, sample: part{10, 1010}, idle: part{150, 90}},
		{connections: 1000, sample: part{10, 1020}, idle: part{750, 240}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
}

// TestStagesShareNoRule: of any plan, the groups of what is up at the same time, and
// of the samples among each other, are all different, and their number is the step's.
func TestStagesShareNoRule(t *testing.T) {
	for _, p := range []report.ClimbPlan{planOf(1, 2), planOf(1, 2, 3, 4), planOf(7, 8, 9, 500), planOf(1000, 100_000, 250_000, 500_000, 1_000_000)} {
		if err := Validate(p); err != nil {
			t.Fatal(err)
		}
		seen := map[int]bool{}
		take := func(p part) {
			for group := p.firstGroup; group < p.firstGroup+p.connections; group++ {
				if seen[group] {
					t.Fatalf("%v: group %d is there twice", p, group)
				}
				seen[group] = true
			}
		}
		staying := 0
		for i, s := range stages(p) {
			take(s.idle)
			take(s.sample)
			staying += s.idle.connections
			if up := staying + s.sample.connections; up != p.Steps[i] || s.connections != up || s.idle.connections < 1 {
				t.Errorf("step %d of %v has %d connections up: %+v", i, p.Steps, up, s)
			}
		}
	}
}

func TestPlansThatCannotBeClimbed(t *testing.T) {
	tests := []struct {
		plan report.ClimbPlan
		want string
	}{
		{planOf(10), "no step"},
		{planOf(10, 10), "must be above 10"},
		{planOf(10, 100, 100), "must be above 100"},
		{planOf(10, 100, 50), "must be above 100"},
		{planOf(0, 100), "at least one session"},
		{report.ClimbPlan{Steps: []int{5}, Sample: report.ClimbSample{Connections: 1, Receivers: 1, Rate: 1, Duration: 1}}, "patience"},
	}
	for _, test := range tests {
		if err := Validate(test.plan); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.plan, err, test.want)
		}
		if err := Climb(t.Context(), Config{Plan: test.plan}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Climb of %+v: %v", test.plan, err)
		}
	}
}
