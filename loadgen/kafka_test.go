package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func startKafka(t *testing.T) []string {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "chat"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()
}

func testFeed(brokers []string) feedFlags {
	return feedFlags{Kafka: brokers, Topic: "chat"}
}

// TestKafkaKeepsOrderAndTellsPlaces: what is produced is what Kafka has, where the acknowledgement says.
func TestKafkaKeepsOrderAndTellsPlaces(t *testing.T) {
	const records = 200
	brokers := startKafka(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := openKafka(ctx, testFeed(brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	placed := make([]cursor, records)
	answers := make(chan error, records)
	for i := range records {
		out.Produce(fmt.Appendf(nil, "record %d", i), func(partition int32, offset int64, err error) {
			placed[i] = cursor{partition, offset}
			answers <- err
		})
	}
	for range records {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	stored := consume(ctx, t, brokers, records)
	partitions := map[int32]int{}
	for i, at := range placed {
		if got, want := stored[at], fmt.Sprintf("record %d", i); got != want {
			t.Errorf("at %v Kafka has %q, want %q", at, got, want)
		}
		partitions[at.partition]++
	}
	if len(partitions) != 4 {
		t.Errorf("records went to partitions %v, want all four", partitions)
	}
}

func consume(ctx context.Context, t *testing.T, brokers []string, records int) map[cursor]string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("chat"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	stored := map[cursor]string{}
	for len(stored) < records {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { stored[cursor{r.Partition, r.Offset}] = string(r.Value) })
	}
	return stored
}

func TestKafkaThatCannotWorkIsToldAtOnce(t *testing.T) {
	brokers := startKafka(t)
	missing := testFeed(brokers)
	missing.Topic = "nowhere"
	if _, err := openKafka(t.Context(), missing); err == nil || !strings.Contains(err.Error(), "topic nowhere") {
		t.Errorf("a missing topic: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := openKafka(ctx, testFeed([]string{"127.0.0.1:1"})); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("no broker: %v", err)
	}
}

// TestBrokerThatSaysNothing: whoever ends the run need not wait for it.
func TestBrokerThatSaysNothing(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if out, err := openKafka(ctx, testFeed([]string{silent.Addr().String()})); err == nil {
		out.Close()
		t.Error("it is taken for a broker")
	}
	if took := time.Since(begun); took > kafkaPatience/2 {
		t.Errorf("given up after %v", took)
	}
}

// TestRecordsThatKafkaNeverAnswers: they make the run invalid, and what becomes of them when the producer is closed
// changes nothing.
func TestRecordsThatKafkaNeverAnswers(t *testing.T) {
	f := newFakeServer(t)
	silent := &silentProducer{}
	f.misbehave(mistakes{producer: silent})
	done := runLoadgen(t, f, quickPush("--settle=200ms")...)
	if because := strings.Join(done.result.InvalidBecause, "; "); done.code != exitInvalid || len(silent.waiting) != 120 ||
		!strings.Contains(because, "Kafka acknowledged 0 of 120 records") || strings.Contains(because, "given up") {
		t.Errorf("exit code %d, because %q", done.code, because)
	}
}

// silentProducer answers when it is closed.
type silentProducer struct{ waiting []func(int32, int64, error) }

func (s *silentProducer) Produce(_ []byte, acknowledged func(int32, int64, error)) {
	s.waiting = append(s.waiting, acknowledged)
}

func (s *silentProducer) Close() {
	for _, acknowledged := range s.waiting {
		acknowledged(0, 0, errors.New("given up"))
	}
}

func TestRecordsThatKafkaRefusesMakeTheRunInvalid(t *testing.T) {
	f := newFakeServer(t)
	refusing := &refusingProducer{producer: f}
	f.misbehave(mistakes{producer: refusing})
	done := runLoadgen(t, f, quickPush()...)
	n := *done.result.Records
	if done.code != exitInvalid || n.Acknowledged != 119 || n.DeliveriesExpected != 119 || n.Lost != 0 {
		t.Errorf("exit code %d, %+v, wrong %q", done.code, n, done.result.WrongBecause)
	}
	if because := strings.Join(done.result.InvalidBecause, "; "); !strings.Contains(because, "119 of 120") || !strings.Contains(because, "disk full") {
		t.Errorf("because %q", because)
	}
}

// refusingProducer loses the tenth record.
type refusingProducer struct {
	producer
	n int
}

func (r *refusingProducer) Produce(value []byte, acknowledged func(int32, int64, error)) {
	r.n++
	if r.n == 10 {
		acknowledged(0, 0, fmt.Errorf("disk full"))
		return
	}
	r.producer.Produce(value, acknowledged)
}
