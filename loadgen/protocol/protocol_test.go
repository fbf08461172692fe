package protocol

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPushAtAGlanceAndAsJSONAgree(t *testing.T) {
	for _, row := range []struct {
		sentence string
		text     string
		want     string // partition offset record; "" if it is no push
		glance   bool
	}{
		{"the form that servers write", `{"path":"/chat","params":{"cursor":{"partition":3,"offset":12345},"record":{"a":1}}}`, `3 12345 {"a":1}`, true},
		{"with spaces", `{"path": "/chat", "params": {"cursor": {"partition": 3, "offset": 12345}, "record": {"a": 1} }}`, `3 12345 {"a": 1}`, false},
		{"with a space before the record", `{"path":"/chat","params":{"cursor":{"partition":3,"offset":1},"record": {"a":1}}}`, `3 1 {"a":1}`, false},
		{"with a space after it", `{"path":"/chat","params":{"cursor":{"partition":3,"offset":1},"record":{"a":1} }}`, `3 1 {"a":1}`, false},
		{"in another order", `{"params":{"record":{"a":1},"cursor":{"offset":5,"partition":0}},"path":"/chat"}`, `0 5 {"a":1}`, false},
		{"with more than we know", `{"path":"/chat","new":[1],"params":{"cursor":{"partition":1,"offset":0,"x":7},"record":{}}}`, `1 0 {}`, false},
		{"an offset of nineteen digits", `{"path":"/chat","params":{"cursor":{"partition":1,"offset":9223372036854775807},"record":{}}}`, `1 9223372036854775807 {}`, false},
		{"an offset that no integer holds", `{"path":"/chat","params":{"cursor":{"partition":1,"offset":9223372036854775808},"record":{}}}`, "", false},
		{"a negative offset", `{"path":"/chat","params":{"cursor":{"partition":1,"offset":-1},"record":{}}}`, "", false},
		{"no offset", `{"path":"/chat","params":{"cursor":{"partition":1},"record":{}}}`, "", false},
		{"no record", `{"path":"/chat","params":{"cursor":{"partition":1,"offset":1}}}`, "", false},
		{"a number with a leading zero", `{"path":"/chat","params":{"cursor":{"partition":01,"offset":1},"record":{}}}`, "", false},
		{"another message", `{"path":"/ping","result":{}}`, "", false},
		{"cut off", `{"path":"/chat","params":{"cursor":{"partition":1,"offset":1},"record":{}`, "", false},
		{"a brace short", `{"path":"/chat","params":{"cursor":{"partition":1,"offset":1},"record":{}}`, "", false},
		{"something behind it", `{"path":"/chat","params":{"cursor": {"partition":1,"offset":1},"record":{}}}{}`, "", false},
		{"a name twice", `{"path":"/chat","path":"/chat","params":{"cursor":{"partition":1,"offset":1},"record":{}}}`, "", false},
		{"nothing", ``, "", false},
	} {
		var r Reader
		push, err := r.Push([]byte(row.text))
		got := ""
		if err == nil {
			got = fmt.Sprintf("%d %d %s", push.Partition, push.Offset, push.Record)
		}
		if got != row.want {
			t.Errorf("%s: got %q (error %v), want %q", row.sentence, got, err, row.want)
		}
		if _, ok := glance([]byte(row.text)); ok != row.glance {
			t.Errorf("%s: read at a glance: %v", row.sentence, ok)
		}
	}
}

func TestRequestsAreJSON(t *testing.T) {
	var listen struct {
		Path   string
		ID     int
		Params struct {
			Rule map[string]int
		}
	}
	if err := json.Unmarshal(AppendListen(nil, 7, 42), &listen); err != nil {
		t.Fatal(err)
	}
	if listen.Path != PathListen || listen.ID != 7 || len(listen.Params.Rule) != 2 || listen.Params.Rule["server_id"] != 42 || listen.Params.Rule["app_id"] != AppID {
		t.Errorf("listen: %+v", listen)
	}
	var ping struct {
		Path   string
		ID     int
		Params map[string]int
	}
	if err := json.Unmarshal(AppendPing(nil, 9, []byte(`{"n":5}`)), &ping); err != nil {
		t.Fatal(err)
	}
	if ping.Path != PathPing || ping.ID != 9 || ping.Params["n"] != 5 {
		t.Errorf("ping: %+v", ping)
	}
}

