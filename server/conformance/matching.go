package conformance

import (
	"fmt"
	"slices"
)

// A matching row says which records a session with these rules is sent. In rules and records $N is a
// number that no other case uses.
type matchingRow struct {
	name  string
	rules []string
	yes   []string // records that must come, each once
	no    []string // records that must not
}

func matchingCases() []testCase {
	var cases []testCase
	for _, row := range slices.Concat(fieldRows(), listRows, missingRows, combinedRows, integerRows, channelRows, keywordRows, foldingRows, recordTextRows) {
		cases = append(cases, testCase{name: row.name, run: func(tr *trial) { tr.match(row) }})
	}
	return cases
}

// match appends the records that must not come among those that must.
func (tr *trial) match(row matchingRow) {
	n, partition := unique(), tr.partition()
	s := tr.session()
	for _, rule := range row.rules {
		s.listen(value(rule, n))
	}
	var records []string
	var wanted []bool
	for i := range max(len(row.yes), len(row.no)) {
		if i < len(row.no) {
			records, wanted = append(records, value(row.no[i], n)), append(wanted, false)
		}
		if i < len(row.yes) {
			records, wanted = append(records, value(row.yes[i], n)), append(wanted, true)
		}
	}
	cursors := tr.produce(partition, records...)
	came := s.before(partition)
	for i, at := range cursors {
		times := 0
		for _, p := range came {
			if p.at == at {
				times++
			}
		}
		if want := map[bool]int{true: 1}[wanted[i]]; times != want {
			tr.Errorf("with rules %s the record %s came %d times, want %d", row.rules, records[i], times, want)
		}
	}
	if want := len(row.yes); len(came) > want {
		tr.Errorf("%d records came, want %d", len(came), want)
	}
}

// fieldRows try each integer field alone.
func fieldRows() []matchingRow {
	var rows []matchingRow
	for i, f := range integerFields {
		other := integerFields[(i+1)%len(integerFields)]
		rows = append(rows, matchingRow{
			name:  f + ": equal",
			rules: []string{fmt.Sprintf(`{%q:$N}`, f)},
			yes:   []string{fmt.Sprintf(`{%q:$N}`, f), fmt.Sprintf(`{%q:$N,%q:5,"text":"x"}`, f, other)},
			no:    []string{fmt.Sprintf(`{%q:1}`, f), fmt.Sprintf(`{%q:$N}`, other), fmt.Sprintf(`{%q:$N0}`, f), `{"text":"$N"}`},
		}, matchingRow{
			name:  f + ": any of a list",
			rules: []string{fmt.Sprintf(`{%q:[1$N,$N,2$N]}`, f)},
			yes:   []string{fmt.Sprintf(`{%q:$N}`, f), fmt.Sprintf(`{%q:1$N}`, f), fmt.Sprintf(`{%q:2$N}`, f)},
			no:    []string{fmt.Sprintf(`{%q:3$N}`, f), fmt.Sprintf(`{%q:1}`, f), fmt.Sprintf(`{%q:$N}`, other)},
		})
	}
	return rows
}

var listRows = []matchingRow{
	{
		name:  "lists in two fields: any of each",
		rules: []string{`{"app_id":[$N,1$N],"server_id":[1,2]}`},
		yes:   []string{`{"app_id":$N,"server_id":1}`, `{"app_id":$N,"server_id":2}`, `{"app_id":1$N,"server_id":1}`, `{"app_id":1$N,"server_id":2}`},
		no:    []string{`{"app_id":$N,"server_id":3}`, `{"app_id":2$N,"server_id":1}`, `{"app_id":$N}`, `{"server_id":1}`},
	}, {
		name:  "the same value twice in a list",
		rules: []string{`{"app_id":[$N,$N,"$N"],"server_id":[1,1]}`},
		yes:   []string{`{"app_id":$N,"server_id":1}`},
	},
}

