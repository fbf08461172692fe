package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

// Most of these tests is waiting: more run at once than there are processors.
const atOnce = "16"

func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := m.Run()
	if code == 0 {
		// sarama's metrics have one ticker for the process, which never ends.
		if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// listener is a hub with one session that wants everything, driven by a goroutine of its own.
type listener struct {
	hub   *monitor.Hub
	stats *monitor.Stats
	gate  sync.RWMutex // locked: the shard does not work

	mu      sync.Mutex
	pushes  []string // guarded by mu
	notices []string // guarded by mu

	lines logBuffer // of the feed
}

const inFlight = 4

func newListener(t *testing.T) *listener {
	l := &listener{stats: monitor.NewStats(10)}
	l.hub = monitor.NewHub(monitor.Options{
		Shards: 1, InFlight: inFlight, Router: monitor.NewRouter(), Stats: l.stats, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Limits: monitor.Limits{MaxRules: 1, MaxRulesBytes: 1 << 10, Rule: chat.RuleLimits{MaxEntries: 1, MaxKeywords: 1}},
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
				for l.work(shard) {
				}
			}
		}
	})
	t.Cleanup(func() { close(stop); running.Wait() })
	return l
}

func (l *listener) work(shard *monitor.Shard) bool {
	l.gate.RLock()
	defer l.gate.RUnlock()
	return shard.Work(time.Second)
}

func (l *listener) Push(p *monitor.Push) (monitor.Outcome, monitor.Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := p.Framed(func(b []byte, _ *monitor.Account) any { return string(b) }).(string)
	if strings.HasPrefix(text, `{"path":"/notice"`) {
		l.notices = append(l.notices, text)
	} else {
		l.pushes = append(l.pushes, text)
	}
	return monitor.Handed, 0
}

func (l *listener) Cork()                {}
func (l *listener) Uncork()              {}
func (l *listener) Close(monitor.Reason) {}

func (l *listener) got() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.pushes)
}

func (l *listener) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.notices)
}

// offsets is what came of a partition, in its order.
func (l *listener) offsets(partition int32) (offsets []int64) {
	for _, text := range l.got() {
		var push struct {
			Params struct{ Cursor chat.Cursor }
		}
		if err := json.Unmarshal([]byte(text), &push); err != nil {
			panic(err)
		}
		if push.Params.Cursor.Partition == partition {
			offsets = append(offsets, push.Params.Cursor.Offset)
		}
	}
	return offsets
}

// wantOffsets waits until the partition's offsets from first to before end have come, and fails if
// anything else has.
func (l *listener) wantOffsets(t *testing.T, partition int32, first, end int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("offset %d of partition %d", end-1, partition), func() bool {
		return slices.Contains(l.offsets(partition), end-1)
	})
	got := l.offsets(partition)
	for i, offset := range got {
		if offset != first+int64(i) {
			t.Fatalf("of partition %d came %v, want %d to %d", partition, got, first, end-1)
		}
	}
}

func (l *listener) run(t *testing.T, address string, change ...func(*Options)) *Feed {
	t.Helper()
	o := Options{
		Brokers: strings.Split(address, ","), Topic: "chat", MaxRecordBytes: 1000, Hub: l.hub, Stats: l.stats,
		Log: slog.New(slog.NewTextHandler(&l.lines, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	t.Cleanup(func() {
		began := time.Now()
		cancel()
		<-done
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the feed took %v to end", took)
		}
		if t.Failed() {
			t.Logf("log of the feed:\n%s", l.lines.String())
		}
	})
	return f
}

// logBuffer is a log to look at.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) count(what string) int { return strings.Count(b.String(), what) }

// kafka is an embedded broker, or several, and a client that appends.
type kafka struct {
	*kfake.Cluster
	address string
	client  *kgo.Client
}

func startKafka(t *testing.T, options ...kfake.Opt) *kafka {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return &kafka{Cluster: cluster, address: strings.Join(cluster.ListenAddrs(), ",")}
}

// connect has the client log in.
func (k *kafka) connect(t *testing.T, options ...kgo.Opt) *kafka {
	t.Helper()
	all := append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(k.address, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("chat"),
		kgo.UnknownTopicRetries(20), kgo.MetadataMinAge(50 * time.Millisecond),
	}, options...)
	client, err := kgo.NewClient(all...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	k.client = client
	return k
}

func broker(t *testing.T, options ...kfake.Opt) *kafka {
	t.Helper()
	return startKafka(t, options...).connect(t)
}

// append appends values to a partition, and gives the offset after the last.
func (k *kafka) append(t *testing.T, partition int32, values ...string) int64 {
	t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Partition: partition, Value: []byte(v)}
	}
	if err := k.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return records[len(records)-1].Offset + 1
}

func produce(t *testing.T, client *kgo.Client, partition int32, value string) {
	t.Helper()
	(&kafka{client: client}).append(t, partition, value)
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

func awaitCaughtUp(t *testing.T, f *Feed) {
	t.Helper()
	eventually(t, "caught up", func() bool { return f.Status().CaughtUp })
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
