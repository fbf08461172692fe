package conformance

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// cursor is a record's place.
type cursor struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// kafka appends records.
type kafka struct {
	client *kgo.Client
	admin  *kadm.Client
}

func (s *suite) connectToKafka(t *testing.T) {
	t.Helper()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(s.Brokers...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.UnknownTopicRetries(20), // a topic that was made a moment ago
		kgo.RecordDeliveryTimeout(patience),
	)
	if err != nil {
		t.Fatalf("Kafka client for %v: %v", s.Brokers, err)
	}
	t.Cleanup(client.Close)
	s.kafka = &kafka{client: client, admin: kadm.NewClient(client)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	topics, err := s.kafka.admin.ListTopics(ctx, s.Topic)
	if err == nil {
		err = topics[s.Topic].Err
	}
	if err != nil {
		t.Fatalf("topic %q at %v: %v", s.Topic, s.Brokers, err)
	}
	s.partitions = int32(len(topics[s.Topic].Partitions))
}

// value is a record's value in a template: $N is replaced by n.
func value(template string, n int64) string {
	return strings.ReplaceAll(template, "$N", strconv.FormatInt(n, 10))
}

// produce appends records to a partition of the trial's topic, in order, and gives their cursors once
// Kafka has acknowledged them all.
func (tr *trial) produce(partition int32, values ...string) []cursor {
	tr.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: tr.topic, Partition: partition, Value: []byte(v)}
	}
	return tr.append(records...)
}

// produceNull appends a record without a value.
func (tr *trial) produceNull(partition int32) cursor {
	tr.Helper()
	return tr.append(&kgo.Record{Topic: tr.topic, Partition: partition})[0]
}

func (tr *trial) append(records ...*kgo.Record) []cursor {
	tr.Helper()
	cursors, err := tr.tryAppend(records...)
	if err != nil {
		tr.Fatalf("append to Kafka: %v", err)
	}
	return cursors
}

func (tr *trial) tryAppend(records ...*kgo.Record) ([]cursor, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := tr.kafka.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, err
	}
	cursors := make([]cursor, len(records))
	for i, r := range records { // the results come in the order of the acknowledgements, these do not
		cursors[i] = cursor{r.Partition, r.Offset}
	}
	return cursors, nil
}

// createTopic makes a topic for this trial alone.
func (tr *trial) createTopic(name string, partitions int32) {
	tr.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := tr.kafka.admin.CreateTopic(ctx, partitions, 1, nil, name); err != nil {
		tr.Fatalf("create topic %q: %v", name, err)
	}
	tr.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := tr.kafka.admin.DeleteTopic(ctx, name); err != nil {
			tr.Errorf("delete topic %q: %v", name, err)
		}
	})
}

// apart is the same trial with a topic, and a server that reads it, to itself.
func (tr *trial) apart(partitions int32, flags ...string) *trial {
	tr.Helper()
	own := *tr
	own.topic = topicName()
	own.createTopic(own.topic, partitions)
	away := own.on(own.start(flags...))
	away.awaitReady()
	return away
}

func topicName() string { return fmt.Sprintf("conformance-%d", unique()) }

// partition is one that this trial may use: trials spread over all there are.
func (tr *trial) partition() int32 { return int32(unique() % int64(tr.partitions)) }
