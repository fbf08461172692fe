package faults

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"chatmonitor/harness/stack"
	"chatmonitor/harness/stack/brokertest"
)

const (
	outageTopic      = "outages"
	outagePartitions = 4
	// recoveryLimit is from when the broker serves again to the first push.
	recoveryLimit = 45 * time.Second
	// noticeLimit is from the fault to /ready's saying so.
	noticeLimit = 45 * time.Second
	// staleFetch is the age of Kafka's last answer that shows in the metrics during a fault:
	// with records flowing it is a second at most.
	staleFetch = 2500 * time.Millisecond
)

const kafkaError = `type="kafka_error"`

// outage is a broker that fails while records flow.
type outage struct {
	t        *testing.T
	server   *server
	producer *producer
	client   *listener
	stop     func() // ends the flow
}

func beginOutage(ctx context.Context, t *testing.T, broker stack.Broker, direct string) *outage {
	s := startServer(ctx, t, broker, outageTopic)
	o := &outage{t: t, server: s, producer: newProducer(t, broker, outageTopic, direct), client: listen(t, s)}
	o.stop = o.producer.flow(t, outagePartitions)
	first := o.producer.send(0)
	o.client.awaitRecord(t, first)
	s.awaitHealth(true)
	return o
}

// fail brings the fault about and sees that the server says so, everywhere.
func (o *outage) fail(what string, bringAbout func() error) {
	o.t.Helper()
	told := o.client.noticed("feed_stalled")
	watch := startWatch()
	if err := bringAbout(); err != nil {
		o.t.Fatal(err)
	}
	o.server.awaitHealth(false)
	watch.within(o.t, noticeLimit, what+": until /ready says so")
	o.client.awaitNotice(o.t, "feed_stalled", told+1)
	watch.within(o.t, noticeLimit, what+": until clients are told")
	if age := o.fetchAge(); age < staleFetch {
		o.t.Errorf("%s: by the metrics Kafka has answered %v ago", what, age)
	}
}

// fetchAge is how long ago Kafka has answered, by the metrics.
func (o *outage) fetchAge() time.Duration {
	o.t.Helper()
	newest := o.server.metric("kafka_last_fetch_timestamp_seconds", `partition="0"`)
	return time.Since(time.UnixMicro(int64(newest * 1e6)))
}

// recover ends the fault and sees that all is well again.
func (o *outage) recover(what string, end func() error) {
	o.t.Helper()
	told := o.client.noticed("feed_resumed")
	if err := end(); err != nil {
		o.t.Fatal(err)
	}
	watch := startWatch()
	o.client.awaitRecord(o.t, o.producer.send(0))
	watch.within(o.t, recoveryLimit, what+": from the broker's serving to the push of a new record")
	o.server.awaitHealth(true)
	watch.within(o.t, recoveryLimit, what+": until /ready says that all is well")
	o.client.awaitNotice(o.t, "feed_resumed", told+1)
	watch.within(o.t, recoveryLimit, what+": until clients are told")
	for deadline := time.Now().Add(patience); o.fetchAge() >= staleFetch; time.Sleep(poll) {
		if time.Now().After(deadline) {
			o.t.Fatalf("%s: by the metrics Kafka has answered %v ago, and records come", what, o.fetchAge())
		}
	}
}

// finish ends the flow and checks every record.
func (o *outage) finish() {
	o.t.Helper()
	o.stop()
	acknowledged := o.producer.all()
	o.client.wantExactly(o.t, acknowledged)
	o.t.Logf("%d records were acknowledged", len(acknowledged))
	if skipped := o.server.metric("kafka_offsets_skipped_total"); skipped != 0 {
		o.t.Errorf("%v offsets are said to be skipped", skipped)
	}
}

func outageBroker(t *testing.T, listen, advertise string) stack.Breakable {
	return brokertest.Open(t, stack.BrokerConfig{Topic: outageTopic, Partitions: outagePartitions, Listen: listen, Advertise: advertise})
}

// TestBrokerIsKilledAndPaused kills the broker, and later freezes it, while records flow.
func TestBrokerIsKilledAndPaused(t *testing.T) {
	t.Parallel()
	broker := outageBroker(t, "127.0.0.1:0", "")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	o := beginOutage(ctx, t, broker, "")
	reconnects, errors := o.server.metric("kafka_reconnects_total"), o.server.metric("server_error_total", kafkaError)
	o.fail("kill", func() error { return broker.Kill(ctx) })
	o.recover("kill", func() error { return broker.Restart(ctx) })
	o.server.wantMore(reconnects, "kafka_reconnects_total")
	o.server.wantMore(errors, "server_error_total", kafkaError)
	o.fail("pause", func() error { return broker.Pause(ctx) })
	o.recover("pause", func() error { return broker.Unpause(ctx) })
	o.finish()
}

// TestBrokerNeverAnswers has the network take what the broker says to the server, and not
// what it says to the producer.
func TestBrokerNeverAnswers(t *testing.T) {
	t.Parallel()
	direct := freeAddress(t)
	proxy := startProxy(t, direct)
	broker := outageBroker(t, direct, proxy.Listen)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	o := beginOutage(ctx, t, broker, direct)
	o.fail("silence", func() error {
		_, err := proxy.Toxics.AddToxicJson(strings.NewReader(`{"name":"silence","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`))
		return err
	})
	// A server that starts meanwhile serves, and is ready when it can be.
	late := make(chan error, 1)
	go func() {
		_, err := tryServer(ctx, t, broker, outageTopic)
		late <- err
	}()
	select {
	case err := <-late:
		t.Errorf("a server is ready without Kafka's answer (%v)", err)
	case <-time.After(2 * time.Second): // time for it to be wrong
	}
	o.recover("silence", func() error { return proxy.Toxics.RemoveToxic(ctx, "silence") })
	watch := startWatch()
	if err := <-late; err != nil {
		t.Error(err)
	}
	watch.within(t, recoveryLimit, "silence: until a server that was started meanwhile is ready")
	o.finish()
}

// freeAddress is one that a broker can listen on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func startProxy(t *testing.T, upstream string) *toxiproxy.Proxy {
	t.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(api, "kafka", "127.0.0.1:0", upstream)
	if err := proxy.Start(); err != nil {
		t.Fatal(fmt.Errorf("start the proxy: %w", err))
	}
	t.Cleanup(proxy.Stop)
	return proxy
}
