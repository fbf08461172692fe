package feed

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// numbered are n records, the first of which has the number from.
func numbered(from, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf(`{"app_id":%d}`, from+i)
	}
	return values
}

func (f *Feed) partitionState(number int32) PartitionStatus {
	return f.Status().Partitions[fmt.Sprint(number)]
}

func awaitState(t *testing.T, f *Feed, number int32, s State) {
	t.Helper()
	eventually(t, fmt.Sprintf("partition %d is %s", number, s), func() bool { return f.partitionState(number).State == s })
}

func TestABrokerThatRestarts(t *testing.T) {
	t.Parallel()
	port, dir := freePort(t), t.TempDir()
	first := broker(t, kfake.Ports(port), kfake.DataDir(dir), kfake.SeedTopics(2, "chat"))
	l := newListener(t)
	f := l.run(t, first.address)
	awaitCaughtUp(t, f)
	first.append(t, 0, numbered(0, 20)...)
	first.append(t, 1, numbered(0, 20)...)
	l.wantOffsets(t, 0, 0, 20)
	first.client.Close()
	first.Cluster.Close()
	eventually(t, "feed_stalled", func() bool { return len(l.told()) == 1 })
	s := f.Status()
	if s.Connected || !s.Stalled || s.Trouble == "" || !s.CaughtUp {
		t.Errorf("while the broker is down: %+v", s)
	}
	awaitState(t, f, 1, Failing)

	again := broker(t, kfake.Ports(port), kfake.DataDir(dir))
	began := time.Now()
	end := again.append(t, 1, numbered(20, 20)...)
	l.wantOffsets(t, 1, 0, end)
	t.Logf("the first record came %v after the broker", time.Since(began))
	eventually(t, "feed_resumed", func() bool { return len(l.told()) == 2 })
	endOfFirst := again.append(t, 0, numbered(20, 1)...)
	l.wantOffsets(t, 0, 0, endOfFirst)
	eventually(t, "the next offset in the status", func() bool {
		p := f.partitionState(0)
		return p.NextOffset == endOfFirst && p.LagRecords == 0
	})
	told := l.told()
	if !strings.Contains(told[0], `"kind":"feed_stalled","partitions":[0,1],"since":`) || !strings.Contains(told[1], `"kind":"feed_resumed","partitions":[0,1],"since":`) {
		t.Errorf("told were %v", told)
	}
	if s := f.Status(); !s.Connected || s.Stalled || s.Trouble != "" || s.Partitions["0"].State != Reading {
		t.Errorf("when it is over: %+v", s)
	}
	if l.stats.Reconnects.Load() == 0 || l.stats.FeedErrors.Load() == 0 {
		t.Errorf("%d reconnects, %d errors", l.stats.Reconnects.Load(), l.stats.FeedErrors.Load())
	}
	if n := l.lines.count("partitions are not read"); n != 1 {
		t.Errorf("the failure was logged %d times:\n%s", n, l.lines.String())
	}
	if n := l.lines.count("Kafka is not as it should be"); n != 1 {
		t.Errorf("that the topic was not found was logged %d times:\n%s", n, l.lines.String())
	}
	if ledger := l.stats.Ledger(); !ledger.Balanced || ledger.Partitions["1"].Consumed != uint64(end) || ledger.Partitions["1"].Gaps != 0 {
		t.Errorf("the ledger is %+v", ledger)
	}
}

func TestALeaderThatChanges(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.NumBrokers(3), kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	awaitCaughtUp(t, l.run(t, k.address))
	var end int64
	for round := range 4 {
		if err := k.MoveTopicPartition("chat", 0, (k.LeaderFor("chat", 0)+1)%3); err != nil {
			t.Fatal(err)
		}
		end = k.append(t, 0, numbered(10*round, 10)...)
		l.wantOffsets(t, 0, 0, end)
	}
	if told := l.told(); len(told) > 0 {
		t.Errorf("clients were told %v", told)
	}
}

func TestATopicThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		before, after int
	}{{"shorter", 20, 5}, {"longer", 5, 20}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			k := broker(t, kfake.SeedTopics(1, "chat"))
			l := newListener(t)
			f := l.run(t, k.address)
			awaitCaughtUp(t, f)
			l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(0, row.before)...))
			if err := k.DeleteTopic("chat"); err != nil {
				t.Fatal(err)
			}
			awaitState(t, f, 0, Failing)
			l.mu.Lock()
			l.pushes = nil
			l.mu.Unlock()
			if err := k.CreateTopic("chat", 1, nil); err != nil {
				t.Fatal(err)
			}
			k.client.PurgeTopicsFromClient("chat")
			l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(100, row.after)...))
			if p := l.stats.Ledger().Partitions["0"]; p.Offsets != int64(row.before+row.after) || p.Next != int64(row.after) || !p.Balanced {
				t.Errorf("the ledger's page is %+v", p)
			}
		})
	}
}

