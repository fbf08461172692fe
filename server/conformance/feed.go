package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"
)

func feedCases() []testCase {
	return []testCase{
		{name: "no broker: the server serves", own: true, run: noBroker},
		{name: "no broker: it ends at once", own: true, run: noBrokerEnds},
		{name: "a broker that is no Kafka", own: true, run: strangeBroker},
		{name: "a topic that comes later is read from its first record", own: true, run: lateTopic},
		{name: "a partition that comes later is read from its first record", own: true, run: latePartition},
		{name: "once ready, every record is handled", own: true, run: onceReady},
		{name: "two servers get every record", own: true, run: twoServers},
		{name: "clients are told that the feed stalls and that it goes on", own: true, run: feedNotices},
	}
}

// Nobody listens on port 1.
const noKafka = "--kafka=127.0.0.1:1"

func noBroker(tr *trial) {
	tr.on(tr.start(noKafka)).wantWithoutFeed()
}

// wantWithoutFeed checks what a server does that reads no Kafka.
func (tr *trial) wantWithoutFeed() {
	tr.Helper()
	tr.get("/live", http.StatusOK)
	r := tr.get("/ready", http.StatusServiceUnavailable)
	if !json.Valid([]byte(r.body)) {
		tr.Errorf("/ready is no JSON: %.300q", r.body)
	}
	s := tr.session()
	s.ping()
	name := s.listen(`{"app_id":1}`)
	s.wantRules(map[string]string{name: `{"app_id":1}`})
	tr.awaitKafkaError()
}

func (tr *trial) awaitKafkaError() {
	tr.Helper()
	tr.eventually("an error of Kafka in the metrics", func() error {
		if n := tr.scrape().sum(metricPrefix+"server_error_total", "type", "kafka_error"); n < 1 {
			return fmt.Errorf("kafka_error is %v", n)
		}
		return nil
	})
}

func noBrokerEnds(tr *trial) {
	instance := tr.start(noKafka, "--drain=60s")
	instance.Signal(tr.TB, syscall.SIGTERM)
	if code := instance.ExitCode(tr.TB); code != 0 {
		tr.Errorf("the server exits %d", code)
	}
}

// The broker's address is the HTTP port of a server of ours.
func strangeBroker(tr *trial) {
	tr.on(tr.start("--kafka=" + tr.address)).wantWithoutFeed()
}

func lateTopic(tr *trial) {
	away := *tr
	away.topic = topicName()
	late := away.on(away.start())
	app := unique()
	s := late.session()
	s.listen(appRule(app))
	late.awaitKafkaError() // it has looked, and there is no topic: one that comes now is not there at the start
	late.get("/ready", http.StatusServiceUnavailable)
	late.createTopic(late.topic, 2)
	first := late.produce(0, appRecord(app))[0]
	late.awaitReady()
	if p := s.next(); p.at != first {
		tr.Errorf("came the record at %v, want the first, %v", p.at, first)
	}
	s.wantPushes(1, late.produce(1, appRecord(app))...)
}

// A topic that is not there is a feed that stalls.
func feedNotices(tr *trial) {
	away := *tr
	away.topic = topicName()
	late := away.on(away.start())
	idle, listens := late.session(), late.session()
	listens.listen(`{}`)
	for _, s := range []*session{idle, listens} {
		s.wantFeedNotice(`{"kind":"feed_stalled","partitions":[],"since":`)
	}
	late.createTopic(late.topic, 1)
	for _, s := range []*session{idle, listens} {
		s.wantFeedNotice(`{"kind":"feed_resumed","partitions":[`)
		s.ping()
	}
}

// wantFeedNotice reads frames until one is a text, which has to be a notice with params that begin like this.
func (s *session) wantFeedNotice(params string) {
	s.Helper()
	f := s.frame()
	for f.op == opPing || f.op == opPong {
		f = s.frame()
	}
	if want := `{"path":"/notice","params":` + params; f.op != opText || !strings.HasPrefix(string(f.payload), want) {
		s.Fatalf("came %v, want a text that begins with %s", f, want)
	}
}

func latePartition(tr *trial) {
	away := tr.apart(1)
	s, app := away.forApp()
	s.wantPushes(0, away.produce(0, appRecord(app))...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := tr.kafka.admin.CreatePartitions(ctx, 1, away.topic); err != nil {
		tr.Fatalf("add a partition: %v", err)
	}
	// The client that appends has to learn of the partition, too; until then it refuses.
	var first cursor
	tr.eventually("append to the new partition", func() error {
		tr.kafka.client.ForceMetadataRefresh()
		at, err := away.tryAppend(&kgo.Record{Topic: away.topic, Partition: 1, Value: []byte(appRecord(app))})
		if err == nil {
			first = at[0]
		}
		return err
	})
	if p := s.next(); p.at != first {
		tr.Errorf("came the record at %v, want the first, %v", p.at, first)
	}
	s.wantPushes(0, away.produce(0, appRecord(app))...)
}

// Each partition gets its record right behind the 200.
func onceReady(tr *trial) {
	away := *tr
	away.topic = topicName()
	away.createTopic(away.topic, 16)
	late := away.on(away.start())
	app := unique()
	s := late.session()
	s.listen(appRule(app))
	late.awaitReady()
	want := make(map[cursor]bool)
	for partition := range int32(16) {
		want[late.produce(partition, appRecord(app))[0]] = true
	}
	for range 16 {
		at := s.next().at
		if !want[at] {
			tr.Fatalf("came the record at %v, which was not appended or came before", at)
		}
		delete(want, at)
	}
}

func twoServers(tr *trial) {
	one := tr.apart(2)
	other := one.on(one.start())
	other.awaitReady()
	s, app := one.forApp()
	t := other.session()
	t.listen(appRule(app))
	for partition := range int32(2) {
		at := one.produce(partition, appRecord(app), appRecord(app))
		s.wantPushes(partition, at...)
		t.wantPushes(partition, at...)
	}
}
