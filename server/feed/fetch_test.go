package feed

import (
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFetchedFrom(t *testing.T) {
	want := map[int32]int64{0: 7, 300: 1 << 40}
	request := kmsg.NewPtrFetchRequest()
	request.Version = fetchVersion
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "chat"
	for number, offset := range want {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset = number, offset
		topic.Partitions = append(topic.Partitions, p)
	}
	request.Topics = append(request.Topics, topic)
	text := kmsg.NewRequestFormatter(kmsg.FormatterClientID("chatmonitor")).AppendRequest(nil, request, 9)
	got := map[int32]int64{}
	fetchedFrom(text, func(partition int32, offset int64) { got[partition] = offset })
	if !maps.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	for n := range text { // what is cut off anywhere gives nothing that is wrong
		fetchedFrom(text[:n], func(partition int32, offset int64) {
			if want[partition] != offset {
				t.Errorf("of %d bytes: partition %d from %d", n, partition, offset)
			}
		})
	}
}
