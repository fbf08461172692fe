package metrics

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

func TestFamiliesAreServedFromTheStart(t *testing.T) {
	families, err := NewRegistry(monitor.NewStats(10), time.Unix(1700000000, 0)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	types, series := map[string]string{}, map[string]int{}
	for _, f := range families {
		types[f.GetName()] = strings.ToLower(f.GetType().String())
		series[f.GetName()] = len(f.GetMetric())
	}
	if shapes := series["chat_monitor_rules"]; shapes != 64 {
		t.Errorf("rules has %d series, not one for each of the 64 shapes", shapes)
	}
	for name, want := range map[string]string{
		"app_handle_chat_total": "counter", "net_client_recv_counter": "histogram", "net_current_connected": "gauge",
		"net_total_connected": "counter", "server_error_total": "counter", "server_gogc": "gauge", "server_maxprocs": "gauge",
		"server_info": "gauge", "connections_closed_total": "counter", "handshakes_refused_total": "counter", "records_total": "counter", "app_records_total": "counter",
		"records_undecodable_total": "counter", "pushes_written_total": "counter", "pushes_dropped_total": "counter",
		"outbound_queued_bytes": "gauge", "sessions": "gauge", "rules": "gauge", "kafka_reconnects_total": "counter", "push_latency_seconds": "histogram",
	} {
		if got := types["chat_monitor_"+name]; got != want {
			t.Errorf("%s is %q, not a %s", name, got, want)
		}
	}
}

func TestLabels(t *testing.T) {
	stats := monitor.NewStats(3)
	hub := monitor.NewHub(monitor.Options{Shards: 1, InFlight: 1, Stats: stats, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	for _, value := range []string{`{"app_id":19,"agent_id":29,"server_id":6558,"pid":9007199254740993}`, `{"app_id":19}`, `{"app_id":20}`, `{"app_id":21}`} {
		record, err := chat.DecodeRecord([]byte(value), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if err := hub.Publish(context.Background(), chat.Cursor{}, time.Now(), []byte(value), record); err != nil {
			t.Fatal(err)
		}
	}
	hub.Skip(chat.Cursor{Offset: 1}, chat.WrongType)
	want := `
# HELP chat_monitor_app_handle_chat_total Chat records that were decoded, whether anybody wanted them or not.
# TYPE chat_monitor_app_handle_chat_total counter
chat_monitor_app_handle_chat_total{agent_id="",app_id="",server_id=""} 0
chat_monitor_app_handle_chat_total{agent_id="",app_id="19",server_id=""} 1
chat_monitor_app_handle_chat_total{agent_id="29",app_id="19",server_id="6558"} 1
chat_monitor_app_handle_chat_total{agent_id="other",app_id="other",server_id="other"} 2
# HELP chat_monitor_app_records_total Decodable records by what became of them, by app and server.
# TYPE chat_monitor_app_records_total counter
chat_monitor_app_records_total{app_id="",result="matched",server_id=""} 0
chat_monitor_app_records_total{app_id="",result="unmatched",server_id=""} 0
chat_monitor_app_records_total{app_id="19",result="matched",server_id=""} 0
chat_monitor_app_records_total{app_id="19",result="matched",server_id="6558"} 0
chat_monitor_app_records_total{app_id="19",result="unmatched",server_id=""} 1
chat_monitor_app_records_total{app_id="19",result="unmatched",server_id="6558"} 1
chat_monitor_app_records_total{app_id="other",result="matched",server_id="other"} 0
chat_monitor_app_records_total{app_id="other",result="unmatched",server_id="other"} 2
# HELP chat_monitor_records_total Kafka records by what became of them.
# TYPE chat_monitor_records_total counter
chat_monitor_records_total{result="matched"} 0
chat_monitor_records_total{result="undecodable"} 1
chat_monitor_records_total{result="unmatched"} 4
`
	registry := NewRegistry(stats, time.Now())
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "chat_monitor_app_handle_chat_total", "chat_monitor_app_records_total", "chat_monitor_records_total"); err != nil {
		t.Error(err)
	}
}
