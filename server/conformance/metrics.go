package conformance

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const metricPrefix = "chat_monitor_"

// families are those of the design: what a server serves from its start on. labels are those of every
// sample; values are the label's values that are there before anything has happened.
var families = []struct {
	name, kind string
	labels     string // sorted, separated by commas; "?" where the series come with the partitions
	values     []string
}{
	{"app_handle_chat_total", "counter", "agent_id,app_id,server_id", nil},
	{"net_client_recv_counter", "histogram", "agent_id,pid,server_id", nil},
	{"net_current_connected", "gauge", "", nil},
	{"net_total_connected", "counter", "type", []string{"websocket", "http"}},
	{"server_error_total", "counter", "type", []string{"network_server_error", "app_error", "kafka_error", "record_error"}},
	{"server_gogc", "gauge", "", nil},
	{"server_maxprocs", "gauge", "", nil},
	{"server_info", "gauge", "", nil},
	{"connections_closed_total", "counter", "reason", []string{
		"client_closed", "peer_gone", "protocol_error", "unsupported_data", "invalid_utf8", "message_too_big", "internal_error",
		"slow_consumer", "request_backlog", "message_rate", "peer_silent", "draining", "shutdown"}},
	{"handshakes_refused_total", "counter", "reason", []string{
		"handshake_timeout", "head_too_long", "not_http", "tls", "http2", "bad_handshake", "sessions_full", "http_full",
		"displaced", "address_full", "draining", "no_descriptors"}},
	{"records_total", "counter", "result", []string{"matched", "unmatched", "undecodable"}},
	{"app_records_total", "counter", "app_id,result,server_id", nil},
	{"records_undecodable_total", "counter", "reason", nil},
	{"pushes_written_total", "counter", "", nil},
	{"pushes_dropped_total", "counter", "reason", nil},
	{"outbound_queued_bytes", "gauge", "", nil},
	{"sessions", "gauge", "", nil},
	{"rules", "gauge", "shape", nil},
	{"kafka_lag_records", "gauge", "partition", []string{"0", "1"}},
	{"kafka_last_fetch_timestamp_seconds", "gauge", "partition", []string{"0", "1"}},
	{"kafka_offsets_skipped_total", "counter", "partition", []string{"0", "1"}},
	{"kafka_reconnects_total", "counter", "", nil},
	{"push_latency_seconds", "histogram", "", nil},
	{"loop_busy_seconds_total", "counter", "loop", nil},
}

func metricsCases() []testCase {
	var cases []testCase
	for _, f := range families {
		cases = append(cases, testCase{name: "from the start: " + f.name, own: true, run: func(tr *trial) {
			tr.wantFamily(f.name, f.kind, f.labels, f.values)
		}})
	}
	return append(cases, []testCase{
		{name: "the text format", run: textFormat},
		{name: "the process: gogc, maxprocs, start time", run: processMetrics},
		{name: "connections", own: true, run: connectionMetrics},
		{name: "plain connections count once", own: true, run: plainConnectionMetrics},
		{name: "rules by shape", own: true, run: ruleMetrics},
		{name: "records by result", own: true, run: recordMetrics},
		{name: "records by their labels", own: true, run: handledMetrics},
		{name: "receivers of a record", own: true, run: receiverMetrics},
		{name: "pushes and their latency", own: true, run: pushMetrics},
		{name: "closed connections by reason", own: true, run: closedMetrics},
		{name: "refused handshakes by reason", own: true, run: refusedMetrics},
		{name: "partitions", own: true, run: partitionMetrics},
		{name: "--metrics-max-series", own: true, run: seriesLimit},
	}...)
}

// idle looks at a server whose topic nobody writes to.
func (tr *trial) idle() *trial {
	tr.Helper()
	away := *tr
	away.topic = tr.quietTopic
	return away.on(away.shared())
}

func (tr *trial) wantFamily(name, kind, labels string, values []string) {
	tr.Helper()
	m := tr.idle().scrape()
	name = metricPrefix + name
	if m.types[name] != kind {
		tr.Fatalf("%s is of type %q, want %s", name, m.types[name], kind)
	}
	found := 0
	for _, s := range m.samples {
		if m.family(s.name) != name {
			continue
		}
		found++
		names := slices.Sorted(maps.Keys(s.labels))
		names = slices.DeleteFunc(names, func(l string) bool { return l == "le" && kind == "histogram" })
		if got := strings.Join(names, ","); got != labels {
			tr.Errorf("%s has the labels %q, want %q", s.key(), got, labels)
		}
	}
	if found == 0 {
		tr.Errorf("%s has no sample", name)
	}
	for _, value := range values {
		if len(m.named(name, labels, value)) != 1 {
			tr.Errorf("%s has no sample with %s=%q", name, labels, value)
		}
	}
}

