package chat

import (
	"bytes"
	"reflect"
	"testing"
)

func encoded(r *Rule) string { return string(EncodedRule(r.AppendEncoded(nil)).AppendJSON(nil)) }

// checkEncoded fails the test unless all of the rule is found again in its encoding and in its JSON.
func checkEncoded(t *testing.T, r *Rule) {
	t.Helper()
	e := EncodedRule(r.AppendEncoded(nil))
	printed := e.AppendJSON(nil)
	again, err := ParseRule(printed, RuleLimits{MaxEntries: r.Entries(), MaxKeywords: len(r.Keywords)})
	if err != nil || !reflect.DeepEqual(again, r) {
		t.Fatalf("%+v is printed as %s, which is read as %+v, %v", r, printed, again, err)
	}
	if e.Entries() != r.Entries() || e.Fields() != r.Fields() {
		t.Fatalf("%s: %d entries, fields %b; want %d, %b", printed, e.Entries(), e.Fields(), r.Entries(), r.Fields())
	}
	var keywords []string
	e.Keywords(func(folded []byte) { keywords = append(keywords, string(folded)) })
	if len(keywords)+len(r.Keywords) > 0 && !reflect.DeepEqual(keywords, r.Keywords) {
		t.Fatalf("%s: keywords %q, want %q", printed, keywords, r.Keywords)
	}
}

func TestEncodedRulePrintsWhatWasGiven(t *testing.T) {
	for _, c := range []struct{ given, printed string }{
		{`{}`, `{}`},
		{`{"server_id":6558,"app_id":19}`, `{"app_id":19,"server_id":6558}`},
		{`{"pid":"9223372036854775807"}`, `{"pid":"9223372036854775807"}`}, // for a browser a number would be another
		{`{"pid":9223372036854775807}`, `{"pid":9223372036854775807}`},
		{`{"app_id":[1, "2", 1]}`, `{"app_id":[1,"2",1]}`},
		{`{"app_id":[0],"channel":[""]}`, `{"app_id":0,"channel":""}`},
		{`{"channel":["世界","a\"b\u0000"]}`, `{"channel":["世界","a\"b\u0000"]}`},
		{`{"keywords":["Gold"]}`, `{"keywords":["Gold"]}`},
		{`{"keywords":["GOLD","代练","\u017F"],"agent_id":127}`, `{"agent_id":127,"keywords":["GOLD","代练","ſ"]}`},
	} {
		r, err := ParseRule([]byte(c.given), limits)
		if err != nil {
			t.Fatalf("%s: %v", c.given, err)
		}
		if got := encoded(r); got != c.printed {
			t.Errorf("%s: printed as %s, want %s", c.given, got, c.printed)
		}
		checkEncoded(t, r)
	}
}

func TestEncodedRuleIsSmall(t *testing.T) {
	r, err := ParseRule([]byte(`{"app_id":19,"server_id":1000000}`), limits)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.AppendEncoded(nil)); n > 8 {
		t.Errorf("a rule of two fields takes %d bytes", n)
	}
}

// matchesEncoded is what an index does with the encoding.
func matchesEncoded(e EncodedRule, r *Record) bool {
	keywords, meets := e.MeetsFields(r)
	return meets && keywords.In([]byte(Fold(r.Text)))
}

func FuzzEncodedRule(f *testing.F) {
	f.Add([]byte(`{"app_id":19,"pid":["7",8],"channel":["","a"],"keywords":["gold","代练"]}`), []byte(`{"app_id":"19","pid":7,"channel":"","text":"GOLD"}`))
	f.Add([]byte(`{"app_id":[1,2],"agent_id":300,"server_id":"70000"}`), []byte(`{"app_id":2,"agent_id":300,"server_id":70000}`))
	f.Add([]byte(`{"keywords":["\u212a","\u017f","ΟΔΟΣ","ı"]}`), []byte(`{"text":"οδος k S I"}`))
	f.Fuzz(func(t *testing.T, rule, value []byte) {
		parsed, err := ParseRule(bytes.ToValidUTF8(rule, nil), RuleLimits{MaxEntries: 1 << 16, MaxKeywords: 1 << 16})
		if err != nil {
			return
		}
		checkEncoded(t, parsed)
		record, err := DecodeRecord(value, 1<<20)
		if err != nil {
			return
		}
		if got, want := matchesEncoded(parsed.AppendEncoded(nil), &record), parsed.Matches(&record, Fold(record.Text)); got != want {
			t.Fatalf("rule %s, record %s: the encoding says %v, the rule %v", rule, value, got, want)
		}
	})
}

func BenchmarkEncodedRuleMeetsFields(b *testing.B) {
	r, err := ParseRule([]byte(`{"app_id":19,"server_id":1000000}`), limits)
	if err != nil {
		b.Fatal(err)
	}
	e := EncodedRule(r.AppendEncoded(nil))
	record := Record{Present: 1<<AppID | 1<<ServerID, IDs: [IDFields]int64{AppID: 19, ServerID: 1000000}}
	for b.Loop() {
		if _, meets := e.MeetsFields(&record); !meets {
			b.Fatal("no match")
		}
	}
}
