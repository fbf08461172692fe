// Package metrics shows monitor.Stats to Prometheus. It counts nothing itself: its collector reads the
// counters when it is scraped, so that the paths that count know nothing of Prometheus.
package metrics

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"chatmonitor/server/chat"
	"chatmonitor/server/monitor"
)

// Names that dashboards and alerts have known since before this server: they do not change.
var (
	handledDesc   = desc("app_handle_chat_total", "Chat records that were decoded, whether anybody wanted them or not.", "app_id", "agent_id", "server_id")
	receivedDesc  = desc("net_client_recv_counter", "Sessions that a record was pushed to, of the records that somebody got.", "agent_id", "pid", "server_id")
	connectedDesc = desc("net_current_connected", "Open WebSocket connections.")
	totalDesc     = desc("net_total_connected", "Upgrades to WebSocket completed, and connections that sent a plain HTTP request.", "type")
	errorsDesc    = desc("server_error_total", "Errors by the part that met them.", "type")
	gogcDesc      = desc("server_gogc", "GOGC: percentage of heap growth that starts a garbage collection, -1 for off.")
	maxprocsDesc  = desc("server_maxprocs", "GOMAXPROCS: threads that run Go code at once.")
	infoDesc      = desc("server_info", "Start time of the server in unix seconds.")
)

var (
	closedDesc      = desc("connections_closed_total", "WebSocket connections closed.", "reason")
	refusedDesc     = desc("handshakes_refused_total", "Connections refused before they were WebSockets.", "reason")
	recordsDesc     = desc("records_total", "Kafka records by what became of them.", "result")
	undecodableDesc = desc("records_undecodable_total", "Kafka records that are not chat records.", "reason")
	writtenDesc     = desc("pushes_written_total", "Records handed to connections, once for each receiver.")
	droppedDesc     = desc("pushes_dropped_total", "Records that matched a session and were not handed to it.", "reason")
	queuedDesc      = desc("outbound_queued_bytes", "Bytes that wait in the process for clients to read.")
	sessionsDesc    = desc("sessions", "Open sessions: WebSocket connections to /ws.")
	rulesDesc       = desc("rules", "Rules of all sessions by the fields that they name.", "shape")
	lagDesc         = desc("kafka_lag_records", "Records appended to the partition and not yet read.", "partition")
	fetchDesc       = desc("kafka_last_fetch_timestamp_seconds", "When Kafka last answered for the partition, unix seconds.", "partition")
	skippedDesc     = desc("kafka_offsets_skipped_total", "Offsets that were gone before they could be read.", "partition")
	reconnectsDesc  = desc("kafka_reconnects_total", "Times that the feed connected to Kafka again.")
	latencyDesc     = desc("push_latency_seconds", "From the record's timestamp in Kafka to the socket write, once for each receiver.")
	busyDesc        = desc("loop_busy_seconds_total", "Time that an event loop, or a shard's goroutine, was not waiting.", "loop")
	logDroppedDesc  = desc("log_lines_dropped_total", "Log lines that could not be written.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("chat_monitor_"+name, help, labels, nil)
}

// NewRegistry registers what stats counts, and what Go and the kernel tell of the process.
func NewRegistry(stats *monitor.Stats, start time.Time) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		&collector{stats: stats, start: start},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// NewHandler serves what a registry gathers.
func NewHandler(r *prometheus.Registry, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorLog: scrapeLog{log}, ErrorHandling: promhttp.ContinueOnError})
}

// scrapeLog logs what goes wrong while metrics are collected. That the scraper hung up is nobody's
// error, and would be a line for each of thousands of series.
type scrapeLog struct{ log *slog.Logger }

// Println is promhttp.Logger's.
func (l scrapeLog) Println(v ...any) {
	for _, part := range v {
		var hungUp *net.OpError
		if err, ok := part.(error); ok && errors.As(err, &hungUp) {
			return
		}
	}
	l.log.Error("metrics: " + strings.TrimSpace(fmt.Sprintln(v...)))
}

type collector struct {
	stats *monitor.Stats
	start time.Time
}

// Describe sends nothing: the series come and go with the records.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	out := sink(ch)
	c.process(out)
	c.connections(out)
	c.records(out)
	c.pushes(out)
	c.kafka(out)
}

type sink chan<- prometheus.Metric

