package scenario

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var load = Load{
	URL: "ws://127.0.0.1:1/ws", Connections: 7, Sources: []string{"127.9.0.2", "127.9.0.3"}, Seed: 3,
	Kafka: []string{"127.0.0.1:2"}, Topic: "chat", Rate: 0.5,
	Warmup: 2 * time.Second, Duration: 1500 * time.Millisecond,
}

func TestTableIsSound(t *testing.T) {
	order := []Moment{Ready, Rested, Held, Pinged}
	for _, s := range All {
		t.Run(s.Name, func(t *testing.T) {
			if s.Shows == "" || s.Loadgen == "" {
				t.Error("it does not say what it shows, or has no load")
			}
			if len(s.Ladder) == 0 || !slices.IsSorted(s.Ladder) || s.Ladder[len(s.Ladder)-1] != 1 {
				t.Errorf("ladder %v does not rise to 1", s.Ladder)
			}
			last := 0
			for _, probe := range s.Probes {
				place := slices.Index(order, probe.At)
				if place < last {
					t.Errorf("probe at %q is unknown or comes too late in the list", probe.At)
				}
				last = place
			}
			for _, arg := range s.LoadgenArgs(load) {
				if strings.ContainsAny(arg, "{}") {
					t.Errorf("argument %q has a placeholder that stands for nothing", arg)
				}
			}
			found, err := Named(s.Name)
			if err != nil || found.Shows != s.Shows {
				t.Errorf("Named(%q) = %q, %v", s.Name, found.Shows, err)
			}
		})
	}
}

func TestNamedListsWhatThereIs(t *testing.T) {
	_, err := Named("busy")
	if err == nil || !strings.Contains(err.Error(), strings.Join(Names(), ", ")) {
		t.Errorf("error %v does not name the scenarios", err)
	}
}

func TestLoadgenArgs(t *testing.T) {
	push, err := Named("push")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"push", "--control", "--quiet", "--url=ws://127.0.0.1:1/ws", "--connections=7",
		"--sources=127.9.0.2,127.9.0.3", "--seed=3", "--kafka=127.0.0.1:2", "--topic=chat",
		"--rate=0.5", "--warmup=2s", "--duration=1.5s", "--receivers=1"}
	if got := push.LoadgenArgs(load); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	oneGroup := load
	oneGroup.OneGroup = true
	if got, want := push.LoadgenArgs(oneGroup), append(want, "--groups=1"); !slices.Equal(got, want) {
		t.Errorf("for a server without rules: got  %q\nwant %q", got, want)
	}
}

func TestSteps(t *testing.T) {
	tests := []struct {
		ladder      []float64
		most        int
		connections int
		want        []int
	}{
		{[]float64{0.5, 1}, 0, 19000, []int{9500, 19000}},
		{[]float64{0.5, 1}, 0, 1, []int{1}},
		{[]float64{0.25, 0.5, 1}, 0, 3, []int{1, 3}},
		{[]float64{1}, 0, 5, []int{5}},
		{[]float64{0.5, 1}, 5000, 19000, []int{2500, 5000}},
		{[]float64{1}, 5000, 80, []int{80}},
	}
	for _, test := range tests {
		if got := (Scenario{Ladder: test.ladder, MaxConnections: test.most}).Steps(test.connections); !slices.Equal(got, test.want) {
			t.Errorf("Steps(%d) of %v = %v, want %v", test.connections, test.ladder, got, test.want)
		}
	}
}

func TestWhatALoadComesTo(t *testing.T) {
	push, broadcast := Scenario{Receivers: 1}, Scenario{RatePerSecond: 4}
	if got := []int{push.ReceiversOf(9), broadcast.ReceiversOf(9)}; !slices.Equal(got, []int{1, 9}) {
		t.Errorf("receivers %v", got)
	}
	if got := []float64{push.Rate(200), broadcast.Rate(200)}; !slices.Equal(got, []float64{200, 4}) {
		t.Errorf("rates %v", got)
	}
}

func TestUsualScenariosExist(t *testing.T) {
	for _, name := range Usual() {
		if _, err := Named(name); err != nil {
			t.Error(err)
		}
	}
}
