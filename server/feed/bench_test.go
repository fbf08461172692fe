package feed

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

// chatter is a thousand lines such as players write, as Kafka would bring them.
func chatter(b *testing.B) [][]byte {
	b.Helper()
	text, err := os.ReadFile("testdata/chatter.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(text), []byte("\n"))
}

// deafConn has rules, and no record for it.
type deafConn struct{ b *testing.B }

func (c deafConn) Push(p *monitor.Push) (monitor.Outcome, monitor.Reason) {
	if p.Account() != nil {
		c.b.Error("a record was pushed")
	}
	return monitor.Handed, 0
}

func (deafConn) Cork()                {}
func (deafConn) Uncork()              {}
func (deafConn) Close(monitor.Reason) {}

// deafHub has two shards of a thousand sessions, and no record for any of them.
func deafHub(b *testing.B) (*monitor.Hub, *monitor.Stats) {
	b.Helper()
	stats := monitor.NewStats(10000)
	hub := monitor.NewHub(monitor.Options{
		Shards: 2, InFlight: 1024, Router: monitor.NewRouter(), Stats: stats, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Limits: monitor.Limits{MaxRules: 1, MaxRulesBytes: 1 << 10, Rule: chat.RuleLimits{MaxEntries: 1, MaxKeywords: 1}},
	})
	stop := make(chan struct{})
	var shards sync.WaitGroup
	for _, shard := range hub.Shards() {
		wake := make(chan struct{}, 1)
		shard.Bind(func() { wake <- struct{}{} })
		for i := range 1000 {
			rule := fmt.Sprintf(`{"path":"/listen","params":{"rule":{"app_id":1,"server_id":%d}}}`, i)
			shard.Open(deafConn{b}).Receive([]byte(rule))
		}
		shards.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-wake:
					for shard.Work(2 * time.Millisecond) {
					}
				}
			}
		})
	}
	b.Cleanup(func() { close(stop); shards.Wait() })
	return hub, stats
}

// BenchmarkFeed is what a record costs from sarama's channel to the index of every shard, and back: it is
// decoded, published to a hub with two shards of a thousand sessions, and matches none of their rules.
func BenchmarkFeed(b *testing.B) {
	hub, stats := deafHub(b)
	f, err := New(Options{Brokers: []string{"127.0.0.1:1"}, Topic: "chat", MaxRecordBytes: 1 << 18, Hub: hub, Stats: stats, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	r := &reader{feed: f, at: newPartition(0)}
	values := chatter(b)
	message := sarama.ConsumerMessage{Timestamp: time.Now()}
	b.ReportAllocs()
	began := cpuTime(b)
	for b.Loop() {
		message.Value = values[int(message.Offset)%len(values)]
		if err := r.take(b.Context(), &message); err != nil {
			b.Fatal(err)
		}
		message.Offset++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/record") // of all goroutines; a busy machine does not change it
	if n := stats.Matched.Load(); n != 0 {
		b.Fatalf("%d records were matched", n)
	}
}

// BenchmarkFeedFromBroker is the same with sarama and a broker before it, which is in this process and
// takes its share of the processor.
func BenchmarkFeedFromBroker(b *testing.B) {
	const partitions, records = 4, 100_000
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "chat"))
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	preload(b, cluster.ListenAddrs(), partitions, records)
	hub, stats := deafHub(b)
	var used time.Duration
	b.ReportAllocs()
	for b.Loop() {
		f, err := New(Options{Brokers: cluster.ListenAddrs(), Topic: "chat", MaxRecordBytes: 1 << 18, Hub: hub, Stats: stats, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		f.listed = true // so that it begins with the oldest record
		ctx, cancel := context.WithCancel(b.Context())
		until := stats.Unmatched.Load() + records
		began := cpuTime(b)
		var running sync.WaitGroup
		running.Go(func() { f.Run(ctx) })
		for stats.Unmatched.Load() < until {
			time.Sleep(time.Millisecond)
		}
		used += cpuTime(b) - began
		cancel()
		running.Wait()
	}
	b.ReportMetric(float64(b.N)*records/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(used)/float64(b.N)/records, "cpu-ns/record")
}

func preload(b *testing.B, brokers []string, partitions, records int) {
	b.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("chat"))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	values := chatter(b)
	var batch []*kgo.Record
	for i := range records {
		batch = append(batch, &kgo.Record{Partition: int32(i % partitions), Value: values[i%len(values)]})
	}
	if err := client.ProduceSync(b.Context(), batch...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

// cpuTime is what the process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkDecode is decoding alone.
func BenchmarkDecode(b *testing.B) {
	values := chatter(b)
	total := 0
	for _, v := range values {
		total += len(v)
	}
	b.SetBytes(int64(total / len(values)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := chat.DecodeRecord(values[i%len(values)], 1<<18); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
