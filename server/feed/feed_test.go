package feed

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatmonitor/server/chat"
)

func TestReadsEveryPartitionFromNowOn(t *testing.T) {
	k := broker(t, kfake.SeedTopics(2, "chat"))
	address, client := k.address, k.client
	produce(t, client, 0, `{"text":"before the start"}`)
	l := newListener(t)
	f := l.run(t, address)
	eventually(t, "caught up", func() bool { return f.Status().CaughtUp })
	produce(t, client, 0, `no record`)
	produce(t, client, 0, `{"text":"a"}`)
	produce(t, client, 1, `{"text":"b"}`)
	eventually(t, "two pushes", func() bool { return len(l.got()) == 2 })
	got := l.got()
	slices.Sort(got)
	for i, want := range []string{`{"partition":0,"offset":2},"record":{"text":"a"}`, `{"partition":1,"offset":0},"record":{"text":"b"}`} {
		if !strings.Contains(got[i], want) {
			t.Errorf("push %d is %s", i, got[i])
		}
	}
	if n := l.stats.Undecodable(chat.InvalidJSON).Load(); n != 1 {
		t.Errorf("%d undecodable values counted", n)
	}
}

func TestANewPartitionIsReadFromItsFirstRecord(t *testing.T) {
	k := broker(t, kfake.SeedTopics(1, "chat"))
	address, client := k.address, k.client
	l := newListener(t)
	f := l.run(t, address)
	eventually(t, "caught up", func() bool { return f.Status().CaughtUp })
	if _, err := kadm.NewClient(client).CreatePartitions(context.Background(), 1, "chat"); err != nil {
		t.Fatal(err)
	}
	client.ForceMetadataRefresh()
	eventually(t, "the new partition takes a record", func() bool {
		return client.ProduceSync(context.Background(), &kgo.Record{Partition: 1, Value: []byte(`{"text":"first"}`)}).FirstErr() == nil
	})
	eventually(t, "its first record", func() bool { return len(l.got()) > 0 })
	if got := l.got()[0]; !strings.Contains(got, `{"partition":1,"offset":0}`) {
		t.Errorf("got %s", got)
	}
}

func TestABrokerThatComesLater(t *testing.T) {
	port := freePort(t)
	l := newListener(t)
	f := l.run(t, fmt.Sprintf("127.0.0.1:%d", port))
	eventually(t, "the trouble is told", func() bool { return f.Status().Trouble != "" })
	if f.Status().CaughtUp {
		t.Fatal("caught up without a broker")
	}
	client := broker(t, kfake.Ports(port), kfake.SeedTopics(1, "chat")).client
	eventually(t, "caught up", func() bool { return f.Status().CaughtUp })
	produce(t, client, 0, `{}`)
	eventually(t, "a push", func() bool { return len(l.got()) == 1 })
	if trouble := f.Status().Trouble; trouble != "" {
		t.Errorf("the trouble is over, and still told: %s", trouble)
	}
}

func TestAPeerThatIsNotKafka(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1<<10)) // or closing resets the connection
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	f := newListener(t).run(t, server.Addr().String())
	eventually(t, "several attempts", func() bool { return f.options.Stats.FeedErrors.Load() >= 2 })
	if trouble := f.Status().Trouble; !strings.Contains(trouble, `does not speak Kafka: its answer begins with "HTTP"`) {
		t.Errorf("the trouble is %q", trouble)
	}
}