func textFormat(tr *trial) {
	r := tr.get("/metrics", http.StatusOK)
	if got := r.Header.Get("Content-Type"); !strings.Contains(got, "version=0.0.4") {
		tr.Errorf("Content-Type is %q, want version=0.0.4", got)
	}
	m := tr.scrape()
	for family, kind := range m.types {
		if kind == "histogram" {
			tr.wantHistogram(m, family)
		}
		if kind == "counter" && m.sum(family) < 0 {
			tr.Errorf("the counter %s is negative", family)
		}
	}
}

// wantHistogram checks that each series' buckets grow, and end with the count.
func (tr *trial) wantHistogram(m *metrics, family string) {
	tr.Helper()
	for _, count := range m.named(family + "_count") {
		last, infinite := 0.0, -1.0
		for _, bucket := range m.named(family+"_bucket", pairs(count.labels)...) {
			if bucket.value < last {
				tr.Errorf("%s: %v after %v", bucket.key(), bucket.value, last)
			}
			last = bucket.value
			if bucket.labels["le"] == "+Inf" {
				infinite = bucket.value
			}
		}
		if infinite != count.value || len(m.named(family+"_sum", pairs(count.labels)...)) != 1 {
			tr.Errorf("%s is %v, its last bucket %v", count.key(), count.value, infinite)
		}
	}
}

func pairs(labels map[string]string) (list []string) {
	for name, value := range labels {
		list = append(list, name, value)
	}
	return list
}

func processMetrics(tr *trial) {
	m := tr.scrape()
	if n := m.sum(metricPrefix + "server_maxprocs"); n < 1 {
		tr.Errorf("server_maxprocs is %v", n)
	}
	if n := m.sum(metricPrefix + "server_gogc"); n == 0 {
		tr.Errorf("server_gogc is %v", n)
	}
	start := time.Unix(int64(m.sum(metricPrefix+"server_info")), 0)
	if age := time.Since(start); age < -time.Hour || age > 5*365*24*time.Hour {
		tr.Errorf("server_info is %v, which is no start time", start)
	}
}

// wantMoved waits until every check is content with what has moved since before. A scrape may find no place:
// what has left a moment ago may still be counted.
func (tr *trial) wantMoved(before *metrics, checks func(moved *metrics) error) {
	tr.Helper()
	tr.eventually("metrics", func() error {
		now, err := tr.tryScrape()
		if err != nil {
			return err
		}
		return checks(now.since(before))
	})
}

func connectionMetrics(tr *trial) {
	away := tr.apart(1)
	before := away.scrape()
	sessions := []*session{away.session(), away.session(), away.session()}
	for _, s := range sessions {
		s.ping()
	}
	away.wantMoved(before, func(m *metrics) error {
		return errors.Join(
			m.want(3, metricPrefix+"net_total_connected", "type", "websocket"),
			m.want(3, metricPrefix+"net_current_connected"), m.want(3, metricPrefix+"sessions"))
	})
	sessions[0].reset()
	sessions[1].write(frame(fin|opClose, closePayload(1000, "")))
	sessions[1].wantClose(1000)
	_ = sessions[1].conn.Close() // the cleanup would do it later
	away.wantMoved(before, func(m *metrics) error {
		return errors.Join(
			m.want(3, metricPrefix+"net_total_connected", "type", "websocket"),
			m.want(1, metricPrefix+"net_current_connected"), m.want(1, metricPrefix+"sessions"))
	})
}

// Each scrape is a plain connection of its own.
func plainConnectionMetrics(tr *trial) {
	away := tr.apart(1)
	before := away.scrape()
	p := away.dial()
	for range 5 {
		p.write(away.request("GET /live HTTP/1.1"))
		p.wantStatus("GET", http.StatusOK)
	}
	moved := away.scrape().since(before)
	if err := errors.Join(
		moved.want(2, metricPrefix+"net_total_connected", "type", "http"),
		moved.want(0, metricPrefix+"net_total_connected", "type", "websocket"),
		moved.want(0, metricPrefix+"net_current_connected")); err != nil {
		tr.Error(err)
	}
}

func ruleMetrics(tr *trial) {
	away := tr.apart(1)
	before := away.scrape()
	s, other := away.session(), away.session()
	s.listenAs("a", `{"app_id":1}`)
	s.listenAs("b", `{"app_id":2}`)
	s.listenAs("c", `{"app_id":[1,2],"server_id":[1,2]}`)
	s.listenAs("d", `{}`)
	other.listenAs("a", `{"keywords":["x"]}`)
	away.wantMoved(before, func(m *metrics) error {
		return errors.Join(m.want(5, metricPrefix+"rules"), wantShapes(m, 2, 1, 1, 1))
	})
	s.unlisten("a")
	s.listenAs("b", `{"channel":"x"}`)
	away.wantMoved(before, func(m *metrics) error { return m.want(4, metricPrefix+"rules") })
	s.reset()
	away.wantMoved(before, func(m *metrics) error { return m.want(1, metricPrefix+"rules") })
}

