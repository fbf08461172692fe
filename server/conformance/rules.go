package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func ruleCases() []testCase {
	return slices.Concat(badRuleCases(), goodRuleCases(), badNameCases(), []testCase{
		{name: "bad_rule: product of the lists over 256 is named", run: productNamed},
		{name: "bad_rule: product of the lists beyond 64 bits", own: true, run: productBeyond64Bits},
		{name: "max-rule-entries, max-keywords", own: true, run: ruleSizeFlags},
		{name: "max-rule-entries raised", own: true, run: raisedEntries},
		{name: "too_many_rules", own: true, run: tooManyRules},
		{name: "too_many_rules: a replaced rule counts once", own: true, run: replacedCountsOnce},
		{name: "too_many_rules: 1,000 by default", own: true, run: thousandRules},
		{name: "rules: an empty list at first", run: noRules},
		{name: "rules: conditions as given", run: rulesAsGiven},
		{name: "rules: replaced under its name", run: replacedRule},
		{name: "rules: those of this session only", run: rulesOfSession},
		{name: "unlisten removes the one rule", run: unlistenRemoves},
		{name: "unknown_rule", run: unknownRule},
		{name: "names made by the server are unique", run: madeNames},
		{name: "names made by the server avoid the client's", run: madeNamesAvoid},
	})
}

// badRules are params of /listen that are refused with bad_rule.
var badRules = []struct{ name, params string }{
	{"params missing", ``},
	{"params null", `null`},
	{"params an array", `[]`},
	{"params a string", `"rule"`},
	{"rule missing", `{}`},
	{"rule missing, with a name", `{"rule_id":"x"}`},
	{"rule null", `{"rule":null}`},
	{"rule a number", `{"rule":1}`},
	{"rule a string", `{"rule":"all"}`},
	{"rule an array", `{"rule":[{}]}`},
	{"rule true", `{"rule":true}`},
	{"rule_id empty", `{"rule":{},"rule_id":""}`},
	{"rule_id of 65 bytes", `{"rule":{},"rule_id":"` + strings.Repeat("x", 65) + `"}`},
	{"rule_id of 22 characters in 66 bytes", `{"rule":{},"rule_id":"` + strings.Repeat("练", 22) + `"}`},
	{"rule_id a number", `{"rule":{},"rule_id":1}`},
	{"rule_id null", `{"rule":{},"rule_id":null}`},
	{"rule_id an array", `{"rule":{},"rule_id":["a"]}`},
	{"unknown field", `{"rule":{"app_id":1,"guild":2}}`},
	{"unknown field: text", `{"rule":{"text":"gold"}}`},
	{"unknown field: name", `{"rule":{"name":"gold"}}`},
	{"unknown field: ts", `{"rule":{"ts":1}}`},
	{"unknown field: App_ID", `{"rule":{"App_ID":1}}`},
	{"unknown field: an empty name", `{"rule":{"":1}}`},
	{"channel a number", `{"rule":{"channel":1}}`},
	{"channel null", `{"rule":{"channel":null}}`},
	{"channel true", `{"rule":{"channel":true}}`},
	{"channel an object", `{"rule":{"channel":{}}}`},
	{"channel an empty list", `{"rule":{"channel":[]}}`},
	{"channel a list with a number", `{"rule":{"channel":["world",1]}}`},
	{"channel a list with null", `{"rule":{"channel":["world",null]}}`},
	{"channel a nested list", `{"rule":{"channel":[["world"]]}}`},
	{"keywords a string", `{"rule":{"keywords":"gold"}}`},
	{"keywords a number", `{"rule":{"keywords":1}}`},
	{"keywords null", `{"rule":{"keywords":null}}`},
	{"keywords an object", `{"rule":{"keywords":{}}}`},
	{"keywords an empty list", `{"rule":{"keywords":[]}}`},
	{"keywords with an empty one", `{"rule":{"keywords":["gold",""]}}`},
	{"keywords with a number", `{"rule":{"keywords":["gold",1]}}`},
	{"keywords with null", `{"rule":{"keywords":["gold",null]}}`},
	{"keywords a nested list", `{"rule":{"keywords":[["gold"]]}}`},
}

