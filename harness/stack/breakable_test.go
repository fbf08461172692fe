package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatmonitor/harness/stack"
	"chatmonitor/harness/stack/brokertest"
)

const patience = 3 * time.Minute

var config = stack.BrokerConfig{Topic: "chat", Partitions: 2, Listen: "127.0.0.1:0"}

func TestBrokersFailAndComeBack(t *testing.T) {
	brokers := map[string]func(t *testing.T) stack.Breakable{
		"embedded": func(t *testing.T) stack.Breakable {
			broker, err := stack.StartEmbedded(config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { broker.Close() })
			return broker
		},
		"best": func(t *testing.T) stack.Breakable { return brokertest.Open(t, config) },
	}
	for name, open := range brokers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			client := connect(t, broker)
			produce(ctx, t, client, "before")
			killAndRestart(ctx, t, broker)
			produce(ctx, t, client, "after the restart")
			pauseAndUnpause(ctx, t, broker)
			produce(ctx, t, client, "after the pause")
			wantValues(ctx, t, broker, "before", "after the restart", "after the pause")
		})
	}
}

func connect(t *testing.T, broker stack.Broker, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(more, kgo.SeedBrokers(broker.Addresses()...), kgo.DefaultProduceTopic(config.Topic),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func produce(ctx context.Context, t *testing.T, client *kgo.Client, value string) {
	t.Helper()
	began := time.Now()
	if err := client.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
		t.Fatalf("produce %q: %v", value, err)
	}
	t.Logf("%q was acknowledged after %v", value, time.Since(began).Round(time.Millisecond))
}

func killAndRestart(ctx context.Context, t *testing.T, broker stack.Breakable) {
	t.Helper()
	address := broker.Addresses()[0]
	open, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := broker.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if err := open.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := open.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("a connection to the killed broker says %v", err)
	}
	if again, err := net.Dial("tcp", address); err == nil {
		again.Close()
		t.Error("the killed broker takes connections")
	}
	began := time.Now()
	if err := broker.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("restarted in %v", time.Since(began).Round(time.Millisecond))
	if now := broker.Addresses()[0]; now != address {
		t.Errorf("it was at %s, and is at %s after the restart", address, now)
	}
}

// pauseAndUnpause sees that a paused broker takes connections and answers nothing.
func pauseAndUnpause(ctx context.Context, t *testing.T, broker stack.Breakable) {
	t.Helper()
	if err := broker.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", broker.Addresses()[0])
	if err != nil {
		t.Errorf("the paused broker refuses connections: %v", err)
	} else {
		conn.Close()
	}
	hasty := connect(t, broker, kgo.RequestTimeoutOverhead(300*time.Millisecond), kgo.RequestRetries(0))
	if err := hasty.Ping(ctx); err == nil {
		t.Error("the paused broker answers")
	}
	if err := broker.Unpause(ctx); err != nil {
		t.Fatal(err)
	}
}

// wantValues reads the topic from its beginning.
func wantValues(ctx context.Context, t *testing.T, broker stack.Broker, values ...string) {
	t.Helper()
	client := connect(t, broker, kgo.ConsumeTopics(config.Topic))
	want := map[string]bool{}
	for _, v := range values {
		want[v] = true
	}
	for len(want) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%v are not there", want)
		}
		fetches.EachRecord(func(r *kgo.Record) { delete(want, string(r.Value)) })
	}
}

// A broker behind a proxy tells clients the proxy's address.
func TestBrokersAdvertiseAnotherAddress(t *testing.T) {
	cfg := config
	cfg.Advertise = "127.0.0.1:9"
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cfg.Listen = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	for _, kind := range []string{stack.KindEmbedded, brokertest.Wanted(t)} {
		broker, err := stack.Open(ctx, stack.Choice{Kafka: kind, Config: cfg, Say: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		if got := broker.Addresses(); len(got) != 1 || got[0] != cfg.Advertise {
			t.Errorf("%s: addresses %q", kind, got)
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Listen))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if told := advertised(ctx, t, client); told != cfg.Advertise {
			t.Errorf("%s: clients are told %s", kind, told)
		}
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	}
}

// advertised is where clients are told to go.
func advertised(ctx context.Context, t *testing.T, client *kgo.Client) string {
	t.Helper()
	told, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil || len(told.Brokers) != 1 {
		t.Fatalf("metadata %+v, %v", told, err)
	}
	return fmt.Sprintf("%s:%d", told.Brokers[0].Host, told.Brokers[0].Port)
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