// wantShapes compares the numbers of rules of the shapes that have some; how a shape is called is
// left open.
func wantShapes(m *metrics, want ...float64) error {
	var got []float64
	for _, s := range m.named(metricPrefix + "rules") {
		if _, has := s.labels["shape"]; !has || len(s.labels) != 1 {
			return fmt.Errorf("%s has other labels than shape", s.key())
		}
		if s.value != 0 {
			got = append(got, s.value)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("rules by shape are %v, want %v", got, want)
	}
	return nil
}

func recordMetrics(tr *trial) {
	away := tr.apart(1)
	s, app := away.forApp()
	start := away.scrape()
	s.wantPushes(0)
	away.wantMoved(start, func(m *metrics) error { // the fence's record; it is counted after it was pushed
		return m.want(1, metricPrefix+"records_total", "result", "matched")
	})
	before := away.scrape()
	at := away.produce(0, appRecord(app), `{}`, `not JSON`, appRecord(unique()), appRecord(app), `[]`, `{}`)
	s.wantPushes(0, at[0], at[4])
	away.wantMoved(before, func(m *metrics) error {
		return errors.Join( // the fence is a match, too
			m.want(3, metricPrefix+"records_total", "result", "matched"),
			m.want(3, metricPrefix+"records_total", "result", "unmatched"),
			m.want(2, metricPrefix+"records_total", "result", "undecodable"),
			m.want(2, metricPrefix+"app_records_total", "result", "matched", "app_id", fmt.Sprint(app), "server_id", ""),
			m.want(0, metricPrefix+"app_records_total", "result", "unmatched", "app_id", fmt.Sprint(app), "server_id", ""),
			m.want(2, metricPrefix+"app_records_total", "result", "unmatched", "app_id", "", "server_id", ""),
			m.want(3, metricPrefix+"app_records_total", "result", "unmatched"),
			m.want(2, metricPrefix+"records_undecodable_total"),
			m.want(2, metricPrefix+"server_error_total", "type", "record_error"))
	})
}

func handledMetrics(tr *trial) {
	away := tr.apart(1)
	s := away.session()
	s.wantPushes(0)
	before := away.scrape()
	away.produce(0, `{"app_id":19,"agent_id":29,"server_id":6558,"pid":1}`, `{"app_id":"19","agent_id":29,"server_id":6558,"pid":2}`,
		`{"app_id":19}`, `{"server_id":0}`, `{"pid":7,"text":"x"}`)
	s.wantPushes(0)
	const name = metricPrefix + "app_handle_chat_total"
	away.wantMoved(before, func(m *metrics) error {
		return errors.Join(
			m.want(2, name, "app_id", "19", "agent_id", "29", "server_id", "6558"),
			m.want(1, name, "app_id", "19", "agent_id", "", "server_id", ""),
			m.want(1, name, "app_id", "", "agent_id", "", "server_id", "0"),
			m.want(1, name, "app_id", "", "agent_id", "", "server_id", ""),
			m.want(6, name)) // and the fence
	})
}

func receiverMetrics(tr *trial) {
	away := tr.apart(1)
	var sessions []*session
	for range 4 { // on the border of a bucket
		s := away.session()
		s.listenAs("it", `{"app_id":1}`)
		s.listenAs("again", `{"agent_id":29}`)
		sessions = append(sessions, s)
	}
	at := away.produce(0, `{"app_id":1,"agent_id":29,"server_id":6558,"pid":1643890670000002}`, `{"app_id":2,"agent_id":28}`)
	for _, s := range sessions {
		s.wantPushes(0, at[0])
	}
	const name = metricPrefix + "net_client_recv_counter"
	labels := []string{"agent_id", "29", "pid", "1643890670000002", "server_id", "6558"}
	tr.eventually("receivers", func() error {
		m := away.scrape()
		wrong := []error{m.want(1, name+"_count", labels...), m.want(4, name+"_sum", labels...), m.want(0, name+"_count", "agent_id", "28")}
		for le, want := range map[string]float64{"1": 0, "2": 0, "4": 1, "8": 1, "16": 1, "32": 1, "64": 1, "+Inf": 1} {
			wrong = append(wrong, m.want(want, name+"_bucket", append(labels, "le", le)...))
		}
		if buckets := len(m.named(name+"_bucket", labels...)); buckets != 8 {
			wrong = append(wrong, fmt.Errorf("%d buckets, want 8", buckets))
		}
		return errors.Join(wrong...)
	})
}

func pushMetrics(tr *trial) {
	away := tr.apart(1)
	one, app := away.forApp()
	other := away.session()
	other.listen(appRule(app))
	start := away.scrape()
	one.wantPushes(0)
	other.wantPushes(0)
	away.wantMoved(start, func(m *metrics) error { // the fences' records; they are counted after they were pushed
		return errors.Join(m.want(2, metricPrefix+"pushes_written_total"), m.want(2, metricPrefix+"push_latency_seconds_count"))
	})
	before := away.scrape()
	at := away.produce(0, slices.Repeat([]string{appRecord(app)}, 10)...)
	one.wantPushes(0, at...)
	other.wantPushes(0, at...)
	const pushes = 22 // and a fence for each
	away.wantMoved(before, func(m *metrics) error {
		return errors.Join(
			m.want(pushes, metricPrefix+"pushes_written_total"), m.want(0, metricPrefix+"pushes_dropped_total"),
			m.want(pushes, metricPrefix+"push_latency_seconds_count"), m.want(0, metricPrefix+"outbound_queued_bytes"))
	})
}

func closedMetrics(tr *trial) {
	away := tr.apart(1)
	before := away.scrape()
	for _, row := range []struct {
		bytes string
		code  int
	}{
		{frame(fin|opClose, closePayload(1000, "")), 1000},
		{frame(fin|3, ""), 1002},
		{frame(fin|opBinary, ""), 1003},
		{text("\xff"), 1007},
		{frameHead(fin|opText, messageLimitBytes+1), 1009},
	} {
		s := away.session()
		s.write(row.bytes)
		s.wantClose(row.code)
		_ = s.conn.Close() // the cleanup would do it later
	}
	away.session().reset()
	away.wantMoved(before, func(m *metrics) error {
		reasons := 0
		for _, s := range m.named(metricPrefix + "connections_closed_total") {
			if s.value > 0 {
				reasons++
			}
		}
		if reasons != 6 {
			return fmt.Errorf("6 ends are counted under %d reasons", reasons)
		}
		return m.want(6, metricPrefix+"connections_closed_total")
	})
}

func refusedMetrics(tr *trial) {
	away := tr.apart(1)
	before := away.scrape()
	for _, bytes := range []string{"\x00junk\r\n\r\n", tlsHello(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		p := away.dial()
		p.write(bytes)
		_, _ = p.readEnd() // how it is refused is another case's
	}
	p := away.dial()
	p.write(away.request("GET /ws HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: "+nonce))
	p.wantStatus("GET", http.StatusUpgradeRequired)
	away.wantMoved(before, func(m *metrics) error { return m.want(4, metricPrefix+"handshakes_refused_total") })
}

func partitionMetrics(tr *trial) {
	away := tr.apart(2)
	s := away.session()
	s.wantPushes(0)
	s.wantPushes(1)
	tr.eventually("metrics of the partitions", func() error {
		m := away.scrape()
		var wrong []error
		for partition := range 2 {
			fetched := m.sum(metricPrefix+"kafka_last_fetch_timestamp_seconds", "partition", strconv.Itoa(partition))
			if age := time.Since(time.Unix(int64(fetched), 0)); age.Abs() > time.Hour {
				wrong = append(wrong, fmt.Errorf("partition %d was fetched at %v", partition, fetched))
			}
		}
		return errors.Join(append(wrong, m.want(0, metricPrefix+"kafka_lag_records"), m.want(0, metricPrefix+"kafka_offsets_skipped_total"))...)
	})
}

func seriesLimit(tr *trial) {
	away := tr.apart(1, "--metrics-max-series=5")
	s := away.session()
	s.listen(`{}`)
	var records []string
	for i := range 20 {
		records = append(records, fmt.Sprintf(`{"app_id":%d,"agent_id":%d,"server_id":%d,"pid":%d}`, i, i, i, i))
	}
	s.wantPushes(0, away.produce(0, records...)...)
	tr.eventually("metrics", func() error {
		m := away.scrape()
		other := m.named(metricPrefix+"app_handle_chat_total", "app_id", "other", "agent_id", "other", "server_id", "other")
		otherPID := m.named(metricPrefix+"net_client_recv_counter_count", "agent_id", "other", "pid", "other", "server_id", "other")
		if len(other) != 1 || len(otherPID) != 1 {
			return fmt.Errorf("there is no series that is all other")
		}
		for _, name := range []string{"app_handle_chat_total", "net_client_recv_counter_count"} {
			// Whether the one for others counts among them is left open.
			if series := len(m.named(metricPrefix + name)); series > 6 {
				return fmt.Errorf("%s has %d series, want 5 at most", name, series)
			}
		}
		// Each of the five, and other, has both results.
		if series := len(m.named(metricPrefix + "app_records_total")); series > 12 {
			return fmt.Errorf("app_records_total has %d series, want 12 at most", series)
		}
		return errors.Join(m.want(21, metricPrefix+"app_handle_chat_total"), m.want(21, metricPrefix+"app_records_total"))
	})
}