// Kafka deletes old records while the broker does not let the feed read them.
func TestTheNextOffsetIsGone(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	f := l.run(t, k.address)
	awaitCaughtUp(t, f)
	l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(0, 10)...))
	fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.KafkaStorageError, Count: -1})
	awaitState(t, f, 0, Failing)
	end := k.append(t, 0, numbered(10, 30)...)
	if err := k.DeleteRecords("chat", 0, 25); err != nil {
		t.Fatal(err)
	}
	fault.Remove()
	eventually(t, "the last record", func() bool { got := l.offsets(0); return got[len(got)-1] == end-1 })
	if got := l.offsets(0); len(got) != 25 || got[9] != 9 || got[10] != 25 {
		t.Errorf("came %v, want 0 to 9 and 25 to 39", got)
	}
	if n := l.stats.Partition(0).Skipped.Load(); n != 15 {
		t.Errorf("%d offsets counted as skipped, want 15", n)
	}
	if p := l.stats.Ledger().Partitions["0"]; p.Gaps != 15 || p.Consumed != 25 || !p.Balanced {
		t.Errorf("the ledger's page is %+v", p)
	}
}

// What sarama ends a reader for: the fetch itself finds the offset gone.
func TestAFetchFindsItsOffsetGone(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	awaitCaughtUp(t, l.run(t, k.address))
	l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(0, 5)...))
	fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.OffsetOutOfRange, Count: 1})
	if err := fault.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(5, 5)...)) // it was there: nothing is skipped, nothing comes twice
	if n := l.stats.Partition(0).Skipped.Load(); n != 0 {
		t.Errorf("%d offsets counted as skipped", n)
	}
}

// The end of a log may be behind the next offset for as long as a new leader does not know it.
func TestALogThatIsShortForAWhile(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	f := l.run(t, k.address)
	awaitCaughtUp(t, f)
	l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(0, 10)...))
	var long atomic.Bool
	k.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if k.KeepControl(); long.Load() {
			return nil, nil, false
		}
		return shortLog(req.(*kmsg.ListOffsetsRequest), 4), nil, true
	})
	fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.OffsetOutOfRange, Count: 1})
	eventually(t, "the trouble is told", func() bool { return strings.Contains(f.partitionState(0).LastError, "ends at 4") })
	fault.Remove()
	long.Store(true)
	l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(10, 5)...))
}

func shortLog(req *kmsg.ListOffsetsRequest, end int64) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			partition := kmsg.NewListOffsetsResponseTopicPartition()
			partition.Partition = p.Partition
			if partition.Offset = 0; p.Timestamp == -1 {
				partition.Offset = end
			}
			topic.Partitions = append(topic.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func TestAPartitionThatIsRefused(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(2, "chat"))
	l := newListener(t)
	f := l.run(t, k.address)
	awaitCaughtUp(t, f)
	fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets}, Topic: "chat", Partitions: []int32{1}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	awaitState(t, f, 1, Failing)
	if s := f.partitionState(1); !strings.Contains(strings.ToLower(s.LastError), "authori") {
		t.Errorf("the state is %+v", s)
	}
	l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(0, 10)...)) // the other one is read
	eventually(t, "feed_stalled", func() bool { return len(l.told()) == 1 })
	if told := l.told(); !strings.Contains(told[0], `"partitions":[1]`) {
		t.Errorf("told were %v", told)
	}
	if f.partitionState(0).State != Reading {
		t.Errorf("the other one is %+v", f.partitionState(0))
	}
	attempts := fault.Hits()
	eventually(t, "more attempts", func() bool { return fault.Hits() > attempts+4 })
	fault.Remove()
	l.wantOffsets(t, 1, 0, k.append(t, 1, numbered(0, 10)...))
	eventually(t, "feed_resumed", func() bool { return len(l.told()) == 2 })
	if n := l.lines.count("partitions are not read"); n != 1 {
		t.Errorf("the failure was logged %d times:\n%s", n, l.lines.String())
	}
}

// The feed ends while a broker owes it an answer.
func TestTheEndDoesNotWaitForAnAnswer(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var c net.Conn
	t.Cleanup(func() { // after the feed's end
		if c != nil {
			_ = c.Close()
		}
	})
	newListener(t).run(t, server.Addr().String()) // which measures the end
	if c, err = server.Accept(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, requestHead)); err != nil {
		t.Fatal(err)
	}
}

// A broker that accepts and says nothing is no broker.
func TestABrokerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0") // its backlog accepts
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l := newListener(t)
	f := l.run(t, server.Addr().String())
	began := time.Now()
	eventually(t, "feed_stalled", func() bool { return len(l.told()) == 1 })
	eventually(t, "the trouble", func() bool { return f.Status().Trouble != "" })
	t.Logf("after %v: %s", time.Since(began), f.Status().Trouble)
}

// A broker stops to answer while it is read, and goes on later.
func TestABrokerThatFallsSilent(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(1, "chat"), kfake.SleepOutOfOrder())
	l := newListener(t)
	f := l.run(t, k.address)
	awaitCaughtUp(t, f)
	speak := make(chan struct{})
	k.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		k.SleepControl(func() { <-speak })
		return nil, nil, false
	})
	awaitState(t, f, 0, Silent)
	eventually(t, "feed_stalled", func() bool { return len(l.told()) == 1 })
	close(speak)
	end := k.append(t, 0, numbered(0, 10)...)
	l.wantOffsets(t, 0, 0, end)
	eventually(t, "feed_resumed", func() bool { return len(l.told()) == 2 })
	awaitState(t, f, 0, Reading)
}

