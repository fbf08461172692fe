package feed

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatmonitor/server/chat"
)

func TestEveryCompression(t *testing.T) {
	t.Parallel()
	k := startKafka(t, kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	awaitCaughtUp(t, l.run(t, k.address))
	var end int64
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		k.connect(t, kgo.ProducerBatchCompression(codec))
		end = k.append(t, 0, numbered(int(end), 50)...)
		l.wantOffsets(t, 0, 0, end)
	}
	for i, text := range l.got() {
		if want := numbered(i, 1)[0]; !strings.Contains(text, `"record":`+want) {
			t.Fatalf("record %d is %s", i, text)
		}
	}
}

func TestWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	k := broker(t, kfake.SeedTopics(1, "chat"))
	l := newListener(t)
	awaitCaughtUp(t, l.run(t, k.address))
	want := map[string]uint64{}
	for _, row := range []struct {
		reason chat.Undecodable
		value  []byte
	}{
		{chat.NullValue, nil},
		{chat.TooLong, []byte(`{"text":"` + strings.Repeat("x", 1000) + `"}`)},
		{chat.InvalidUTF8, []byte("{\"text\":\"\xff\"}")},
		{chat.InvalidJSON, []byte(`{"text":"x"`)}, {chat.InvalidJSON, []byte{}},
		{chat.NotObject, []byte(`["text"]`)},
		{chat.WrongType, []byte(`{"pid":1.5}`)}, {chat.WrongType, []byte(`{"channel":null}`)},
	} {
		if err := k.client.ProduceSync(context.Background(), &kgo.Record{Value: row.value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		want[row.reason.String()]++
	}
	end := k.append(t, 0, `{"pid":9007199254740993}`)
	eventually(t, "the record behind them", func() bool { return len(l.got()) == 1 })
	if got := l.got()[0]; !strings.Contains(got, `"pid":9007199254740993`) {
		t.Errorf("came %s", got)
	}
	eventually(t, "a balanced ledger", func() bool { return l.stats.Ledger().Balanced })
	if p := l.stats.Ledger().Partitions["0"]; !maps.Equal(p.Undecodable, want) || p.Consumed != uint64(end) || p.Matched != 1 {
		t.Errorf("the page is %+v, want undecodable %v", p, want)
	}
	if n := l.lines.count("skipped a value"); n < 1 || n > 2 {
		t.Errorf("%d lines about values that are no records", n)
	}
}

// The marks that end transactions have offsets, and are no records.
func TestTransactions(t *testing.T) {
	t.Parallel()
	k := startKafka(t, kfake.SeedTopics(1, "chat")).connect(t, kgo.TransactionalID("teller"))
	l := newListener(t)
	f := l.run(t, k.address)
	awaitCaughtUp(t, f)
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		if err := k.client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		k.append(t, 0, `{"app_id":1}`)
		if err := k.client.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	// What is appended is pushed at once: a transaction that stays open must not hold back the others.
	eventually(t, "both records", func() bool { return slices.Equal(l.offsets(0), []int64{0, 2}) })
	eventually(t, "the lag is measured", func() bool { return f.partition0().passed() == 4 && l.stats.Partition(0).Lag.Load() == 0 })

	late := newListener(t) // comes to a log that ends with a mark
	awaitCaughtUp(t, late.run(t, k.address))

	// The mark at the end is deleted while the broker fails: nothing is missed.
	fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.KafkaStorageError, Count: -1})
	awaitState(t, f, 0, Failing)
	if err := k.DeleteRecords("chat", 0, 4); err != nil {
		t.Fatal(err)
	}
	fault.Remove()
	awaitState(t, f, 0, Reading)
	if n := l.stats.Partition(0).Skipped.Load(); n != 0 {
		t.Errorf("%d offsets counted as skipped", n)
	}
	if p := l.stats.Ledger().Partitions["0"]; !p.Balanced || p.Gaps != 1 || p.Consumed != 2 {
		t.Errorf("the ledger's page is %+v", p)
	}
}

func (f *Feed) partition0() *partition {
	p, _ := f.partition(0)
	return p
}
