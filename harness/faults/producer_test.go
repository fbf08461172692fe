package faults

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatmonitor/harness/stack"
)

// numbers number the records of all tests.
var numbers atomic.Int64

// producer appends numbered records, and knows which of them the broker has acknowledged. It
// waits for all in-sync replicas, and tries for as long as the test runs.
type producer struct {
	client *kgo.Client
	admin  *kadm.Client
	topic  string

	mu           sync.Mutex
	acknowledged map[int64]cursor // guarded by mu
	failed       error            // guarded by mu: the first failure
}

// newProducer connects to the broker's addresses; direct, unless empty, is dialled instead.
func newProducer(t *testing.T, broker stack.Broker, topic, direct string) *producer {
	t.Helper()
	const soon = 100 * time.Millisecond
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker.Addresses()...),
		kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			if direct != "" {
				address = direct
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}),
		kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MetadataMinAge(soon),
		kgo.RetryBackoffFn(func(int) time.Duration { return soon }),
		kgo.RequestTimeoutOverhead(2*time.Second), // a silent broker is soon given up
		kgo.ProduceRequestTimeout(2*time.Second),
		kgo.UnknownTopicRetries(-1),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &producer{client: client, admin: kadm.NewClient(client), topic: topic, acknowledged: map[int64]cursor{}}
}

// send appends a record and does not wait.
func (p *producer) send(partition int32) (number int64) { return p.sendLong(partition, 0) }

// sendLong appends a record with so much more text.
func (p *producer) sendLong(partition int32, extraBytes int) (number int64) {
	number = numbers.Add(1)
	value := fmt.Sprintf(`{"app_id":19,"server_id":%d,"text":"line %d%s"}`, number, number, strings.Repeat("!", extraBytes))
	record := &kgo.Record{Partition: partition, Value: []byte(value)}
	p.client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if err != nil && p.failed == nil {
			p.failed = fmt.Errorf("record %d: %w", number, err)
		}
		if err == nil {
			p.acknowledged[number] = cursor{r.Partition, r.Offset}
		}
	})
	return number
}

// flow sends at a steady rate to all the partitions in turn, until the call of the function
// that it returns, which returns when all has been acknowledged.
func (p *producer) flow(t *testing.T, partitions int32) (stop func()) {
	const every = 5 * time.Millisecond
	ended, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		clock := time.NewTicker(every)
		defer clock.Stop()
		for n := int32(0); ; n++ {
			select {
			case <-end:
				return
			case <-clock.C:
				p.send(n % partitions)
			}
		}
	}()
	once := sync.OnceFunc(func() { close(end); <-ended })
	t.Cleanup(once)
	return func() { once(); p.flush(t) }
}

func (p *producer) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.client.Flush(ctx); err != nil {
		t.Fatalf("wait for the broker to acknowledge: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		t.Fatalf("the broker refuses records: %v", p.failed)
	}
}

// one appends a record and returns its number when the broker has it.
func (p *producer) one(t *testing.T, partition int32) int64 {
	t.Helper()
	number := p.send(partition)
	p.flush(t)
	return number
}

// all is what the broker has acknowledged.
func (p *producer) all() map[int64]cursor {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.acknowledged)
}

// createTopic returns when the topic can be written to.
func (p *producer) createTopic(ctx context.Context, t *testing.T, partitions int32) {
	t.Helper()
	if _, err := p.admin.CreateTopic(ctx, partitions, 1, nil, p.topic); err != nil {
		t.Fatalf("create topic %s: %v", p.topic, err)
	}
}