func (s sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (c *collector) process(out sink) {
	gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(gogc)
	percent := float64(gogc[0].Value.Uint64())
	if percent > 1<<62 { // off is the largest unsigned integer
		percent = -1
	}
	out.gauge(gogcDesc, percent)
	out.gauge(maxprocsDesc, float64(runtime.GOMAXPROCS(0)))
	out.gauge(infoDesc, float64(c.start.UnixMilli())/1000)
	s := c.stats
	out.counter(errorsDesc, float64(s.NetErrors.Load()), "network_server_error")
	out.counter(errorsDesc, float64(s.AppErrors.Load()), "app_error")
	out.counter(errorsDesc, float64(s.FeedErrors.Load()), "kafka_error")
	out.counter(errorsDesc, float64(c.undecodable()), "record_error")
	out.counter(logDroppedDesc, float64(s.LogDropped.Load()))
	s.LoopsBusy(func(loop int, busy time.Duration) {
		out.counter(busyDesc, busy.Seconds(), strconv.Itoa(loop))
	})
}

func (c *collector) undecodable() (n uint64) {
	for u := range chat.Undecodables {
		n += c.stats.Undecodable(u).Load()
	}
	return n
}

func (c *collector) connections(out sink) {
	s := c.stats
	out.gauge(connectedDesc, float64(s.Connected.Load()))
	out.gauge(sessionsDesc, float64(s.Sessions.Load()))
	out.counter(totalDesc, float64(s.Upgraded.Load()), "websocket")
	out.counter(totalDesc, float64(s.PlainHTTP.Load()), "http")
	for _, r := range monitor.CloseReasons() {
		out.counter(closedDesc, float64(s.Closed(r).Load()), r.String())
	}
	for _, r := range monitor.Refusals() {
		out.counter(refusedDesc, float64(s.Refused(r).Load()), r.String())
	}
	s.RulesByShape(func(shape chat.FieldSet, rules int64) {
		out.gauge(rulesDesc, float64(rules), shapeLabel(shape))
	})
}

// shapeLabel names the fields: "app_id+server_id+keywords", or "all" for the rule without conditions.
func shapeLabel(shape chat.FieldSet) string {
	var names []string
	for f := chat.AppID; f < chat.Text; f++ {
		if shape.Has(f) {
			names = append(names, f.String())
		}
	}
	if shape.Has(chat.Text) {
		names = append(names, "keywords")
	}
	if names == nil {
		return "all"
	}
	return strings.Join(names, "+")
}

func (c *collector) records(out sink) {
	s := c.stats
	out.counter(recordsDesc, float64(s.Matched.Load()), "matched")
	out.counter(recordsDesc, float64(s.Unmatched.Load()), "unmatched")
	out.counter(recordsDesc, float64(c.undecodable()), "undecodable")
	for u := range chat.Undecodables {
		out.counter(undecodableDesc, float64(s.Undecodable(u).Load()), u.String())
	}
	s.Handled(func(l monitor.RecordLabels, n uint64) {
		out.counter(handledDesc, float64(n), labelValues(l, chat.AppID, chat.AgentID, chat.ServerID)...)
	})
	s.Received(func(l monitor.RecordLabels, h *monitor.ReceiverCounts) {
		out.receivers(h, labelValues(l, chat.AgentID, chat.PID, chat.ServerID))
	})
}

func (s sink) receivers(h *monitor.ReceiverCounts, labels []string) {
	buckets := make(map[float64]uint64, len(monitor.ReceiverBuckets))
	var n uint64
	for i, bound := range monitor.ReceiverBuckets {
		n += h.Counts[i].Load()
		buckets[float64(bound)] = n
	}
	n += h.Counts[len(monitor.ReceiverBuckets)].Load()
	s <- prometheus.MustNewConstHistogram(receivedDesc, n, float64(h.Sum.Load()), buckets, labels...)
}

func labelValues(l monitor.RecordLabels, fields ...chat.Field) []string {
	values := make([]string, len(fields))
	for i, f := range fields {
		switch {
		case l.Other:
			values[i] = "other"
		case l.Present.Has(f):
			values[i] = strconv.FormatInt(l.IDs[f], 10)
		}
	}
	return values
}

func (c *collector) pushes(out sink) {
	s := c.stats
	out.counter(writtenDesc, float64(s.Written.Load()))
	out.gauge(queuedDesc, float64(s.QueuedOut.Load()))
	for _, r := range monitor.DropReasons() {
		out.counter(droppedDesc, float64(s.Dropped(r).Load()), r.String())
	}
	buckets := make(map[float64]uint64, len(s.Latency.Bounds))
	var n uint64
	for i, bound := range s.Latency.Bounds {
		n += s.Latency.Counts[i].Load()
		buckets[bound] = n
	}
	n += s.Latency.Counts[len(s.Latency.Bounds)].Load()
	out <- prometheus.MustNewConstHistogram(latencyDesc, n, time.Duration(s.Latency.Nanos.Load()).Seconds(), buckets)
}

func (c *collector) kafka(out sink) {
	out.counter(reconnectsDesc, float64(c.stats.Reconnects.Load()))
	c.stats.Partitions(func(number int32, p *monitor.Partition) {
		partition := strconv.Itoa(int(number))
		out.gauge(lagDesc, float64(p.Lag.Load()), partition)
		out.gauge(fetchDesc, float64(p.LastFetch.Load())/1e9, partition)
		out.counter(skippedDesc, float64(p.Skipped.Load()), partition)
	})
}
