package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

func recordCases() []testCase {
	return slices.Concat(undecodableCases(), decodableCases(), []testCase{
		{name: "undecodable: no value", run: nullValue},
		{name: "a record of exactly --max-record-bytes comes, a longer one does not", own: true, run: recordLimit},
		{name: "--max-record-bytes is 256 KiB by default", own: true, run: defaultRecordLimit},
		{name: "undecodable records are counted by reason", own: true, run: undecodableCounted},
		{name: "the cursor is the record's place", run: cursors},
		{name: "records of a partition come in order", run: partitionOrder},
	})
}

// undecodables are values that are no records. $N is there so that a server which takes one would
// push it: the session has the empty rule.
var undecodables = []struct{ name, value string }{
	{"empty", ``},
	{"not JSON", `app_id=$N`},
	{"truncated", `{"app_id":$N`},
	{"two objects", `{"app_id":$N}{"app_id":$N}`},
	{"trailing garbage", `{"app_id":$N} x`},
	{"a trailing comma", `{"app_id":$N,}`},
	{"a comment", `{"app_id":$N /* app */}`},
	{"an array", `[{"app_id":$N}]`},
	{"a string", `"$N"`},
	{"a number", `$N`},
	{"null", `null`},
	{"a byte order mark", "\ufeff{\"app_id\":$N}"},
	{"a control character in a string", "{\"app_id\":$N,\"text\":\"a\nb\"}"},
	{"not UTF-8 in text", "{\"app_id\":$N,\"text\":\"\xff\"}"},
	{"not UTF-8 in another field", "{\"app_id\":$N,\"name\":\"\xc3\"}"},
	{"not UTF-8 in a name", "{\"app_id\":$N,\"\x80\":1}"},
	{"overlong UTF-8", "{\"app_id\":$N,\"text\":\"\xc0\xaf\"}"},
	{"a surrogate in UTF-8", "{\"app_id\":$N,\"text\":\"\xed\xa0\x80\"}"},
	{"beyond U+10FFFF", "{\"app_id\":$N,\"text\":\"\xf4\x90\x80\x80\"}"},
	{"a bad escape", `{"app_id":$N,"text":"\q"}`},
	{"an integer null", `{"app_id":$N,"server_id":null}`},
	{"an integer true", `{"app_id":$N,"agent_id":true}`},
	{"an integer negative", `{"app_id":$N,"pid":-1}`},
	{"an integer with a fraction", `{"app_id":$N,"server_id":1.5}`},
	{"an integer with a zero fraction", `{"app_id":$N,"server_id":1.0}`},
	{"an integer with an exponent", `{"app_id":$N,"server_id":1e3}`},
	{"an integer of 2^63", `{"app_id":$N,"pid":9223372036854775808}`},
	{"an integer in a list", `{"app_id":$N,"server_id":[1]}`},
	{"an integer in an object", `{"app_id":$N,"server_id":{}}`},
	{"an empty string for an integer", `{"app_id":$N,"server_id":""}`},
	{"a word for an integer", `{"app_id":$N,"agent_id":"one"}`},
	{"an integer in a string with a leading zero", `{"app_id":$N,"agent_id":"01"}`},
	{"the last of doubles is null", `{"app_id":$N,"app_id":null}`},
	{"channel null", `{"app_id":$N,"channel":null}`},
	{"channel a number", `{"app_id":$N,"channel":1}`},
	{"channel a list", `{"app_id":$N,"channel":["world"]}`},
	{"text null", `{"app_id":$N,"text":null}`},
	{"text a number", `{"app_id":$N,"text":1}`},
	{"text a list", `{"app_id":$N,"text":["gold"]}`},
	{"text true", `{"app_id":$N,"text":true}`},
}

func undecodableCases() []testCase {
	var cases []testCase
	for _, row := range undecodables {
		cases = append(cases, testCase{name: "undecodable: " + row.name, run: func(tr *trial) {
			n := unique()
			tr.wantSkipped(func(partition int32) cursor { return tr.produce(partition, value(row.value, n))[0] })
		}})
	}
	return cases
}

func nullValue(tr *trial) { tr.wantSkipped(tr.produceNull) }

// wantSkipped appends a value between two good records and fails the case if it reaches a session
// with the empty rule, or if the good ones do not.
func (tr *trial) wantSkipped(bad func(partition int32) cursor) {
	tr.Helper()
	partition := tr.partition()
	s := tr.session()
	s.listen(`{}`)
	first := tr.produce(partition, `{"note":"before"}`)[0]
	at := bad(partition)
	last := tr.produce(partition, `{"note":"after"}`)[0]
	var came []cursor
	for _, p := range s.before(partition) { // and everything that other trials append
		came = append(came, p.at)
	}
	if !slices.Contains(came, first) || !slices.Contains(came, last) {
		tr.Errorf("the records before and after it, at %v and %v, did not both come: %v", first, last, came)
	}
	if slices.Contains(came, at) {
		tr.Errorf("it was pushed")
	}
}

