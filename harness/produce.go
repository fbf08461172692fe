package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatmonitor/harness/chatter"
)

// producer sends the demo's chat to Kafka.
type producer struct {
	client *kgo.Client
	topic  string
	said   atomic.Int64          // records that Kafka has
	failed atomic.Pointer[error] // the first that it refused
}

func newProducer(brokers []string, topic string) (*producer, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.ClientID("harness-demo"),
		kgo.ProducerLinger(0), // people watch: a line goes out when it is said
	)
	if err != nil {
		return nil, fmt.Errorf("connect the producer: %w", err)
	}
	return &producer{client: client, topic: topic}, nil
}

func (p *producer) close() { p.client.Close() }

// produce sends records at the rate until the context ends, or one is refused.
func (p *producer) produce(ctx context.Context, talk *chatter.Chatter, perSecond float64) error {
	start := time.Now()
	for n := 0; ; n++ {
		due := start.Add(time.Duration(float64(n) / perSecond * float64(time.Second)))
		select {
		case <-ctx.Done():
			return p.flush()
		case <-time.After(time.Until(due)):
		}
		if err := p.failed.Load(); err != nil {
			return *err
		}
		p.send(talk.Next(time.Now().UnixMilli()))
	}
}

func (p *producer) send(r chatter.Record) {
	record := &kgo.Record{Topic: p.topic, Key: []byte(r.Key()), Value: r.JSON()}
	p.client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("produce a record: %w", err)
			p.failed.CompareAndSwap(nil, &err)
			return
		}
		p.said.Add(1)
	})
}

const flushDeadline = 5 * time.Second

// flush waits for what is under way; the context that ended is not for that.
func (p *producer) flush() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushDeadline)
	defer cancel()
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("wait for the last records: %w", err)
	}
	return nil
}
