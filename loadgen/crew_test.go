package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestSharesMakeUpTheRun: each connection and each group of a run is in exactly one process, with its own members,
// and those that get records are the first of each.
func TestSharesMakeUpTheRun(t *testing.T) {
	for _, total := range []int{1, 2, 7, 100, 101} {
		for _, receivers := range []int{1, 3, 10} {
			for fed := range (total+receivers-1)/receivers + 1 {
				for _, processes := range []int{1, 2, 3} {
					checkShares(t, total, receivers, fed, processes)
				}
			}
		}
	}
}

func checkShares(t *testing.T, total, receivers, fed, processes int) {
	t.Helper()
	seen, senders := make([]int, total), 0
	for i := range processes {
		s := part{i, processes}.share(total, receivers, fed)
		for conn := range s.members() {
			number := s.number(conn)
			seen[number]++
			isFed := fed == 0 || number < fed*receivers
			if s.groupOfRun(s.group(conn)) != number/receivers || isFed != (conn < s.fed.members) || s.place(conn) != number%receivers {
				t.Fatalf("%d connections in groups of %d, %d fed, process %d of %d: connection %d is %d of the run, in group %d",
					total, receivers, fed, i, processes, conn, number, s.groupOfRun(s.group(conn)))
			}
		}
		if s.feeders.events(1000) > 0 {
			senders++
		}
		if (s.feeders.events(1000) > 0) != (s.fed.members > 0) {
			t.Errorf("%d connections in groups of %d, %d fed: process %d of %d feeds %d members and sends %d of 1000",
				total, receivers, fed, i, processes, s.fed.members, s.feeders.events(1000))
		}
	}
	for number, times := range seen {
		if times != 1 {
			t.Errorf("%d connections in groups of %d, %d fed, %d processes: connection %d is in %d of them", total, receivers, fed, processes, number, times)
		}
	}
	if senders == 0 {
		t.Errorf("%d connections in groups of %d, %d fed, %d processes: nobody sends", total, receivers, fed, processes)
	}
}

func TestShareIsAsLongAsItsEvents(t *testing.T) {
	for total := range 30 {
		for _, processes := range []int{1, 2, 3, 7} {
			next := 0
			for i := range processes {
				p := part{i, processes}
				from, to := p.cut(total)
				owned := 0
				for n := range total {
					if p.owns(n) {
						owned++
					}
				}
				if from != next || to-from != p.events(total) || owned != p.events(total) {
					t.Errorf("process %d of %d: %d to %d of %d, %d events, owns %d", i, processes, from, to, total, p.events(total), owned)
				}
				next = to
			}
		}
	}
}

func TestOneGroupIsCutAnywhere(t *testing.T) {
	for i, want := range []int{4, 3, 3} {
		s := part{i, 3}.shareOfOne(10)
		if s.members() != want || s.groupsIn(s.members()) != 1 || s.group(want-1) != 0 || s.groupOfRun(0) != 0 {
			t.Errorf("process %d: %+v", i, s)
		}
	}
}

func TestPassersByListenToTheGroupsOfMembers(t *testing.T) {
	for fed, want := range map[int]string{0: "[0 0 0 0 0 1 1 1 1 1 0 1 0]", 1: "[0 0 0 0 0 1 1 1 1 1 0 0 0]"} {
		s := part{0, 1}.share(10, 5, fed)
		s.passersBy = 3
		var groups []int
		for conn := range s.connections() {
			groups = append(groups, s.group(conn))
		}
		if got := fmt.Sprint(groups); got != want {
			t.Errorf("%d groups fed: groups %s, want %s", fed, got, want)
		}
	}
}

// startChat is a fake server that reads from a real (if embedded) Kafka, for processes that cannot share memory.
func startChat(t *testing.T) (f *fakeServer, brokers []string) {
	t.Helper()
	t.Setenv(asProgram, "1")
	f = newFakeServer(t)
	brokers = startKafka(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("chat"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { f.push(r.Value, r.Partition, r.Offset) })
		}
	}()
	t.Cleanup(func() { cancel(); <-ended; client.Close() })
	return f, brokers
}

// TestPassersByOfEveryProcess: each has one more than are there at a time, however few those are.
func TestPassersByOfEveryProcess(t *testing.T) {
	for atATime := 1; atATime < 20; atATime++ {
		for index := range 3 {
			sc := scenario{passersBy: atATime, target: targetFlags{Connections: 9, Part: part{index, 3}}}
			if n, turns := sc.share().passersBy, (atATime+2)/3; n <= turns {
				t.Errorf("of %d: process %d has %d for %d turns", atATime, index, n, turns)
			}
		}
	}
}

