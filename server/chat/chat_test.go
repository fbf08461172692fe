package chat

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var limits = RuleLimits{MaxEntries: 256, MaxKeywords: 4}

func TestDecodeRecord(t *testing.T) {
	all := FieldSet(0).With(AppID).With(AgentID).With(ServerID).With(PID).With(Channel).With(Text)
	for _, c := range []struct {
		name  string
		value string
		want  Record
	}{
		{"every field", `{"app_id":19,"agent_id":29,"server_id":6558,"pid":1643890670000002,"name":"p","channel":"world","text":"hi","ts":1}`,
			Record{all, [4]int64{19, 29, 6558, 1643890670000002}, "world", "hi"}},
		{"no field", ` {} `, Record{}},
		{"a pid beyond 2^53 is exact", `{"pid":9007199254740993}`, Record{Present: 1 << PID, IDs: [4]int64{PID: 9007199254740993}}},
		{"the largest integer", `{"pid":9223372036854775807}`, Record{Present: 1 << PID, IDs: [4]int64{PID: 1<<63 - 1}}},
		{"an integer as a string", `{"app_id":"19"}`, Record{Present: 1, IDs: [4]int64{19}}},
		{"zero is a value", `{"app_id":0,"channel":""}`, Record{Present: 1 | 1<<Channel}},
		{"of doubles the last counts", `{"app_id":1,"app_id":2}`, Record{Present: 1, IDs: [4]int64{2}}},
		{"also when the first has a wrong type", `{"app_id":null,"app_id":2}`, Record{Present: 1, IDs: [4]int64{2}}},
		{"names match exactly", `{"App_ID":"x","APP_ID":null}`, Record{}},
		{"an escaped name is the same name", `{"app\u005fid":7}`, Record{Present: 1, IDs: [4]int64{7}}},
		{"a lone surrogate is valid JSON", `{"text":"a\ud800b"}`, Record{Present: 1 << Text, Text: "a\uFFFDb"}},
		{"other fields are not looked at", `{"name":null,"x":{"app_id":1.5}}`, Record{}},
	} {
		got, err := DecodeRecord([]byte(c.value), 1000)
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	for _, c := range []struct {
		value string
		want  Undecodable
	}{
		{`{"text":"` + strings.Repeat("x", 1000) + `"}`, TooLong},
		{"{\"text\":\"\xff\"}", InvalidUTF8},
		{``, InvalidJSON}, {`{`, InvalidJSON}, {`{}{}`, InvalidJSON}, {`{"a":1,}`, InvalidJSON}, {`{"a":01}`, InvalidJSON},
		{"\ufeff{}", InvalidJSON}, {`{"a":"` + "\x01" + `"}`, InvalidJSON}, {`[1`, InvalidJSON},
		{`[]`, NotObject}, {`null`, NotObject}, {`"x"`, NotObject}, {`1`, NotObject},
		{`{"app_id":null}`, WrongType}, {`{"app_id":1.0}`, WrongType}, {`{"app_id":1e3}`, WrongType}, {`{"app_id":-1}`, WrongType},
		{`{"app_id":-0}`, WrongType}, {`{"app_id":true}`, WrongType}, {`{"pid":9223372036854775808}`, WrongType},
		{`{"pid":"007"}`, WrongType}, {`{"pid":"+7"}`, WrongType}, {`{"pid":""}`, WrongType}, {`{"pid":[1]}`, WrongType},
		{`{"pid":99999999999999999999}`, WrongType}, {`{"channel":1}`, WrongType}, {`{"text":null}`, WrongType},
		{`{"app_id":2,"app_id":null}`, WrongType},
	} {
		_, err := DecodeRecord([]byte(c.value), 1000)
		var got Undecodable
		if !errors.As(err, &got) || got != c.want {
			t.Errorf("%.40q: got %v, want %v", c.value, err, c.want)
		}
	}
	exact := []byte(`{"text":"x"}`)
	if _, err := DecodeRecord(exact, len(exact)); err != nil {
		t.Errorf("as long as is allowed: %v", err)
	}
	if _, err := DecodeRecord(exact, len(exact)-1); err != TooLong {
		t.Errorf("a byte longer than is allowed: %v", err)
	}
	if _, err := DecodeRecord(nil, 1000); err != NullValue {
		t.Errorf("a tombstone: got %v", err)
	}
}

func TestRuleMatches(t *testing.T) {
	const record = `{"app_id":19,"agent_id":29,"pid":5,"channel":"","text":"Buy GOLD 代练 now"}`
	for _, c := range []struct {
		rule string
		want bool
	}{
		{`{}`, true},
		{`{"app_id":19}`, true}, {`{"app_id":"19"}`, true}, {`{"app_id":[1,"19"]}`, true}, {`{"app_id":20}`, false},
		{`{"app_id":19,"agent_id":30}`, false},
		{`{"server_id":0}`, false}, // missing is not 0
		{`{"channel":""}`, true}, {`{"channel":["a",""]}`, true}, {`{"channel":"world"}`, false},
		{`{"keywords":["gold"]}`, true}, {`{"keywords":["x","代练"]}`, true}, {`{"keywords":["silver"]}`, false},
		{`{"keywords":["gold"],"app_id":1}`, false},
	} {
		rule, err := ParseRule([]byte(c.rule), limits)
		if err != nil {
			t.Fatalf("%s: %v", c.rule, err)
		}
		r, err := DecodeRecord([]byte(record), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if got := rule.Matches(&r, Fold(r.Text)); got != c.want {
			t.Errorf("%s: got %v", c.rule, got)
		}
	}
	noText, _ := ParseRule([]byte(`{"keywords":["x"]}`), limits)
	if noText.Matches(&Record{}, "") {
		t.Error("keywords matched a record without a text")
	}
}

func TestParseRuleRefuses(t *testing.T) {
	for _, c := range []struct{ rule, says string }{
		{`null`, "not a JSON object"}, {`[]`, "not a JSON object"}, {`1`, "not a JSON object"},
		{`{"app":1}`, "unknown field"}, {`{"text":"x"}`, "unknown field"}, {`{"App_id":1}`, "unknown field"},
		{`{"app_id":null}`, "integer"}, {`{"app_id":[]}`, "empty"}, {`{"app_id":[1,null]}`, "integer"}, {`{"app_id":-1}`, "integer"},
		{`{"app_id":1.0}`, "integer"}, {`{"pid":9223372036854775808}`, "integer"}, {`{"pid":"01"}`, "integer"}, {`{"pid":{}}`, "integer"},
		{`{"channel":null}`, "string"}, {`{"channel":[]}`, "empty"}, {`{"channel":[1]}`, "string"},
		{`{"keywords":[]}`, "empty"}, {`{"keywords":[""]}`, "empty"}, {`{"keywords":"x"}`, "list"}, {`{"keywords":null}`, "list"},
		{`{"keywords":["a","b","c","d","e"]}`, "at most 4"},
		{`{"app_id":1,"app_id":2}`, "twice"},
		{`{"app_id":[` + strings.Repeat("1,", 16) + `1],"pid":[` + strings.Repeat("1,", 15) + `1]}`, "272"},
	} {
		_, err := ParseRule([]byte(c.rule), limits)
		var e *Error
		if !errors.As(err, &e) || e.Code != BadRule || !strings.Contains(e.Message, c.says) {
			t.Errorf("%.60s: got %v, want %q", c.rule, err, c.says)
		}
	}
}

func TestFoldAgreesWithSimpleFolding(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if 0xD800 <= r && r <= 0xDFFF {
			continue
		}
		if next := unicode.SimpleFold(r); foldRune(r) != foldRune(next) {
			t.Fatalf("%U and %U differ after folding", r, next)
		}
		if f := foldRune(r); f != r && !strings.EqualFold(string(f), string(r)) {
			t.Fatalf("%U became %U, which is another letter", r, f)
		}
	}
	for c := range byte(utf8.RuneSelf) {
		if s := string(c); Fold(s) != strings.ToUpper(s) {
			t.Errorf("%q became %q", s, Fold(s))
		}
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"Kelvin", "\u212Aelvin", true}, {"longs", "long\u017F", true}, {"ΟΔΟΣ", "οδος", true},
		{"i", "\u0131", false}, {"I", "\u0130", false}, {"ß", "ss", false}, {"代练", "代練", false},
	} {
		if got := Fold(c.a) == Fold(c.b); got != c.same {
			t.Errorf("%q and %q: got %v", c.a, c.b, got)
		}
	}
}

