package stack

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestEmbeddedBrokerKeepsRecords(t *testing.T) {
	ctx := within(t, patience)
	var broker Broker
	broker, err := StartEmbedded(BrokerConfig{Topic: "chat", Partitions: 3, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	if broker.Kind() != KindEmbedded || len(broker.Addresses()) != 1 {
		t.Fatalf("broker %q at %q", broker.Kind(), broker.Addresses())
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addresses()...), kgo.ConsumeTopics("chat"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	want := map[string]bool{}
	for partition := range int32(3) {
		value := fmt.Sprintf("in %d", partition)
		want[value] = true
		record := &kgo.Record{Topic: "chat", Partition: partition, Value: []byte(value)}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for len(want) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { delete(want, string(r.Value)) })
	}
	for range 2 {
		if err := broker.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func TestEmbeddedBrokerForgetsOldRecords(t *testing.T) {
	ctx := within(t, patience)
	broker, err := StartEmbedded(BrokerConfig{Topic: "chat", Partitions: 1, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addresses()...), kgo.DefaultProduceTopic("chat"),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const recordBytes = 512 << 10
	value := make([]byte, recordBytes)
	for range 2 * retainedBytes / recordBytes {
		if err := client.ProduceSync(ctx, kgo.SliceRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	broker.cluster.ApplyRetention() // what the broker does by itself now and then
	info := broker.cluster.PartitionInfo("chat", 0)
	if info.LogStartOffset == 0 || info.NumBytes > retainedBytes+segmentBytes {
		t.Errorf("%d bytes are kept from offset %d on, want at most about %d", info.NumBytes, info.LogStartOffset, retainedBytes)
	}
}

func TestEmbeddedBrokerTakesThePortItIsGiven(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if _, err := StartEmbedded(BrokerConfig{Topic: "chat", Partitions: 1, Listen: address}); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("on a taken port: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	broker, err := StartEmbedded(BrokerConfig{Topic: "chat", Partitions: 1, Listen: address})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	if got := broker.Addresses()[0]; got != address {
		t.Errorf("it listens on %s, not on %s", got, address)
	}
}

func TestEmbeddedBrokerRefusesNonsense(t *testing.T) {
	sound := BrokerConfig{Topic: "chat", Partitions: 1, Listen: "127.0.0.1:0"}
	tests := map[string]func(*BrokerConfig){
		"topic \"\"":     func(c *BrokerConfig) { c.Topic = "" },
		"topic \"a b\"":  func(c *BrokerConfig) { c.Topic = "a b" },
		"0 partitions":   func(c *BrokerConfig) { c.Partitions = 0 },
		"missing port":   func(c *BrokerConfig) { c.Listen = "127.0.0.1" },
		"one IP address": func(c *BrokerConfig) { c.Listen = "0.0.0.0:0" },
	}
	for want, spoil := range tests {
		cfg := sound
		spoil(&cfg)
		_, err := StartEmbedded(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", cfg, err, want)
		}
	}
}

func TestExternalBroker(t *testing.T) {
	ctx := within(t, patience)
	running, err := StartEmbedded(BrokerConfig{Topic: "chat", Partitions: 1, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	address := running.Addresses()[0]
	var broker Broker
	broker, err = OpenExternal(ctx, "127.0.0.1:1,"+address, "chat")
	if err != nil || broker.Kind() != KindExternal || len(broker.Addresses()) != 2 {
		t.Errorf("OpenExternal = %+v, %v", broker, err)
	}
	if _, err := OpenExternal(ctx, address, "gossip"); err == nil || !strings.Contains(err.Error(), `no topic "gossip"`) {
		t.Errorf("the topic is not there: %v", err)
	}
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenExternal(ctx, address, "chat"); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestExternalBrokerIsNoKafka(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler()) // it waits for the end of a line
	t.Cleanup(web.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // its backlog accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	for what, address := range map[string]string{"a web server": web.Listener.Addr().String(), "silence": silent.Addr().String()} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, err := OpenExternal(within(t, patience), address, "chat")
			if err == nil || !strings.Contains(err.Error(), "no Kafka broker answers at "+address) {
				t.Errorf("got %v", err)
			}
		})
	}
}
