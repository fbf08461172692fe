package ladder

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func planOf(sample int, steps ...int) Plan {
	return Plan{Steps: steps, Patience: time.Minute, Settle: time.Millisecond, Sample: Sample{Connections: sample, Receivers: 1, Rate: 10, Duration: time.Second}}
}

func TestStages(t *testing.T) {
	got := planOf(10, 100, 250, 1000).stages()
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
	for _, p := range []Plan{planOf(1, 2), planOf(1, 2, 3, 4), planOf(7, 8, 9, 500), planOf(1000, 100_000, 250_000, 500_000, 1_000_000)} {
		if err := p.Validate(); err != nil {
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
		for i, s := range p.stages() {
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
		plan Plan
		want string
	}{
		{planOf(10), "no step"},
		{planOf(10, 10), "must be above 10"},
		{planOf(10, 100, 100), "must be above 100"},
		{planOf(10, 100, 50), "must be above 100"},
		{planOf(0, 100), "at least one session"},
		{Plan{Steps: []int{5}, Sample: Sample{Connections: 1, Receivers: 1, Rate: 1, Duration: 1}}, "patience"},
	}
	for _, test := range tests {
		if err := test.plan.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.plan, err, test.want)
		}
		if err := Climb(t.Context(), Config{Plan: test.plan}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Climb of %+v: %v", test.plan, err)
		}
	}
}
