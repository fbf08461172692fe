package feed

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

// listener is a hub with one session that wants everything, driven by a goroutine of its own.
type listener struct {
	hub   *monitor.Hub
	stats *monitor.Stats

	mu     sync.Mutex
	pushes []string // guarded by mu
}

func newListener(t *testing.T) *listener {
	l := &listener{stats: monitor.NewStats(10)}
	l.hub = monitor.NewHub(monitor.Options{
		Shards: 1, InFlight: 4, Router: monitor.NewRouter(), Stats: l.stats, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Limits: monitor.Limits{MaxRules: 1, Rule: chat.RuleLimits{MaxEntries: 1, MaxKeywords: 1}},
	})
	shard := l.hub.Shards()[0]
	wake, stop := make(chan struct{}, 1), make(chan struct{})
	shard.Bind(func() { wake <- struct{}{} })
	shard.Open(l).Receive([]byte(`{"path":"/listen","params":{"rule":{}}}`))
	l.pushes = nil // the answer
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-wake:
				for shard.Work(time.Second) {
				}
			}
		}
	})
	t.Cleanup(func() { close(stop); running.Wait() })
	return l
}

func (l *listener) Push(p *monitor.Push) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pushes = append(l.pushes, p.Framed(func(b []byte) any { return string(b) }).(string))
	return true
}

func (l *listener) Cork()                {}
func (l *listener) Uncork()              {}
func (l *listener) Close(monitor.Reason) {}

func (l *listener) got() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.pushes)
}

func (l *listener) run(t *testing.T, address string) *Feed {
	f := New(Options{Brokers: []string{address}, Topic: "chat", MaxRecordBytes: 1000, Hub: l.hub, Stats: l.stats, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

func broker(t *testing.T, options ...kfake.Opt) (address string, client *kgo.Client) {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	address = cluster.ListenAddrs()[0]
	client, err = kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("chat"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return address, client
}

func produce(t *testing.T, client *kgo.Client, partition int32, value string) {
	t.Helper()
	if err := client.ProduceSync(context.Background(), &kgo.Record{Partition: partition, Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

func TestReadsEveryPartitionFromNowOn(t *testing.T) {
	address, client := broker(t, kfake.SeedTopics(2, "chat"))
	produce(t, client, 0, `{"text":"before the start"}`)
	l := newListener(t)
	f := l.run(t, address)
	eventually(t, "caught up", func() bool { return f.Status().CaughtUp })
	produce(t, client, 0, `no record`)
	produce(t, client, 0, `{"text":"a"}`)
	produce(t, client, 1, `{"text":"b"}`)
	eventually(t, "two pushes", func() bool { return len(l.got()) == 2 })
	got := l.got()
	slices.Sort(got)
	for i, want := range []string{`{"partition":0,"offset":2},"record":{"text":"a"}`, `{"partition":1,"offset":0},"record":{"text":"b"}`} {
		if !strings.Contains(got[i], want) {
			t.Errorf("push %d is %s", i, got[i])
		}
	}
	if n := l.stats.Undecodable(chat.InvalidJSON).Load(); n != 1 {
		t.Errorf("%d undecodable values counted", n)
	}
}

func TestANewPartitionIsReadFromItsFirstRecord(t *testing.T) {
	address, client := broker(t, kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	f := l.run(t, address)
	eventually(t, "caught up", func() bool { return f.Status().CaughtUp })
	if _, err := kadm.NewClient(client).CreatePartitions(context.Background(), 1, "chat"); err != nil {
		t.Fatal(err)
	}
	client.ForceMetadataRefresh()
	eventually(t, "the new partition takes a record", func() bool {
		return client.ProduceSync(context.Background(), &kgo.Record{Partition: 1, Value: []byte(`{"text":"first"}`)}).FirstErr() == nil
	})
	eventually(t, "its first record", func() bool { return len(l.got()) > 0 })
	if got := l.got()[0]; !strings.Contains(got, `{"partition":1,"offset":0}`) {
		t.Errorf("got %s", got)
	}
}

func TestABrokerThatComesLater(t *testing.T) {
	placeholder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := placeholder.Addr().(*net.TCPAddr).Port
	if err := placeholder.Close(); err != nil {
		t.Fatal(err)
	}
	l := newListener(t)
	f := l.run(t, fmt.Sprintf("127.0.0.1:%d", port))
	eventually(t, "the trouble is told", func() bool { return f.Status().Trouble != "" })
	if f.Status().CaughtUp {
		t.Fatal("caught up without a broker")
	}
	_, client := broker(t, kfake.Ports(port), kfake.SeedTopics(1, "chat"))
	eventually(t, "caught up", func() bool { return f.Status().CaughtUp })
	produce(t, client, 0, `{}`)
	eventually(t, "a push", func() bool { return len(l.got()) == 1 })
	if trouble := f.Status().Trouble; trouble != "" {
		t.Errorf("the trouble is over, and still told: %s", trouble)
	}
}

func TestAPeerThatIsNotKafka(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	conn, err := guardedDialer{time.Second}.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 8)); err == nil || !strings.Contains(err.Error(), "does not speak Kafka") {
		t.Errorf("got %v", err)
	}
}