// badIntegers are no integers of the protocol. Those in a list are put into one, too.
var badIntegers = []struct{ name, value string }{
	{"null", `null`},
	{"true", `true`},
	{"negative", `-1`},
	{"minus zero", `-0`},
	{"a fraction", `1.5`},
	{"a fraction of zero", `1.0`},
	{"an exponent", `1e3`},
	{"2^63", `9223372036854775808`},
	{"2^64 + 1", `18446744073709551617`},
	{"an object", `{}`},
	{"a nested list", `[1]`},
	{"a string: empty", `""`},
	{"a string: a word", `"one"`},
	{"a string: leading zero", `"007"`},
	{"a string: two zeros", `"00"`},
	{"a string: plus", `"+1"`},
	{"a string: minus", `"-1"`},
	{"a string: a fraction", `"1.0"`},
	{"a string: an exponent", `"1e3"`},
	{"a string: white space before", `" 1"`},
	{"a string: white space behind", `"1 "`},
	{"a string: hexadecimal", `"0x1f"`},
	{"a string: an underscore", `"1_000"`},
	{"a string: other digits", `"１"`},
	{"a string: 2^63", `"9223372036854775808"`},
	{"a string: 30 digits", `"100000000000000000000000000000"`},
}

var integerFields = []string{"app_id", "agent_id", "server_id", "pid"}

func badRuleCases() []testCase {
	rows := badRules
	for i, row := range badIntegers {
		field := integerFields[i%len(integerFields)]
		rows = append(rows, struct{ name, params string }{
			field + " in a list: " + row.name, fmt.Sprintf(`{"rule":{%q:[1,%s]}}`, field, row.value)})
		if row.name != "a nested list" { // alone it is a list
			rows = append(rows, struct{ name, params string }{
				field + ": " + row.name, fmt.Sprintf(`{"rule":{%q:%s}}`, field, row.value)})
		}
	}
	for _, field := range integerFields {
		rows = append(rows, struct{ name, params string }{
			field + ": an empty list", fmt.Sprintf(`{"rule":{%q:[]}}`, field)})
	}
	var cases []testCase
	for _, row := range rows {
		cases = append(cases, testCase{name: "bad_rule: " + row.name, run: func(tr *trial) {
			s := tr.session()
			kept := map[string]string{"kept": `{"app_id":1,"keywords":["Gold"]}`, "x": `{"pid":7}`}
			for name, rule := range kept {
				s.listenAs(name, rule)
			}
			s.refused("bad_rule", "/listen", row.params)
			s.wantRules(kept) // a refused request changes nothing
		}})
	}
	return cases
}

func badNameCases() []testCase {
	var cases []testCase
	for _, row := range []struct{ name, params string }{
		{"params missing", ``},
		{"rule_id missing", `{}`},
		{"rule_id empty", `{"rule_id":""}`},
		{"rule_id null", `{"rule_id":null}`},
		{"rule_id a number", `{"rule_id":1}`},
		{"rule_id of 65 bytes", `{"rule_id":"` + strings.Repeat("x", 65) + `"}`},
	} {
		cases = append(cases, testCase{name: "unlisten: bad_rule: " + row.name, run: func(tr *trial) {
			s := tr.session()
			s.listenAs("1", `{"app_id":1}`)
			s.refused("bad_rule", "/unlisten", row.params)
			s.wantRules(map[string]string{"1": `{"app_id":1}`})
		}})
	}
	return cases
}