var missingRows = []matchingRow{
	{
		name:  "missing is not 0",
		rules: []string{`{"app_id":$N,"server_id":0}`},
		yes:   []string{`{"app_id":$N,"server_id":0}`, `{"app_id":$N,"server_id":"0"}`},
		no:    []string{`{"app_id":$N}`, `{"app_id":$N,"agent_id":0,"pid":0}`},
	}, {
		name:  "missing is not the empty channel",
		rules: []string{`{"app_id":$N,"channel":""}`},
		yes:   []string{`{"app_id":$N,"channel":""}`},
		no:    []string{`{"app_id":$N}`, `{"app_id":$N,"channel":" "}`},
	}, {
		name:  "missing text has no keyword",
		rules: []string{`{"app_id":$N,"keywords":["gold"]}`},
		yes:   []string{`{"app_id":$N,"text":"gold"}`},
		no:    []string{`{"app_id":$N}`, `{"app_id":$N,"text":""}`, `{"app_id":$N,"name":"gold","channel":"gold","Text":"gold"}`},
	}, {
		name:  "a record without any field",
		rules: []string{`{"app_id":$N}`, `{"agent_id":$N}`, `{"server_id":$N}`, `{"pid":$N}`, `{"channel":"$N"}`, `{"keywords":["$N"]}`},
		no:    []string{`{}`, `{"note":"$N"}`},
	},
}

var combinedRows = []matchingRow{
	{
		name:  "fields are joined by AND",
		rules: []string{`{"app_id":$N,"agent_id":1,"server_id":2,"pid":3,"channel":"world","keywords":["gold"]}`},
		yes:   []string{`{"app_id":$N,"agent_id":1,"server_id":2,"pid":3,"channel":"world","text":"gold"}`},
		no: []string{
			`{"app_id":1,"agent_id":1,"server_id":2,"pid":3,"channel":"world","text":"gold"}`,
			`{"app_id":$N,"agent_id":2,"server_id":2,"pid":3,"channel":"world","text":"gold"}`,
			`{"app_id":$N,"agent_id":1,"server_id":1,"pid":3,"channel":"world","text":"gold"}`,
			`{"app_id":$N,"agent_id":1,"server_id":2,"pid":1,"channel":"world","text":"gold"}`,
			`{"app_id":$N,"agent_id":1,"server_id":2,"pid":3,"channel":"guild","text":"gold"}`,
			`{"app_id":$N,"agent_id":1,"server_id":2,"pid":3,"channel":"world","text":"silver"}`,
			`{"app_id":$N}`,
		},
	}, {
		name:  "rules are joined by OR",
		rules: []string{`{"app_id":$N,"server_id":1}`, `{"app_id":$N,"channel":"world"}`, `{"app_id":$N,"keywords":["gold"]}`},
		yes:   []string{`{"app_id":$N,"server_id":1}`, `{"app_id":$N,"channel":"world"}`, `{"app_id":$N,"text":"gold"}`},
		no:    []string{`{"app_id":$N,"server_id":2,"channel":"guild","text":"silver"}`},
	}, {
		name:  "a record comes once, however many rules match",
		rules: []string{`{"app_id":$N}`, `{"app_id":$N}`, `{"app_id":[$N,1$N]}`, `{"app_id":$N,"server_id":1}`, `{"server_id":1,"app_id":[$N]}`, `{"app_id":$N,"keywords":["a","b"]}`},
		yes:   []string{`{"app_id":$N,"server_id":1,"text":"ab ab"}`, `{"app_id":$N}`},
	}, {
		name:  "the same fields with other values",
		rules: []string{`{"app_id":$N,"server_id":1}`, `{"app_id":$N,"server_id":2}`, `{"app_id":1$N,"server_id":1}`},
		yes:   []string{`{"app_id":$N,"server_id":1}`, `{"app_id":$N,"server_id":2}`, `{"app_id":1$N,"server_id":1}`},
		no:    []string{`{"app_id":1$N,"server_id":2}`},
	}, {
		name:  "a rule's fields are not mixed up",
		rules: []string{`{"app_id":$N,"server_id":1,"agent_id":2}`},
		yes:   []string{`{"agent_id":2,"server_id":1,"app_id":$N}`},
		no:    []string{`{"app_id":$N,"server_id":2,"agent_id":1}`, `{"app_id":1,"server_id":$N,"agent_id":2}`},
	},
}

