package ladder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
	"chatmonitor/harness/stack"
	"chatmonitor/harness/stack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

// climbWith climbs with the stand-ins and returns what was told.
func climbWith(ctx context.Context, t *testing.T, p report.ClimbPlan, change func(*Config)) (steps []Step, end *report.ClimbEnd, err error) {
	t.Helper()
	bin := stacktest.Install(t)
	config := Config{
		Variant: "test",
		Server:  stack.Command{Name: "test server", Path: filepath.Join(bin, "server"), Args: []string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}},
		Loadgen: filepath.Join(bin, "loadgen"), Kafka: []string{"127.0.0.1:1"}, Topic: "chat", Plan: p,
		Sources: func(n int) []string { return []string{fmt.Sprintf("127.0.0.%d", n%200+2)} },
		Folder:  t.TempDir(),
		Tell: func(e Event) error {
			switch {
			case end != nil:
				t.Error("something was told after the end")
			case e.Step != nil:
				steps = append(steps, *e.Step)
			case e.End != nil:
				end = e.End
			}
			return nil
		},
	}
	if change != nil {
		change(&config)
	}
	err = Climb(ctx, config)
	return steps, end, err
}

func TestClimb(t *testing.T) {
	steps, end, err := climbWith(t.Context(), t, planOf(10, 100, 250), func(c *Config) {
		c.LoadFlags, c.PushFlags = []string{"--everybody"}, []string{"--pushers"}
	})
	if err != nil || end == nil {
		t.Fatalf("Climb: %v, end %+v", err, end)
	}
	if end.Outcome != report.Complete || end.Reason != "" || end.Answered == nil || *end.Answered != (report.Answered{Asked: 240, Answered: 240}) {
		t.Errorf("end %+v, answered %+v", end, end.Answered)
	}
	if end.Left == nil || end.Left.At != "left" || !end.Left.AfterGC {
		t.Errorf("afterwards %+v", end.Left)
	}
	if len(steps) != 2 || steps[0].Connections != 100 || steps[1].Connections != 250 {
		t.Fatalf("steps %+v", steps)
	}
	for _, s := range steps {
		m := s.Measurement
		if m.Scenario != "idle" || m.Connections != s.Connections || s.ConnectSeconds != 1 {
			t.Errorf("%+v", s)
		}
		var moments []string
		for _, snapshot := range m.Snapshots {
			moments = append(moments, fmt.Sprint(snapshot.At, " ", snapshot.AfterGC, " ", snapshot.Connections))
		}
		if want := []string{"ready true 0", fmt.Sprint("held false ", s.Connections), fmt.Sprint("held true ", s.Connections)}; !slices.Equal(moments, want) {
			t.Errorf("snapshots %q, want %q", moments, want)
		}
		result, err := m.Result()
		if err != nil || result.Connections.Held != s.Connections || result.Self.BytesPerConnection <= 0 {
			t.Errorf("load generators together %+v, %v", result, err)
		}
		if pushed, err := (report.Measurement{Loadgen: s.Push}).Result(); err != nil || pushed.Records.Deliveries != 100 {
			t.Errorf("pushes %+v, %v", pushed, err)
		}
		if !slices.Contains(m.LoadgenCommand, "--everybody") || slices.Contains(m.LoadgenCommand, "--pushers") {
			t.Errorf("command %q", m.LoadgenCommand)
		}
	}
	if second := steps[1].Measurement.LoadgenCommand; !slices.Contains(second, "--connections=150") || !slices.Contains(second, "--first-group=90") {
		t.Errorf("the second step's command %q", second)
	}
}

func TestClimbsThatDoNotReachTheTop(t *testing.T) {
	tests := []struct {
		sentence       string
		program, fault string
		outcome        report.Outcome
		steps          int
		reason         string
	}{
		{"the server does not start", "server", stacktest.Crash, report.Stopped, 0, "made of cheese"},
		{"the server dies", "server", stacktest.Dying, report.ServerEnded, 0, "out of breath"},
		{"pushes are lost", "loadgen", stacktest.Wrong, report.Strayed, 1, "3 deliveries were lost"},
		{"the load generator cannot begin", "loadgen", stacktest.Crash, report.Stopped, 0, "no address to connect from"},
		{"no connection comes up", "loadgen", stacktest.Gate, report.Stopped, 0, "no connection came up"},
		{"an invalid schedule is no failure", "loadgen", stacktest.Invalid, report.Complete, 1, ""},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			stacktest.SetFault(t, test.program, test.fault)
			steps, end, err := climbWith(t.Context(), t, planOf(10, 100), nil)
			if err != nil || end == nil {
				t.Fatalf("Climb: %v, end %+v", err, end)
			}
			if end.Outcome != test.outcome || len(steps) != test.steps || !strings.Contains(end.Reason, test.reason) {
				t.Errorf("%d steps, %+v, want %d, %q, %q", len(steps), end, test.steps, test.outcome, test.reason)
			}
		})
	}
}