// goodRules are rules that must be taken.
var goodRules = []struct{ name, rule string }{
	{"empty", `{}`},
	{"0", `{"app_id":0,"agent_id":0,"server_id":0,"pid":0}`},
	{"2^63-1", `{"pid":9223372036854775807}`},
	{"2^63-1 in a string", `{"pid":"9223372036854775807"}`},
	{"strings of digits", `{"app_id":"19","agent_id":["0","30"],"server_id":6558}`},
	{"numbers and strings in one list", `{"pid":[1,"2",3]}`},
	{"a list of one", `{"app_id":[1],"channel":["world"]}`},
	{"the same value twice", `{"app_id":[1,1,"1"]}`},
	{"an empty channel", `{"channel":""}`},
	{"an empty channel in a list", `{"channel":["","world"]}`},
	{"a keyword that is a blank", `{"keywords":[" "]}`},
	{"Chinese", `{"channel":"世界","keywords":["代练","金币"]}`},
	{"escapes", `{"channel":"w\u006frld","keywords":["\"","\\","\u4ee3"]}`},
	{"escaped names", `{"app\u005fid":19}`},
	{"all fields", `{"app_id":19,"agent_id":[29,30],"server_id":6558,"pid":1643890670000002,"channel":"world","keywords":["gold","代练"]}`},
	{"256 combinations", `{"app_id":` + integers(1, 16) + `,"agent_id":` + integers(1, 4) + `,"channel":["a","b","c","d"]}`},
	{"256 values", `{"pid":` + integers(1, 256) + `}`},
	{"keywords do not multiply", `{"pid":` + integers(1, 200) + `,"keywords":["a","b","c","d","e"]}`},
}