var integerRows = []matchingRow{
	{
		name:  "integers in strings are integers",
		rules: []string{`{"app_id":"$N","server_id":["1",2]}`},
		yes:   []string{`{"app_id":$N,"server_id":1}`, `{"app_id":"$N","server_id":"1"}`, `{"app_id":"$N","server_id":2}`, `{"app_id":$N,"server_id":"2"}`},
		no:    []string{`{"app_id":"$N","server_id":"3"}`},
	}, {
		name:  "pid beyond 2^53 is exact",
		rules: []string{`{"app_id":$N,"pid":9007199254740993}`},
		yes:   []string{`{"app_id":$N,"pid":9007199254740993}`, `{"app_id":$N,"pid":"9007199254740993"}`},
		no:    []string{`{"app_id":$N,"pid":9007199254740992}`, `{"app_id":$N,"pid":9007199254740994}`},
	}, {
		name:  "2^63-1",
		rules: []string{`{"app_id":$N,"pid":"9223372036854775807"}`},
		yes:   []string{`{"app_id":$N,"pid":9223372036854775807}`},
		no:    []string{`{"app_id":$N,"pid":9223372036854775806}`, `{"app_id":$N,"pid":0}`},
	}, {
		name:  "0 is a value",
		rules: []string{`{"app_id":$N,"pid":0}`},
		yes:   []string{`{"app_id":$N,"pid":0}`},
		no:    []string{`{"app_id":$N,"pid":1}`},
	},
}

var channelRows = []matchingRow{
	{
		name:  "channel: equal",
		rules: []string{`{"channel":"c$N"}`},
		yes:   []string{`{"channel":"c$N"}`, `{"channel":"\u0063$N","app_id":1}`},
		no:    []string{`{"channel":"C$N"}`, `{"channel":"c$N "}`, `{"channel":"$N"}`, `{"channel":"c$N1"}`, `{"text":"c$N"}`},
	}, {
		name:  "channel: any of a list, the empty one too",
		rules: []string{`{"app_id":$N,"channel":["","世界","a\"b"]}`},
		yes:   []string{`{"app_id":$N,"channel":""}`, `{"app_id":$N,"channel":"世界"}`, `{"app_id":$N,"channel":"\u4e16\u754c"}`, `{"app_id":$N,"channel":"a\"b"}`},
		no:    []string{`{"app_id":$N}`, `{"app_id":$N,"channel":"世"}`},
	}, {
		name:  "channel: a digit is not a number",
		rules: []string{`{"app_id":$N,"channel":"1"}`},
		yes:   []string{`{"app_id":$N,"channel":"1"}`},
		no:    []string{`{"app_id":$N,"channel":"01"}`},
	},
}