func TestParseMessage(t *testing.T) {
	for _, c := range []struct{ text, answer string }{
		{`{"path":"/x","id":12345678901234567890.10}`, `{"path":"/x","id":12345678901234567890.10,"result":{}}`},
		{`{"id":null,"path":"\/x"}`, `{"path":"\/x","id":null,"result":{}}`},
		{`{"id":{"a":[1, 2]}}`, `{"id":{"a":[1, 2]},"result":{}}`},
		{`{"path":7,"id":1e400}`, `{"id":1e400,"result":{}}`},
		{`{"path":"/a","path":"/b"}`, `{"path":"/b","result":{}}`},
		{`{"path":"/a","path":null}`, `{"result":{}}`},
		{`{"path":""}`, `{"path":"","result":{}}`},
	} {
		m, err := ParseMessage([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := string(AppendResult(nil, &m, []byte("{}"))); got != c.answer {
			t.Errorf("%s: got %s, want %s", c.text, got, c.answer)
		}
	}
	for _, text := range []string{``, ` `, `[]`, `1`, `"x"`, `null`, `{"path":"/x"`, `{"path":"/x"}x`, `{path:1}`, `{"id":}`} {
		if m, err := ParseMessage([]byte(text)); err == nil {
			t.Errorf("%q: accepted as %+v", text, m)
		}
	}
}

func TestParseListenRefuses(t *testing.T) {
	for _, params := range []string{
		``, `null`, `[]`, `{}`, `{"rule":null}`, `{"rule":{},"rule_id":""}`, `{"rule":{},"rule_id":null}`, `{"rule":{},"rule_id":1}`,
		`{"rule":{},"rule_id":"` + strings.Repeat("x", 65) + `"}`, `{"rule":{},"ruleid":"x"}`,
	} {
		raw := []byte(params)
		if params == "" {
			raw = nil
		}
		if _, err := ParseListen(raw, limits); err == nil {
			t.Errorf("%q was accepted", params)
		}
	}
	l, err := ParseListen([]byte(`{"rule":{"pid": "7"},"rule_id":"`+strings.Repeat("é", 32)+`"}`), limits)
	if err != nil || l.RuleID != strings.Repeat("é", 32) || encoded(l.Rule) != `{"pid":"7"}` {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestServerMessagesAreJSON(t *testing.T) {
	m, err := ParseMessage([]byte(`{"path":"/x","id":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{
		AppendPush(nil, Cursor{3, 12345}, []byte(`{"text":"\u2028"}`)),
		AppendNotice(nil, FeedStalled),
		AppendError(nil, &m, &Error{BadRule, "quotes \" and \x00"}),
		AppendRuleID(nil, "a\"b"),
		AppendRules(nil, nil),
		AppendRules(nil, []NamedRule{{"a", (&Rule{}).AppendEncoded(nil)}, {"b\n", (&Rule{Channels: []string{"\""}}).AppendEncoded(nil)}}),
	} {
		if !json.Valid(text) {
			t.Errorf("not JSON: %s", text)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(`{"app_id":19,"pid":"7","channel":"","text":"a\ud800"}`))
	f.Add([]byte(`{"app_id":1,"app_id":null}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		wantTwin(t, value)
		_, err := DecodeRecord(value, 1<<20)
		accepted := err == nil || errors.Is(err, WrongType)
		var object map[string]json.RawMessage
		// encoding/json is the dumb twin for the grammar; its depth limit is the same.
		want := value != nil && json.Valid(value) && utf8.Valid(value) && json.Unmarshal(value, &object) == nil && object != nil
		if accepted != want {
			t.Fatalf("%q: got %v, encoding/json says %v", value, err, want)
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	f.Add([]byte(`{"path":"/listen","id":1,"params":{"rule":{"pid":["7"],"keywords":["x"]},"rule_id":"a"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseMessage(text)
		if err != nil || !utf8.Valid(text) {
			return
		}
		if answer := AppendResult(nil, &m, []byte("{}")); !json.Valid(answer) {
			t.Fatalf("%q: the answer is not JSON: %q", text, answer)
		}
		l, err := ParseListen(m.Params, limits)
		if err != nil {
			return
		}
		checkEncoded(t, l.Rule)
	})
}