func goodRuleCases() []testCase {
	var cases []testCase
	for _, row := range goodRules {
		cases = append(cases, testCase{name: "good rule: " + row.name, run: func(tr *trial) {
			s := tr.session()
			name := s.listen(row.rule)
			s.wantRules(map[string]string{name: row.rule})
		}})
	}
	for _, name := range []string{"x", strings.Repeat("x", 64), strings.Repeat("é", 32), `"\`, " ", "代练", "\x7f", "0"} {
		cases = append(cases, testCase{name: fmt.Sprintf("good name: %+.20q of %d bytes", name, len(name)), run: func(tr *trial) {
			s := tr.session()
			quoted, err := json.Marshal(name)
			if err != nil {
				tr.Fatal(err)
			}
			if got := s.ruleID(s.result("/listen", `{"rule":{"app_id":1},"rule_id":`+string(quoted)+`}`)); got != name {
				tr.Errorf("the rule is answered as %q, want %q", got, name)
			}
			s.wantRules(map[string]string{name: `{"app_id":1}`})
			s.result("/unlisten", `{"rule_id":`+string(quoted)+`}`)
			s.wantRules(nil)
		}})
	}
	return cases
}

// integers is the JSON list of n integers from first on.
func integers(first, n int) string {
	var list []string
	for i := range n {
		list = append(list, strconv.Itoa(first+i))
	}
	return "[" + strings.Join(list, ",") + "]"
}

// wantRules fails the case unless /rules lists exactly these, by name.
func (s *session) wantRules(want map[string]string) {
	s.Helper()
	got := s.rules()
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		s.Fatalf("/rules lists %v, want %v", got, want)
	}
	for name, rule := range want {
		if g, w := s.conditions(got[name]), s.conditions(rule); !maps.EqualFunc(g, w, slices.Equal) {
			s.Errorf("/rules lists %q as %s, want %s", name, got[name], rule)
		}
	}
}

// rules asks for the session's rules by name.
func (s *session) rules() map[string]string {
	s.Helper()
	var result struct {
		Rules []struct {
			RuleID string          `json:"rule_id"`
			Rule   json.RawMessage `json:"rule"`
		} `json:"rules"`
	}
	raw := s.result("/rules", "")
	if err := json.Unmarshal(raw, &result); err != nil || result.Rules == nil {
		s.Fatalf("the result of /rules is %s (%v), want a list", raw, err)
	}
	rules := make(map[string]string)
	for _, r := range result.Rules {
		if _, double := rules[r.RuleID]; double {
			s.Fatalf("/rules lists %q twice: %s", r.RuleID, raw)
		}
		rules[r.RuleID] = string(r.Rule)
	}
	return rules
}

// conditions brings a rule into one form: each field with its list, integers in digits.
func (s *session) conditions(rule string) map[string][]string {
	s.Helper()
	v, err := decoded(rule)
	fields, ok := v.(map[string]any)
	if err != nil || !ok {
		s.Fatalf("a rule is %q (%v)", rule, err)
	}
	conditions := make(map[string][]string)
	for field, value := range fields {
		list, isList := value.([]any)
		if !isList {
			list = []any{value}
		}
		for _, one := range list {
			conditions[field] = append(conditions[field], fmt.Sprint(one))
		}
	}
	return conditions
}

func productNamed(tr *trial) {
	s := tr.session()
	message := s.refused("bad_rule", "/listen", `{"rule":{"app_id":`+integers(1, 17)+`,"pid":`+integers(1, 8)+`,"channel":["a","b"]}}`)
	if !strings.Contains(message, "272") {
		tr.Errorf("the message %q does not name the product, 272", message)
	}
	s.refused("bad_rule", "/listen", `{"rule":{"pid":`+integers(1, 257)+`}}`)
	s.wantRules(nil)
}

// The product of these lists is 2^65, which is 0 in 64 bits.
func productBeyond64Bits(tr *trial) {
	s := tr.withLargeRules().session()
	list := integers(1, 1<<13)
	var channels []string
	for i := range 1 << 13 {
		channels = append(channels, strconv.Quote(strconv.Itoa(i)))
	}
	s.refused("bad_rule", "/listen", fmt.Sprintf(`{"rule":{"app_id":%s,"agent_id":%s,"server_id":%s,"pid":%s,"channel":[%s]}}`,
		list, list, list, list, strings.Join(channels, ",")))
	s.wantRules(nil)
}

func (tr *trial) withLargeRules() *trial {
	return tr.on(tr.shared("--max-message-bytes=1048576", "--max-rule-entries=1000"))
}

func raisedEntries(tr *trial) {
	partition, app := tr.partition(), unique()
	s := tr.withLargeRules().session()
	rule := fmt.Sprintf(`{"app_id":%d,"agent_id":%s,"server_id":%s}`, app, integers(1, 10), integers(1, 100))
	s.listenAs("large", rule)
	at := tr.produce(partition, fmt.Sprintf(`{"app_id":%d,"agent_id":10,"server_id":100}`, app), fmt.Sprintf(`{"app_id":%d,"agent_id":11,"server_id":1}`, app))
	s.wantPushes(partition, at[0])
	s.unlisten("large")
	s.wantRules(map[string]string{"fence": appRule(s.fenceID)})
	s.refused("bad_rule", "/listen", `{"rule":{"agent_id":`+integers(1, 10)+`,"server_id":`+integers(1, 101)+`}}`)
}

func (tr *trial) withSmallRules() *trial {
	return tr.on(tr.shared("--max-rules=3", "--max-rule-entries=4", "--max-keywords=2"))
}

func ruleSizeFlags(tr *trial) {
	s := tr.withSmallRules().session()
	s.listenAs("entries", `{"app_id":[1,2],"pid":[1,2]}`)
	s.listenAs("keywords", `{"keywords":["a","b"]}`)
	if message := s.refused("bad_rule", "/listen", `{"rule":{"app_id":[1,2],"pid":[1,2,3]}}`); !strings.Contains(message, "6") {
		tr.Errorf("the message %q does not name the product, 6", message)
	}
	s.refused("bad_rule", "/listen", `{"rule":{"keywords":["a","b","c"]}}`)
}

func tooManyRules(tr *trial) {
	s := tr.withSmallRules().session()
	kept := map[string]string{"a": `{"app_id":1}`, "b": `{"app_id":2}`}
	for name, rule := range kept {
		s.listenAs(name, rule)
	}
	kept[s.listen(`{"app_id":3}`)] = `{"app_id":3}`
	s.refused("too_many_rules", "/listen", `{"rule":{"app_id":4}}`)
	s.refused("too_many_rules", "/listen", `{"rule":{"app_id":4},"rule_id":"d"}`)
	s.wantRules(kept)
	s.unlisten("a")
	s.listenAs("d", `{"app_id":4}`)
}

func replacedCountsOnce(tr *trial) {
	s := tr.withSmallRules().session()
	for i := range 10 {
		s.listenAs("a", fmt.Sprintf(`{"app_id":%d}`, i))
	}
	s.listenAs("b", `{"app_id":1}`)
	s.listenAs("c", `{"app_id":1}`)
	s.listenAs("b", `{"app_id":2}`) // full, and this is no more
	s.refused("too_many_rules", "/listen", `{"rule":{},"rule_id":"d"}`)
	s.wantRules(map[string]string{"a": `{"app_id":9}`, "b": `{"app_id":2}`, "c": `{"app_id":1}`})
}

func thousandRules(tr *trial) {
	s := tr.on(tr.shared()).session()
	var all strings.Builder
	for i := range 1000 {
		all.WriteString(text(fmt.Sprintf(`{"path":"/listen","params":{"rule":{"app_id":%d}}}`, i)))
	}
	s.write(all.String())
	for range 1000 {
		if a := s.answer(); a.Error != nil {
			tr.Fatalf("refused: %s", a.raw)
		}
	}
	s.refused("too_many_rules", "/listen", `{"rule":{}}`)
}

func noRules(tr *trial) {
	s := tr.session()
	if raw := s.result("/rules", ""); string(raw) != `{"rules":[]}` {
		tr.Errorf("the result of /rules is %s, want an empty list", raw)
	}
	s.listenAs("a", `{}`)
	s.unlisten("a")
	if raw := s.result("/rules", ""); string(raw) != `{"rules":[]}` {
		tr.Errorf("the result of /rules is %s, want an empty list", raw)
	}
}

func rulesAsGiven(tr *trial) {
	s := tr.session()
	rules := make(map[string]string)
	for i, row := range goodRules {
		name := fmt.Sprintf("rule %d", i)
		s.listenAs(name, row.rule)
		rules[name] = row.rule
	}
	s.wantRules(rules)
}

func replacedRule(tr *trial) {
	s := tr.session()
	s.listenAs("a", `{"app_id":1,"keywords":["Gold"]}`)
	s.listenAs("b", `{"app_id":2}`)
	s.listenAs("a", `{"channel":"world"}`)
	s.wantRules(map[string]string{"a": `{"channel":"world"}`, "b": `{"app_id":2}`})
	made := s.listen(`{"app_id":3}`)
	s.listenAs(made, `{"app_id":4}`)
	s.wantRules(map[string]string{"a": `{"channel":"world"}`, "b": `{"app_id":2}`, made: `{"app_id":4}`})
}

func rulesOfSession(tr *trial) {
	one, other := tr.session(), tr.session()
	one.listenAs("a", `{"app_id":1}`)
	other.wantRules(nil)
	other.refused("unknown_rule", "/unlisten", `{"rule_id":"a"}`)
	one.wantRules(map[string]string{"a": `{"app_id":1}`})
	tr.session().wantRules(nil)
}

func unlistenRemoves(tr *trial) {
	s := tr.session()
	for _, name := range []string{"a", "b", "c"} {
		s.listenAs(name, `{"app_id":1}`)
	}
	s.unlisten("b")
	s.wantRules(map[string]string{"a": `{"app_id":1}`, "c": `{"app_id":1}`})
}

func unknownRule(tr *trial) {
	s := tr.session()
	s.listenAs("a", `{"app_id":1}`)
	s.refused("unknown_rule", "/unlisten", `{"rule_id":"A"}`)
	s.refused("unknown_rule", "/unlisten", `{"rule_id":"b"}`)
	s.wantRules(map[string]string{"a": `{"app_id":1}`})
	s.unlisten("a")
	s.refused("unknown_rule", "/unlisten", `{"rule_id":"a"}`)
}

func madeNames(tr *trial) {
	s := tr.session()
	names := make(map[string]string)
	for range 30 {
		names[s.listen(`{"app_id":1}`)] = `{"app_id":1}`
	}
	if len(names) != 30 {
		tr.Errorf("30 rules got %d names", len(names))
	}
	s.wantRules(names)
}

// The names that the server makes first are taken by the client of another session.
func madeNamesAvoid(tr *trial) {
	first, s := tr.session(), tr.session()
	for range 5 {
		s.listenAs(first.listen(`{"app_id":1}`), `{"app_id":2}`)
	}
	rules := s.rules()
	for range 10 {
		name := s.listen(`{"app_id":3}`)
		if _, taken := rules[name]; taken {
			tr.Errorf("the server made the name %q, which the client uses", name)
		}
		rules[name] = `{"app_id":3}`
	}
	s.wantRules(rules)
}