var keywordRows = []matchingRow{
	{
		name:  "keywords: any, anywhere",
		rules: []string{`{"app_id":$N,"keywords":["gold","代练"]}`},
		yes: []string{
			`{"app_id":$N,"text":"gold"}`, `{"app_id":$N,"text":"gold for sale"}`, `{"app_id":$N,"text":"sell gold"}`,
			`{"app_id":$N,"text":"marigolds"}`, `{"app_id":$N,"text":"代练"}`, `{"app_id":$N,"text":"专业代练，便宜"}`, `{"app_id":$N,"text":"gold代练"}`,
		},
		no: []string{`{"app_id":$N,"text":"g old"}`, `{"app_id":$N,"text":"gol"}`, `{"app_id":$N,"text":"old"}`, `{"app_id":$N,"text":"代 练"}`, `{"app_id":$N,"text":"练代"}`},
	}, {
		name:  "keywords: without a field",
		rules: []string{`{"keywords":["kw$N"]}`},
		yes:   []string{`{"text":"xKW$Nx"}`, `{"app_id":1,"channel":"","text":"kw$N"}`},
		no:    []string{`{"text":"kw"}`, `{"channel":"kw$N"}`},
	}, {
		name:  "keywords: case does not count",
		rules: []string{`{"app_id":$N,"keywords":["GoLd"]}`},
		yes:   []string{`{"app_id":$N,"text":"gold"}`, `{"app_id":$N,"text":"GOLD"}`, `{"app_id":$N,"text":"xgOlDx"}`},
		no:    []string{`{"app_id":$N,"text":"go1d"}`},
	}, {
		name:  "keywords: found after a false beginning",
		rules: []string{`{"app_id":$N,"keywords":["aab"]}`},
		yes:   []string{`{"app_id":$N,"text":"aaab"}`, `{"app_id":$N,"text":"AaAaB"}`},
		no:    []string{`{"app_id":$N,"text":"aa b"}`},
	}, {
		name:  "keywords: escapes stand for characters",
		rules: []string{`{"app_id":$N,"keywords":["\u4ee3\u7ec3","a\nb","\""]}`},
		yes:   []string{`{"app_id":$N,"text":"代练"}`, `{"app_id":$N,"text":"\u4ee3练"}`, `{"app_id":$N,"text":"a\u000ab"}`, `{"app_id":$N,"text":"\\\""}`},
		no:    []string{`{"app_id":$N,"text":"u4ee3"}`, `{"app_id":$N,"text":"a\\nb"}`},
	}, {
		name:  "keywords: blanks count",
		rules: []string{`{"app_id":$N,"keywords":[" a "]}`},
		yes:   []string{`{"app_id":$N,"text":"x A x"}`},
		no:    []string{`{"app_id":$N,"text":"a"}`, `{"app_id":$N,"text":" a"}`},
	}, {
		name:  "keywords: emoji and NUL",
		rules: []string{`{"app_id":$N,"keywords":["😀","\u0000b"]}`},
		yes:   []string{`{"app_id":$N,"text":"a😀b"}`, `{"app_id":$N,"text":"\ud83d\ude00"}`, `{"app_id":$N,"text":"a\u0000B"}`},
		no:    []string{`{"app_id":$N,"text":"😁"}`, `{"app_id":$N,"text":"ab"}`},
	}, {
		name:  "keywords: not part of a character",
		rules: []string{`{"app_id":$N,"keywords":["é"]}`},
		yes:   []string{`{"app_id":$N,"text":"É"}`},
		no:    []string{`{"app_id":$N,"text":"è"}`, `{"app_id":$N,"text":"e\u0301"}`, `{"app_id":$N,"text":"e"}`},
	}, {
		name:  "keywords: one of many at a border",
		rules: []string{`{"app_id":$N,"keywords":["start","end","both"]}`},
		yes:   []string{`{"app_id":$N,"text":"start of it"}`, `{"app_id":$N,"text":"at the end"}`, `{"app_id":$N,"text":"both"}`},
		no:    []string{`{"app_id":$N,"text":"star t en d bot h"}`},
	},
}

