package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	kafkaPatience      = 10 * time.Second // for the first contact
	maxBufferedRecords = 1 << 20
)

// kafkaProducer writes records through franz-go: each at once, acknowledged by all replicas.
type kafkaProducer struct {
	client *kgo.Client
	topic  string
}

// openKafka connects, so that the first record finds its connection open and a wrong address or topic is told at once.
func openKafka(ctx context.Context, flags feedFlags) (producer, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(flags.Kafka...),
		kgo.ClientID("loadgen"),
		kgo.WithContext(ctx), // a broker that accepts and says nothing would hold up whoever interrupts the run
		kgo.ProducerLinger(0),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.MaxBufferedRecords(maxBufferedRecords), // a full buffer would hold up the schedule
	)
	if err != nil {
		return nil, fmt.Errorf("kafka: configure client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	if err := meetKafka(ctx, client, flags.Topic); err != nil {
		client.Close()
		return nil, fmt.Errorf("kafka at %v: %w", flags.Kafka, err)
	}
	return &kafkaProducer{client: client, topic: flags.Topic}, nil
}

func meetKafka(ctx context.Context, client *kgo.Client, topic string) error {
	request := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	request.Topics = append(request.Topics, asked)
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("ask for topic %s: %w", topic, err)
	}
	for _, found := range answer.Topics {
		if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
	if err := client.EnsureProduceConnectionIsOpen(ctx); err != nil {
		return fmt.Errorf("open connections to produce on: %w", err)
	}
	return nil
}

// Produce implements producer.
func (k *kafkaProducer) Produce(value []byte, acknowledged func(partition int32, offset int64, err error)) {
	record := &kgo.Record{Topic: k.topic, Value: value}
	k.client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
		acknowledged(r.Partition, r.Offset, err)
	})
}

// Close implements producer. Records under way are given up.
func (k *kafkaProducer) Close() { k.client.Close() }