func TestAnIdlePartitionIsFetched(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	f := l.run(t, k.address)
	awaitCaughtUp(t, f)
	var first time.Time
	eventually(t, "a fetch", func() bool {
		s := f.partitionState(0)
		if s.LastFetch != nil {
			first = *s.LastFetch
		}
		return s.LastFetch != nil
	})
	eventually(t, "a later fetch", func() bool { return f.partitionState(0).LastFetch.After(first) })
}

// The records that find no room stay with Kafka, and nothing is lost.
func TestAFullHubHoldsTheFeed(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	f := l.run(t, k.address)
	awaitCaughtUp(t, f)
	l.gate.Lock()
	const records = 3000
	var end int64
	for i := 0; i < records; i += 100 {
		end = k.append(t, 0, numbered(i, 100)...)
	}
	eventually(t, "the feed has met the limit", func() bool { return l.stats.Ledger().Partitions["0"].Consumed == inFlight+1 })
	ctx, cancel := context.WithTimeout(t.Context(), (stalledTicks+2)*tickEvery)
	defer cancel()
	for ctx.Err() == nil { // longer than sarama waits for a reader, and than a broker may be silent
		if n := l.stats.Ledger().Partitions["0"].Consumed; n != inFlight+1 {
			t.Fatalf("%d records were published with room for %d, and one that waits", n, inFlight)
		}
		sleep(ctx, 50*time.Millisecond)
	}
	if s := f.partitionState(0); s.State != Reading {
		t.Errorf("a feed that waits for room says %+v", s)
	}
	eventually(t, "the whole lag is seen", func() bool { return l.stats.Partition(0).Lag.Load() == records-inFlight })
	l.gate.Unlock()
	l.wantOffsets(t, 0, 0, end)
	if told := l.told(); len(told) > 0 {
		t.Errorf("clients were told %v", told)
	}
	eventually(t, "no lag", func() bool { return l.stats.Partition(0).Lag.Load() == 0 })
	if p := l.stats.Ledger().Partitions["0"]; p.Consumed != records || p.Handed != records {
		t.Errorf("the ledger's page is %+v", p)
	}
}

// Some broker may learn late that a topic has been made anew. Its answer is no reason to begin anew, too:
// what was pushed would be pushed again.
func TestABrokerThatKnowsTheOldTopic(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(1, "chat"))
	var stale atomic.Pointer[kmsg.MetadataResponse]
	l := newListener(t)
	f := l.run(t, k.address)
	awaitCaughtUp(t, f)
	old := k.metadata(t)
	l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(0, 5)...))
	if err := k.DeleteTopic("chat"); err != nil {
		t.Fatal(err)
	}
	if err := k.CreateTopic("chat", 2, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both partitions", func() bool { return f.partitionState(1).State == Reading })
	k.client.PurgeTopicsFromClient("chat")
	k.append(t, 0, numbered(100, 5)...)
	eventually(t, "the new records", func() bool { return len(l.got()) == 10 })
	answers := 0
	k.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		r := stale.Load()
		if r == nil {
			return nil, nil, false
		}
		if answers++; answers == 4 { // two looks
			stale.Store(nil)
		}
		copied := *r
		copied.Version = req.GetVersion()
		return &copied, nil, true
	})
	stale.Store(old)
	f.kick()
	eventually(t, "the broker knows the new topic", func() bool { f.kick(); return stale.Load() == nil })
	end := k.append(t, 0, numbered(105, 1)...)
	eventually(t, "one more record", func() bool { got := l.offsets(0); return got[len(got)-1] == end-1 })
	sleep(t.Context(), 2*time.Second) // for records that come twice
	if got := l.got(); len(got) != 11 {
		t.Errorf("%d records came, of 11:\n%s", len(got), strings.Join(got, "\n"))
	}
	if n := l.lines.count("made anew"); n != 1 {
		t.Errorf("that the topic was made anew was logged %d times", n)
	}
}

// metadata is the broker's answer about the topic.
func (k *kafka) metadata(t *testing.T) *kmsg.MetadataResponse {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("chat")
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(t.Context(), k.client)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// What is appended to a log that has lost its end is new, also while it may still come back.
func TestALogThatStaysShort(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	f := l.run(t, k.address)
	awaitCaughtUp(t, f)
	l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(0, 10)...))
	var end atomic.Int64
	end.Store(4)
	k.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		return shortLog(req.(*kmsg.ListOffsetsRequest), end.Load()), nil, true
	})
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.OffsetOutOfRange, Count: 1})
	eventually(t, "the trouble is told", func() bool { return strings.Contains(f.partitionState(0).LastError, "ends at 4") })
	end.Store(6)
	eventually(t, "more records", func() bool { return len(l.offsets(0)) > 10 })
	if got := l.offsets(0); got[10] != 4 {
		t.Errorf("came %v, want 4 after 9", got)
	}
}