func TestAnswers(t *testing.T) {
	var r Reader
	m, err := r.Message([]byte(`{"path":"/ping","id":3,"result":{"time":1644568978123,"echo":{"n":5}}}`))
	if err != nil || m.Path != PathPing || string(m.ID) != "3" || m.Error != nil {
		t.Fatalf("ping: %+v, error %v", m, err)
	}
	if echo, err := r.Pong(m.Result); err != nil || string(echo) != `{"n":5}` {
		t.Errorf("echo %s, error %v", echo, err)
	}
	if echo, err := r.Pong([]byte(`{"echo":{"n":5}}`)); err == nil && echo != nil {
		t.Error("a pong without a time passed")
	}
	for text, want := range map[string]bool{`{"rule_id":"r1"}`: true, `{"rule_id":""}`: false, `{"rule_id":7}`: false, `{}`: false, `x`: false} {
		if got := r.HasRuleID([]byte(text)); got != want {
			t.Errorf("%s has a rule id: %v", text, got)
		}
	}
	m, err = r.Message([]byte(`{"path":"/li\u0073ten","error":{"code":"bad_rule","message":"no"}}`))
	if err != nil || m.Path != PathListen || r.ErrorCode(m.Error) != "bad_rule" {
		t.Errorf("error answer: %+v, error %v", m, err)
	}
	for _, bad := range []string{``, `[]`, `{"path":1}`, `{"path":"/ping"`, `{"path":"/ping"} x`, "{\"path\":\"\xff\"}"} {
		if m, err := r.Message([]byte(bad)); err == nil {
			t.Errorf("%q passed as %+v", bad, m)
		}
	}
}

// TestRecordsAreWhatTheServerDecodes: valid JSON in valid UTF-8, with the fields and types of the feed.
func TestRecordsAreWhatTheServerDecodes(t *testing.T) {
	script := Script{Seed: 3, StartNs: 1_000_000_000, StartUnixMs: 1_700_000_000_000}
	texts := map[string]bool{}
	for seq := range 500 {
		record := script.AppendRecord(nil, seq, seq%7, script.StartNs+int64(seq)*5_000_000)
		if !utf8.Valid(record) {
			t.Fatalf("record %d is not UTF-8: %q", seq, record)
		}
		var got struct {
			AppID      int64  `json:"app_id"`
			AgentID    int64  `json:"agent_id"`
			ServerID   int64  `json:"server_id"`
			PID        int64  `json:"pid"`
			Name       string `json:"name"`
			Channel    string `json:"channel"`
			Text       string `json:"text"`
			TS         int64  `json:"ts"`
			BenchDueNs int64  `json:"bench_due_ns"`
			BenchSeq   int64  `json:"bench_seq"`
		}
		decoder := json.NewDecoder(strings.NewReader(string(record)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&got); err != nil {
			t.Fatalf("record %d: %v: %s", seq, err, record)
		}
		if got.AppID != AppID || got.ServerID != int64(seq%7) || got.PID <= 1<<53>>4 || got.Name == "" || got.Channel == "" || got.Text == "" {
			t.Fatalf("record %d: %s", seq, record)
		}
		if got.TS != script.StartUnixMs+int64(seq)*5 || got.BenchDueNs != script.StartNs+int64(seq)*5_000_000 || got.BenchSeq != int64(seq) {
			t.Fatalf("record %d has other times or another number: %s", seq, record)
		}
		if number, ok := NumberOf(record); !ok || number != seq {
			t.Fatalf("record %d is read as number %d, %v", seq, number, ok)
		}
		texts[got.Text] = true
	}
	if len(texts) != len(lines) {
		t.Errorf("%d of %d texts in use", len(texts), len(lines))
	}
}

func TestRecordsFollowFromSeedAndNumber(t *testing.T) {
	a, b := Script{Seed: 1}, Script{Seed: 2}
	first, again := a.AppendRecord(nil, 5, 1, 9), a.AppendRecord(nil, 5, 1, 9)
	if string(first) != string(again) {
		t.Errorf("the same record came out as %s and as %s", first, again)
	}
	same := 0
	for seq := range 100 {
		if string(a.AppendRecord(nil, seq, 1, 9)) == string(b.AppendRecord(nil, seq, 1, 9)) {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d of 100 records are the same under another seed", same)
	}
}

func TestNumberOf(t *testing.T) {
	for text, want := range map[string]int{
		`{"bench_seq":5}`:                    -1, // never the first field
		`{"a":1,"bench_seq":5}`:              5,
		`{"a":1,"bench_seq":5} `:             -1,
		`{"a":1,"bench_seq":5,"b":2}`:        -1,
		`{"a":1,"bench_seq":}`:               -1,
		`{"a":1,"bench_seq":-5}`:             -1,
		`{"a":1,"bench_seq":05}`:             -1,
		`{"a":1,"bench_seq":12345678901234}`: 12345678901234,
		``:                                   -1,
	} {
		number, ok := NumberOf([]byte(text))
		if !ok {
			number = -1
		}
		if number != want {
			t.Errorf("%s: number %d, want %d", text, number, want)
		}
	}
}