// decodables are records that must come, and come byte for byte.
var decodables = []struct{ name, value string }{
	{"the design's own", `{"app_id": $N, "agent_id": 29, "server_id": 6558, "pid": 1643890670000002, "name": "player", "channel": "world", "text": "...", "ts": 1644568978123}`},
	{"odd white space", "\n {\t\"app_id\" :$N  ,\r\n \"text\":\"a  b\" }\n\n"},
	{"fields that nobody knows", `{"app_id":$N,"level":[1,{"x":null}],"vip":true,"guild":null,"":""}`},
	{"other fields of other types", `{"app_id":$N,"name":5,"ts":"yesterday","App_ID":null,"Text":7}`},
	{"numbers that no double holds", `{"app_id":$N,"x":1e999,"y":-0,"z":0.10,"pid":9007199254740993,"w":123456789012345678901234567890}`},
	{"doubles", `{"app_id":1,"x":1,"app_id":$N,"x":2}`},
	{"unicode escapes", `{"app_id":$N,"text":"\u4ee3\u7EC3 \/ \u0041","name":"\ud83d\ude00"}`},
	{"a lone surrogate in text", `{"app_id":$N,"text":"gold \ud800 gold"}`},
	{"a lone low surrogate in text", `{"app_id":$N,"text":"\udc00"}`},
	{"a lone surrogate in another field", `{"app_id":$N,"name":"\ud83d"}`},
	{"surrogates the wrong way round", `{"app_id":$N,"text":"\ude00\ud83d"}`},
	{"a lone surrogate in channel", `{"app_id":$N,"channel":"\udfff"}`},
	{"integers in strings", `{"app_id":"$N","pid":"9223372036854775807"}`},
	{"HTML", `{"app_id":$N,"text":"<b>&amp;</b>\u2028\u003c"}`},
	{"line separators as they are", "{\"app_id\":$N,\"text\":\"\u2028\u2029\"}"},
	{"noncharacters", "{\"app_id\":$N,\"text\":\"\ufffe\uffff\U0010ffff\ufffd\"}"},
	{"NUL escaped", `{"app_id":$N,"text":"\u0000"}`},
	{"DEL", "{\"app_id\":$N,\"text\":\"\x7f\"}"},
	{"nested deeply", `{"app_id":$N,"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`},
	{"what looks like an envelope", `{"app_id":$N,"path":"/chat","params":{"cursor":null},"text":"}}"}`},
	{"longer than 64 KiB", `{"app_id":$N,"text":"` + strings.Repeat("x", 70000) + `"}`},
	{"125 bytes and around", `{"app_id":$N,"text":"` + strings.Repeat("y", 32) + `"}`},
}

func decodableCases() []testCase {
	var cases []testCase
	for _, row := range decodables {
		cases = append(cases, testCase{name: "byte for byte: " + row.name, run: func(tr *trial) {
			n, partition := unique(), tr.partition()
			s := tr.session()
			s.listen(fmt.Sprintf(`{"app_id":%d}`, n))
			record := value(row.value, n)
			tr.wantVerbatim(s.wantPushes(partition, tr.produce(partition, record)...)[0], record)
		}})
	}
	return cases
}

func (tr *trial) wantVerbatim(p push, record string) {
	tr.Helper()
	if string(p.record) != strings.TrimSpace(record) || !bytes.Contains(p.message, []byte(record)) {
		tr.Errorf("pushed was %.400q, want the record %.400q byte for byte", p.message, record)
	}
}

// padded is a record of so many bytes.
func padded(n int64, bytes int) string {
	empty := value(`{"app_id":$N,"text":""}`, n)
	return strings.Replace(empty, `""`, `"`+strings.Repeat("p", bytes-len(empty))+`"`, 1)
}

func recordLimit(tr *trial) { tr.apart(1, "--max-record-bytes=1000").wantRecordLimit(1000) }

func defaultRecordLimit(tr *trial) { tr.apart(1).wantRecordLimit(256 << 10) }

func (tr *trial) wantRecordLimit(limitBytes int) {
	tr.Helper()
	n := unique()
	s := tr.session()
	s.listen(`{}`)
	at := tr.produce(0, padded(n, limitBytes), padded(n, limitBytes+1), `{"app_id":1}`)
	tr.wantVerbatim(s.wantPushes(0, at[0], at[2])[0], padded(n, limitBytes))
}

// undecodableCounted appends each bad value to a topic of its own.
func undecodableCounted(tr *trial) {
	away := tr.apart(1, "--max-record-bytes=100000")
	s := away.session()
	s.listen(`{}`)
	before := away.scrape()
	for _, row := range undecodables {
		away.produce(0, value(row.value, 1))
	}
	away.produceNull(0)
	away.produce(0, padded(1, 100001))
	s.wantPushes(0)
	bad := float64(len(undecodables) + 2)
	tr.eventually("counters", func() error {
		moved := away.scrape().since(before)
		return errors.Join(
			moved.want(bad, "chat_monitor_records_total", "result", "undecodable"),
			moved.want(bad, "chat_monitor_records_undecodable_total"),
			moved.want(bad, "chat_monitor_server_error_total", "type", "record_error"),
			moved.want(1, "chat_monitor_records_total", "result", "matched"), // the fence
			moved.want(1, "chat_monitor_app_handle_chat_total"),
		)
	})
}

func cursors(tr *trial) {
	n := unique()
	s := tr.session()
	s.listen(fmt.Sprintf(`{"app_id":%d}`, n))
	for partition := range tr.partitions {
		s.wantPushes(partition, tr.produce(partition, value(`{"app_id":$N}`, n), value(`{"app_id":$N}`, n))...)
	}
}

func partitionOrder(tr *trial) {
	const each = 100
	n := unique()
	s := tr.session()
	s.listen(fmt.Sprintf(`{"app_id":%d}`, n))
	want := make(map[int32][]cursor)
	for range each / 10 {
		for partition := range tr.partitions {
			batch := slices.Repeat([]string{value(`{"app_id":$N}`, n)}, 10)
			want[partition] = append(want[partition], tr.produce(partition, batch...)...)
		}
	}
	came := make(map[int32][]cursor)
	for range each * int(tr.partitions) {
		p := s.next()
		came[p.at.Partition] = append(came[p.at.Partition], p.at)
	}
	for partition, cursors := range want {
		if !slices.Equal(came[partition], cursors) {
			tr.Errorf("of partition %d came %v, want %v", partition, came[partition], cursors)
		}
	}
}
