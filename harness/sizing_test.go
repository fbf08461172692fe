package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/scenario"
)

var errUnknown = errors.New("nobody knows")

func machineWith(descriptors, memory float64) probe.Machine {
	unknown := probe.Unavailable(errUnknown)
	m := probe.Machine{Cores: 2, Kernel: "6.1", MemoryAvailableBytes: probe.Known(memory), LoadAverage: unknown}
	m.Limits.DescriptorsHard = probe.Known(descriptors)
	m.Limits.SystemFilesFree, m.Limits.ConntrackFree = unknown, unknown
	return m
}

func TestDecideConnections(t *testing.T) {
	const gib = 1 << 30
	tests := []struct {
		name     string
		machine  probe.Machine
		variants []variant
		asked    int
		want     int
		say      string // in the explanation, or in the error if want is 0
	}{
		{"the usual hard limit of a container", machineWith(20000, 20*gib), variants, 0, 19000, "the default"},
		{"a large machine measures the same", machineWith(1<<20, 500*gib), variants, 0, 19000, "up to 1027604"},
		{"few descriptors", machineWith(1024, 20*gib), variants, 0, 624, "limited by descriptors; to lift it, sudo prlimit --pid $$ --nofile=19400:19400"},
		{"little memory", machineWith(20000, gib/2), variants, 0, 7767, "limited by memory"},
		{"little memory is more for the reactor", machineWith(20000, gib/2), []variant{productVariant()}, 0, 19000, "the default"},
		{"as asked for", machineWith(20000, 20*gib), variants, 500, 500, "as asked for"},
		{"too many asked for", machineWith(20000, 20*gib), variants, 19601, 0, "which is 19600: RLIMIT_NOFILE (hard) is 20000"},
		{"nothing goes", machineWith(300, 20*gib), variants, 0, 0, "can't hold a single connection"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all := bounds(test.machine, test.variants, cmp.Or(test.asked, defaultConnections))
			got, why, err := decideConnections(test.asked, all)
			if err != nil {
				why = err.Error()
			}
			if got != test.want || (err == nil) != (test.want > 0) || !strings.Contains(why, test.say) {
				t.Errorf("%d connections, %q, want %d and %q", got, why, test.want, test.say)
			}
			var out bytes.Buffer
			describeSizing(&out, test.machine, all, got, why)
			wantIn(t, out.String(), "2 cores", "RLIMIT_NOFILE", "connection tracking  no limit: not known: nobody knows", why)
		})
	}
}

func TestMemoryIsTold(t *testing.T) {
	var out bytes.Buffer
	m := machineWith(20000, 1<<33)
	describeSizing(&out, m, bounds(m, variants, 1), 1, "")
	wantIn(t, out.String(), "8.0 GiB are available, and a connection may take 54 KiB")
}

func TestBusyMachineIsTold(t *testing.T) {
	m := machineWith(20000, 1<<34)
	m.LoadAverage = probe.Known(1.9)
	var out bytes.Buffer
	describeSizing(&out, m, bounds(m, variants, 1), 1, "")
	wantIn(t, out.String(), "load: 1.90 on 2 cores, which is busy")
}

func TestSourcesAreFresh(t *testing.T) {
	seen := map[string]bool{}
	for _, started := range []int64{1795399742, 1795399743, 1795399744} {
		s := newSourceRange(started, probe.Known(28232))
		for _, connections := range []int{1, 9500, 19000, 1000000} {
			addresses := s.take(connections)
			if room := float64(len(addresses)) * 28232 * portShare; room < float64(connections) {
				t.Errorf("%d addresses for %d connections", len(addresses), connections)
			}
			for _, address := range addresses {
				if seen[address] || !strings.HasPrefix(address, "127.") || strings.HasPrefix(address, "127.0.") {
					t.Fatalf("%s is not fresh", address)
				}
				seen[address] = true
			}
		}
	}
	if got := fmt.Sprint(newSourceRange(0, probe.Unavailable(errUnknown)).take(10000)); got != "[127.1.0.2 127.1.0.3]" {
		t.Errorf("without a known range: %s", got)
	}
}

func TestPlanTakesTurns(t *testing.T) {
	chosen := []scenario.Scenario{{Name: "rounds", Ladder: []float64{1}, Rounds: true}}
	var three []variant
	for _, name := range []string{"a", "b", "c"} {
		three = append(three, variant{name: name})
	}
	steps := plan(chosen, three, 8, 4)
	var orders [4]string
	count := map[string]int{}
	for i, s := range steps {
		orders[i/3] += s.variant.name
		if want := i/3 + 1; s.round != want {
			t.Errorf("step %d is in round %d, not %d", i, s.round, want)
		}
		count[s.variant.name]++
	}
	if got := strings.Join(orders[:], " "); got != "abc cba bca acb" {
		t.Errorf("the orders are %s", got)
	}
	if count["a"] != 4 || count["c"] != 4 {
		t.Errorf("turns %v", count)
	}
}

func TestProgressLearnsFromWhatIsDone(t *testing.T) {
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	p := newProgress(&out, func() time.Time { return now }, []time.Duration{10 * time.Second, 10 * time.Second, 20 * time.Second})
	p.say("begin")
	now = now.Add(20 * time.Second) // twice as long as thought
	p.finish()
	p.say("one done")
	now = now.Add(5 * time.Second)
	p.say("under way")
	now = now.Add(100 * time.Second)
	p.finish()
	p.finish()
	p.say("done")
	want := "[0:00, 0:40 left]  1/3 begin\n[0:20, 1:00 left]  2/3 one done\n[0:25, 0:55 left]  2/3 under way\n[2:05, 0:00 left]  3/3 done\n"
	if out.String() != want {
		t.Errorf("progress\n%swant\n%s", &out, want)
	}
}

func TestChildEnvironmentHasNoServerSettings(t *testing.T) {
	t.Setenv("CHATMONITOR_MAX_CONNECTIONS", "1")
	t.Setenv("GOGC", "77")
	text := strings.Join(childEnvironment(), "\n")
	if strings.Contains(text, "CHATMONITOR_") || !strings.Contains(text, "GOGC=77") {
		t.Errorf("environment\n%s", text)
	}
}
