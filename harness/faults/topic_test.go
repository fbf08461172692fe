package faults

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"chatmonitor/harness/stack"
	"chatmonitor/harness/stack/brokertest"
)

// discoveryLimit is how long new partitions, and new topics, may go unnoticed. The server
// looks for them at least every 10 s; the rest is for a busy machine.
const discoveryLimit = 30 * time.Second

// TestTopicsChange changes topics of one broker, each with a server of its own.
func TestTopicsChange(t *testing.T) {
	t.Parallel()
	broker := brokertest.Open(t, stack.BrokerConfig{Topic: "unused", Partitions: 1, Listen: "127.0.0.1:0"})
	cases := map[string]func(context.Context, *testing.T, *change){
		"partitions are added":                     addPartitions,
		"records are deleted past the reader":      deleteRecords,
		"a topic is made anew at once":             recreateAtOnce,
		"a topic is made anew after it was missed": recreateLater,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			topic := fmt.Sprintf("changing-%d", numbers.Add(1))
			c := &change{broker: broker, producer: newProducer(t, broker, topic, "")}
			c.producer.createTopic(ctx, t, 1)
			c.server = startServer(ctx, t, broker, topic)
			c.client = listen(t, c.server)
			run(ctx, t, c)
		})
	}
}

// change is a topic, at first with one partition, and a server that is ready.
type change struct {
	broker   stack.Broker
	server   *server
	producer *producer
	client   *listener
}

func addPartitions(ctx context.Context, t *testing.T, c *change) {
	stop := c.producer.flow(t, 1)
	answers, err := c.producer.admin.CreatePartitions(ctx, 2, c.producer.topic)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	watch := startWatch()
	// The producer finds them before the server does.
	first := c.producer.awaitPartition(t, 1)
	also := c.producer.awaitPartition(t, 2)
	if at := c.producer.all()[first]; at != (cursor{1, 0}) {
		t.Fatalf("the first record of the new partition is at %+v", at)
	}
	c.client.awaitRecord(t, first)
	c.client.awaitRecord(t, also)
	watch.within(t, discoveryLimit, "from the creation of partitions to the push of their first records")
	stop()
	c.client.wantExactly(t, c.producer.all())
	if r, body := c.server.readiness(); len(r.Feed.Partitions) != 3 {
		t.Errorf("/ready does not show three partitions: %s", body)
	}
}

// awaitPartition appends the first record of a partition that has just been added.
func (p *producer) awaitPartition(t *testing.T, partition int32) int64 {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(poll) {
		p.client.ForceMetadataRefresh()
		if leader, _, err := p.client.PartitionLeader(p.topic, partition); err == nil && leader >= 0 {
			return p.one(t, partition)
		}
		if time.Now().After(deadline) {
			t.Fatalf("partition %d is not there after %v", partition, patience)
		}
	}
}

// deleteRecords stops the server with SIGSTOP, so that it is behind what is deleted.
func deleteRecords(ctx context.Context, t *testing.T, c *change) {
	before := c.producer.one(t, 0)
	c.client.awaitRecord(t, before)
	signal(t, c.server, syscall.SIGSTOP)
	// One answer of the broker may be under way to the server, so there is more than one holds.
	const produced, deleted, extraBytes = 600, 500, 8 << 10
	for range produced {
		c.producer.sendLong(0, extraBytes)
	}
	c.producer.flush(t)
	var offsets kadm.Offsets
	offsets.AddOffset(c.producer.topic, 0, deleted, -1)
	answers, err := c.producer.admin.DeleteRecords(ctx, offsets)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	signal(t, c.server, syscall.SIGCONT)
	watch := startWatch()
	c.client.awaitRecord(t, c.producer.one(t, 0))
	watch.within(t, recoveryLimit, "from SIGCONT to the push of a new record")
	c.wantGapCounted(t, deleted)
}

func signal(t *testing.T, s *server, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.PID(), sig); err != nil {
		t.Fatal(err)
	}
}

// wantGapCounted checks that of the records before the oldest that is left each was pushed or
// is counted as skipped, and that all others were pushed.
func (c *change) wantGapCounted(t *testing.T, oldest int64) {
	t.Helper()
	acknowledged := c.producer.all()
	left := map[int64]cursor{}
	for number, at := range acknowledged {
		if at.Offset >= oldest {
			left[number] = at
		}
	}
	c.client.wantExactly(t, left)
	c.client.wantNoneTwice(t, acknowledged)
	c.client.mu.Lock()
	pushed := int64(len(c.client.pushed) - len(left))
	c.client.mu.Unlock()
	skipped := int64(c.server.metric("kafka_offsets_skipped_total", `partition="0"`))
	t.Logf("of %d deleted records %d were pushed before and %d are counted as skipped", oldest, pushed, skipped)
	if skipped == 0 || pushed+skipped != oldest {
		t.Errorf("%d deleted records were pushed and %d are counted as skipped, together not %d", pushed, skipped, oldest)
	}
	c.server.awaitHealth(true)
}

// recreateAtOnce gives the server no time to see that the topic is gone. The new topic has
// fewer records than the old one.
func recreateAtOnce(ctx context.Context, t *testing.T, c *change) {
	c.outgrow(t)
	c.deleteTopic(ctx, t)
	c.recreate(ctx, t)
}

// recreateLater waits until the server misses the topic.
func recreateLater(ctx context.Context, t *testing.T, c *change) {
	c.outgrow(t)
	c.deleteTopic(ctx, t)
	watch := startWatch()
	c.server.awaitHealth(false)
	watch.within(t, noticeLimit, "from the topic's end until /ready says so")
	c.recreate(ctx, t)
}

// outgrow takes the offset to where the new topic will not be.
func (c *change) outgrow(t *testing.T) {
	t.Helper()
	for range 300 {
		c.producer.send(0)
	}
	c.client.awaitRecord(t, c.producer.one(t, 0))
}

func (c *change) deleteTopic(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, err := c.producer.admin.DeleteTopic(ctx, c.producer.topic); err != nil {
		t.Fatal(err)
	}
}

// recreate makes the topic anew and checks that its records come, from the first one on.
func (c *change) recreate(ctx context.Context, t *testing.T) {
	t.Helper()
	old := c.producer.all()
	fresh := newProducer(t, c.broker, c.producer.topic, "")
	fresh.createTopicAgain(ctx, t)
	watch := startWatch()
	first := fresh.one(t, 0)
	if at := fresh.all()[first]; at != (cursor{0, 0}) {
		t.Fatalf("the first record of the new topic is at %+v", at)
	}
	stop := fresh.flow(t, 1)
	c.client.awaitRecord(t, first)
	watch.within(t, discoveryLimit+recoveryLimit, "from the creation of the new topic to the push of its first record")
	stop()
	c.client.wantExactly(t, fresh.all())
	c.client.wantExactly(t, old)
	c.server.awaitHealth(true)
}

// createTopicAgain tries until the broker has forgotten the old topic of that name.
func (p *producer) createTopicAgain(ctx context.Context, t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(poll) {
		_, err := p.admin.CreateTopic(ctx, 1, 1, nil, p.topic)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("create topic %s again: %v", p.topic, err)
		}
	}
}