func TestClimbThatGetsStuck(t *testing.T) {
	stacktest.SetFault(t, "loadgen", stacktest.Hang)
	p := planOf(10, 100)
	p.Patience = 2 * lookEvery
	_, end, err := climbWith(t.Context(), t, p, nil)
	if err != nil || end == nil || end.Outcome != report.Stopped || !strings.Contains(end.Reason, "nothing came up any more") {
		t.Errorf("Climb: %v, end %+v", err, end)
	}
}

func TestClimbThatIsInterrupted(t *testing.T) {
	errEnough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	steps, end, err := climbWith(ctx, t, planOf(10, 100, 200), func(c *Config) {
		tell := c.Tell
		c.Tell = func(e Event) error {
			if e.Step != nil {
				cancel(errEnough)
			}
			return tell(e)
		}
	})
	if !errors.Is(err, errEnough) || end != nil || len(steps) != 1 {
		t.Errorf("Climb: %v, %d steps, end %+v", err, len(steps), end)
	}
}

func TestNobodyToTell(t *testing.T) {
	errDeaf := errors.New("deaf")
	_, _, err := climbWith(t.Context(), t, planOf(10, 100), func(c *Config) { c.Tell = func(Event) error { return errDeaf } })
	if !errors.Is(err, errDeaf) {
		t.Errorf("Climb: %v", err)
	}
}

func TestWatchKnowsWhenNothingComesUp(t *testing.T) {
	const patience = time.Minute
	at := time.Now()
	w := &watch{patience: patience}
	look := func(connections int, after time.Duration) bool {
		at = at.Add(after)
		return w.note(report.Vital{Connections: connections}, at)
	}
	w.begin(Connecting, 100)
	w.rose = at
	for _, stuck := range []bool{
		look(10, 30*time.Second), // more than before
		look(10, 40*time.Second),
		look(9, 20*time.Second),
		look(11, time.Second), // at last
		look(11, patience),
	} {
		if stuck {
			t.Fatal("stuck, and something came up in time")
		}
	}
	if !look(11, time.Second) {
		t.Error("not stuck, and nothing came up in time")
	}
	w.begin("pushing", 100)
	for range 2 {
		if look(11, patience) {
			t.Error("stuck, and nothing was to come up")
		}
	}
	if last, most := w.seen(); last.Connections != 11 || most != 11 {
		t.Errorf("last %+v, most %d", last, most)
	}
}

func TestWatchReadsAProcess(t *testing.T) {
	w := &watch{proc: probe.System, pid: os.Getpid(), base: probe.Known(0)}
	if v, alive := w.look(); !alive || v.ServerBytes < 1<<20 || v.AvailableBytes < 1<<20 {
		t.Errorf("of this process: %+v, %v", v, alive)
	}
	w.pid = 1 << 30
	if _, alive := w.look(); alive {
		t.Error("a process that is not there is alive")
	}
}

func TestWhatTheKernelSaid(t *testing.T) {
	log := filepath.Join(t.TempDir(), "kmsg")
	text := "6,1,0,-;Linux version 6.1\n" +
		"4,339,5140900,-;server invoked oom-killer: gfp_mask=0x140cca, order=0\n SUBSYSTEM=x\n" +
		"3,340,5140901,-;Out of memory: Killed process 123 (goroutine) total-vm:1kB\n"
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said := kernelSaid(log)
	want := []string{"server invoked oom-killer: gfp_mask=0x140cca, order=0", "Out of memory: Killed process 123 (goroutine) total-vm:1kB"}
	if !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
	for pid, want := range map[int]bool{123: true, 12: false, 23: false, 1234: false} {
		if got := wasKilled(said, []int{9, pid}); got != want {
			t.Errorf("process %d was killed: %v", pid, got)
		}
	}
	if got := kernelSaid(filepath.Join(t.TempDir(), "absent")); got != nil {
		t.Errorf("without a log: %q", got)
	}
}