func TestCrew(t *testing.T) {
	f, brokers := startChat(t)
	pace := []string{"--rate=200", "--warmup=100ms", "--duration=400ms", "--kafka=" + brokers[0], "--processes=3"}
	for _, row := range []struct {
		args       []string
		deliveries int
		measured   int64
	}{
		{append([]string{"push", "--connections=31", "--receivers=1"}, pace...), 100, 80},
		{append([]string{"push", "--connections=30", "--receivers=10"}, pace...), 1000, 800},
		{append([]string{"broadcast", "--connections=31"}, pace...), 3100, 2480},
		{append([]string{"push", "--connections=31", "--receivers=5", "--groups=1"}, pace...), 500, 400},
		{append([]string{"push", "--connections=31", "--receivers=5", "--groups=2"}, pace...), 500, 400},
		{append([]string{"push", "--connections=31", "--receivers=5", "--groups=6"}, pace...), 500, 400},
		{append([]string{"churn", "--connections=30", "--churn-rate=30", "--churn-life=200ms"}, pace...), 100, 80},
	} {
		done := runLoadgen(t, f, row.args...)
		r := done.result
		if len(r.WrongBecause) > 0 || done.stderr != "" || r.Records == nil {
			t.Errorf("%s: exit code %d, wrong %q, stderr %q", row.args[:3], done.code, r.WrongBecause, done.stderr)
			continue
		}
		if r.Processes != 3 || r.Connections.Held != r.Connections.Asked || r.Records.Acknowledged != 100 || r.Records.Deliveries != row.deliveries {
			t.Errorf("%s: %d processes, %+v, %+v", row.args[:3], r.Processes, r.Connections, *r.Records)
		}
		if n := r.Latency[response].Count; n != row.measured {
			t.Errorf("%s: %d measured, want %d", row.args[:3], n, row.measured)
		}
		if last, ok := r.Latency[lastReceiver]; ok {
			first := r.Latency[firstReceiver]
			if first.Count != 80 || last.Count != 80 || first.MinNs != r.Latency[response].MinNs || last.MaxNs != r.Latency[response].MaxNs {
				t.Errorf("%s: first %+v\nlast %+v\nall %+v", row.args[:3], first, last, r.Latency[response])
			}
		}
		if r.Rate.AskedPerSecond != 200 || r.Rate.AchievedPerSecond > 200.001 {
			t.Errorf("%s: rate %+v", row.args[:3], *r.Rate)
		}
	}
}

// TestGroupsOfACrew: in no process does another connection begin before those that get records are up in all.
func TestGroupsOfACrew(t *testing.T) {
	for _, row := range []struct{ receivers, groups int }{{12, 1}, {6, 2}, {1, 12}} {
		f, brokers := startChat(t)
		done := runLoadgen(t, f, "push", "--connections=300", "--processes=3", "--rate=100", "--warmup=0", "--duration=120ms", "--kafka="+brokers[0],
			fmt.Sprintf("--receivers=%d", row.receivers), fmt.Sprintf("--groups=%d", row.groups))
		if r := done.result; len(r.WrongBecause) > 0 || r.Records == nil || r.Records.Deliveries != 12*row.receivers {
			t.Fatalf("%+v: %+v, stderr %q", row, r, done.stderr)
		}
		for place, session := range f.arrivals {
			if isFed := session.group < row.groups; isFed != (place < 12) {
				t.Fatalf("%+v: a member of group %d came as number %d", row, session.group, place)
			}
		}
	}
}

func TestCrewWithoutKafka(t *testing.T) {
	t.Setenv(asProgram, "1")
	f := newFakeServer(t)
	for _, args := range [][]string{
		{"idle", "--connections=11", "--hold=0s"},
		{"connect", "--connections=11", "--connect-rate=200"},
		{"request", "--connections=11", "--rate=200", "--warmup=0", "--duration=300ms"},
		{"request", "--connections=11", "--rate=200", "--warmup=0", "--duration=300ms", "--echo", "--url=" + f.echoURL()},
	} {
		done := runLoadgen(t, f, append(args, "--processes=2")...)
		r := done.result
		if len(r.WrongBecause) > 0 || done.stderr != "" || r.Processes != 2 || r.Connections.Held != 11 {
			t.Errorf("%s: exit code %d, %+v, stderr %q", args, done.code, r, done.stderr)
		}
		if r.Requests != nil && (r.Requests.Answered != 60 || r.Latency[response].Count != 60) {
			t.Errorf("%s: %+v", args, *r.Requests)
		}
	}
}

// servers are fake ones that get the same records at the same places.
type servers []*fakeServer

func startServers(t *testing.T, n int) (all servers, urls string) {
	t.Helper()
	var list []string
	for range n {
		f := newFakeServer(t)
		all, list = append(all, f), append(list, f.url())
	}
	all[0].misbehave(mistakes{producer: all})
	return all, strings.Join(list, ",")
}