// Unicode simple folding: characters that differ in case alone are the same, one to one.
var foldingRows = []matchingRow{
	folding("Kelvin sign", "k", []string{"k", "K", "\u212a"}, []string{"x"}),
	folding("Kelvin sign as keyword", "\u212a", []string{"k", "K", "\u212a"}, []string{"c"}),
	folding("long s", "s", []string{"s", "S", "ſ"}, []string{"f"}),
	folding("long s as keyword", "maſt", []string{"mast", "MAST", "maſt"}, []string{"maft"}),
	folding("sigma", "σ", []string{"σ", "ς", "Σ"}, []string{"s"}),
	folding("final sigma as keyword", "ὀδυσσεύς", []string{"ὈΔΥΣΣΕΎΣ", "ὀδυσσεύσ"}, []string{"ὀδυσσεύ"}),
	folding("dotless i is no i", "i", []string{"i", "I"}, []string{"ı", "İ"}),
	folding("dotless i as keyword", "ı", []string{"ı"}, []string{"i", "I"}),
	folding("I with a dot as keyword", "İ", []string{"İ"}, []string{"i", "I", "ı"}),
	folding("sharp s", "ß", []string{"ß", "ẞ"}, []string{"ss", "SS", "s"}),
	folding("Ångström sign", "å", []string{"å", "Å", "\u212b"}, []string{"a"}),
	folding("micro sign", "\u00b5", []string{"\u00b5", "\u03bc", "\u039c"}, []string{"u"}),
	folding("Ohm sign", "ω", []string{"ω", "Ω", "\u2126"}, []string{"o"}),
	folding("Cyrillic", "золото", []string{"ЗОЛОТО", "Золото"}, []string{"золот"}),
	folding("Greek with three cases of theta", "θ", []string{"θ", "Θ", "ϑ", "ϴ"}, []string{"o"}),
	folding("digraph with three cases", "ǆ", []string{"Ǆ", "ǅ", "ǆ"}, []string{"dž"}),
	folding("full width", "ｇｏｌｄ", []string{"ＧＯＬＤ"}, []string{"gold"}),
	folding("four bytes long", "𐐨", []string{"𐐀"}, []string{"𐐁"}),
	folding("ligature is one character", "ﬁ", []string{"ﬁ"}, []string{"fi"}),
}

func folding(name, keyword string, yes, no []string) matchingRow {
	texts := func(words []string) (records []string) {
		for _, w := range words {
			records = append(records, fmt.Sprintf(`{"app_id":$N,"text":"<%s>"}`, w))
		}
		return records
	}
	return matchingRow{
		name:  "folding: " + name,
		rules: []string{fmt.Sprintf(`{"app_id":$N,"keywords":["%s"]}`, keyword)},
		yes:   texts(yes),
		no:    texts(no),
	}
}

// recordTextRows try what JSON allows a record to look like.
var recordTextRows = []matchingRow{
	{
		name:  "of doubles the last counts",
		rules: []string{`{"app_id":$N}`},
		yes:   []string{`{"app_id":1,"app_id":$N}`, `{"app_id":"x","app_id":$N}`, `{"app_id":null,"app_id":"$N"}`},
		no:    []string{`{"app_id":$N,"app_id":1}`, `{"app_id":$N,"app_id":"1"}`},
	}, {
		name:  "of double texts the last counts",
		rules: []string{`{"app_id":$N,"keywords":["gold"]}`},
		yes:   []string{`{"app_id":$N,"text":"x","text":"gold"}`, `{"text":5,"app_id":$N,"text":"gold"}`},
		no:    []string{`{"app_id":$N,"text":"gold","text":"x"}`},
	}, {
		name:  "names match exactly",
		rules: []string{`{"app_id":$N}`},
		yes:   []string{`{"app\u005fid":$N}`, `{"App_ID":"no number","app_id":$N}`},
		no:    []string{`{"App_ID":$N}`, `{"APP_ID":$N}`, `{"app_id ":$N}`, `{"appid":$N}`, `{"a":{"app_id":$N}}`, `{"app_id":1,"a":[{"app_id":$N}]}`},
	}, {
		name:  "members of other objects are no fields",
		rules: []string{`{"app_id":$N,"channel":"c"}`},
		yes:   []string{`{"app_id":$N,"extra":{"channel":"x","app_id":null},"channel":"c"}`},
		no:    []string{`{"app_id":$N,"extra":{"channel":"c"}}`},
	}, {
		name:  "white space and order do not count",
		rules: []string{`{"app_id":$N,"server_id":1}`},
		yes:   []string{"\r\n\t { \"server_id\" :\t1 ,\n\"app_id\" :\r\n$N } \n", `{"z":0,"server_id":1,"y":0,"app_id":$N,"x":0}`},
	},
}