// Produce implements producer.
func (s servers) Produce(value []byte, acknowledged func(int32, int64, error)) {
	partition, offset := s[0].place()
	for _, f := range s {
		f.push(value, partition, offset)
	}
	acknowledged(partition, offset, nil)
}

// Close implements producer.
func (s servers) Close() {}

// TestSeveralServers: the members of a group are on different servers, and are accounted for as if on one.
func TestSeveralServers(t *testing.T) {
	for _, row := range []struct {
		args       []string
		deliveries int
	}{
		{[]string{"push", "--connections=31", "--receivers=1"}, 120},
		{[]string{"push", "--connections=30", "--receivers=5"}, 600},
		{[]string{"push", "--connections=30", "--receivers=5", "--groups=2"}, 600},
		{[]string{"broadcast", "--connections=31"}, 120 * 31},
		{[]string{"churn", "--connections=30", "--receivers=5", "--churn-rate=50", "--churn-life=100ms"}, 600},
	} {
		all, urls := startServers(t, 3)
		done := runLoadgen(t, all[0], append(row.args, "--url="+urls, "--rate=500", "--warmup=40ms", "--duration=200ms")...)
		r := done.result
		if len(r.WrongBecause) > 0 || done.stderr != "" || r.Records == nil || r.Records.Deliveries != row.deliveries {
			t.Errorf("%s: exit code %d, %+v, stderr %q", row.args, done.code, r, done.stderr)
		}
		if r.URL != urls {
			t.Errorf("%s: the result says %q", row.args, r.URL)
		}
		for i, f := range all {
			if came := len(f.arrivals); row.args[0] != "churn" && came != (r.Connections.Held+2-i)/3 {
				t.Errorf("%s: %d of %d connections came to server %d", row.args, came, r.Connections.Held, i)
			}
		}
	}
}

// TestSeveralServersAndProcesses: with the flag repeated; every connection has its rule, evenly on all servers.
func TestSeveralServersAndProcesses(t *testing.T) {
	t.Setenv(asProgram, "1")
	all, urls := startServers(t, 3)
	var flags []string
	for url := range strings.SplitSeq(urls, ",") {
		flags = append(flags, "--url="+url)
	}
	c := startControlled(t, all[0], append([]string{"idle", "--connections=32", "--processes=2"}, flags...)...)
	if held := c.next(t); string(held["connections"]) != "32" {
		t.Fatalf("held %s", held)
	}
	for i, f := range all {
		if want := (32 + 2 - i) / 3; f.sessionsUp() != want {
			t.Errorf("server %d has %d sessions, want %d", i, f.sessionsUp(), want)
		}
	}
	if _, err := io.WriteString(c.stdin, "go\n"); err != nil {
		t.Fatal(err)
	}
	c.next(t)
	if code := c.ended(t); code != exitFine {
		t.Errorf("exit code %d", code)
	}
}

// TestServerThatIsMissing: it is named, and the others are held.
func TestServerThatIsMissing(t *testing.T) {
	all, urls := startServers(t, 2)
	done := runLoadgen(t, all[0], "idle", "--connections=6", "--hold=0s", "--url="+urls+",ws://127.0.0.1:1/ws")
	if done.code != exitInvalid || done.result.Connections.Held != 4 ||
		done.result.Connections.Errors["127.0.0.1:1: connect: connection refused"] != 2 {
		t.Errorf("exit code %d, %+v", done.code, done.result.Connections)
	}
}

func TestCrewMemberThatFailsIsTold(t *testing.T) {
	t.Setenv(asProgram, "1")
	f := newFakeServer(t)
	f.misbehave(mistakes{refuse: func(int) bool { return true }})
	done := runLoadgen(t, f, "idle", "--connections=4", "--processes=2")
	if done.code != exitFailed || !strings.Contains(done.stderr, "503 Service Unavailable") || !strings.Contains(done.stderr, "ended early") {
		t.Errorf("exit code %d, stderr %q", done.code, done.stderr)
	}
}

func TestCrewUnderControl(t *testing.T) {
	t.Setenv(asProgram, "1")
	f := newFakeServer(t)
	c := startControlled(t, f, "idle", "--connections=8", "--processes=2")
	if held := c.next(t); string(held["connections"]) != "8" {
		t.Errorf("held %s", held)
	}
	if err := c.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if code := c.ended(t); code != exitFine {
		t.Errorf("exit code %d", code)
	}
	deadline := time.Now().Add(patience)
	for f.sessionsUp() > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections stayed", f.sessionsUp())
		}
		time.Sleep(time.Millisecond)
	}
}
