package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

func protocolCases() []testCase {
	return append(append(append(idCases(), badRequestCases()...), pathCases()...), []testCase{
		{name: "ping tells the time", run: pingTime},
		{name: "ping returns its params", run: pingEcho},
		{name: "answers are whole unmasked text frames", run: answerFrames},
		{name: "100 pipelined requests are answered in order", run: pipelined},
		{name: "requests that change rules are answered in order", run: pipelinedRules},
		{name: "duplicate keys are answered once", run: duplicateKeys},
		{name: "white space around a request", run: whiteSpace},
		{name: "unknown members of a request are not looked at", run: unknownMembers},
		{name: "many bad messages do not end the connection", run: manyBadMessages},
	}...)
}

// ids are values that a request's id may have: any JSON.
var ids = []struct{ name, id string }{
	{"null", `null`},
	{"0", `0`},
	{"a negative number", `-7`},
	{"a fraction", `1.50`},
	{"a number beyond 64 bits", `12345678901234567890`},
	{"a number beyond a double", `1e400`},
	{"a number with many digits", `0.1234567890123456789012345678901234567890`},
	{"true", `true`},
	{"an empty string", `""`},
	{"a string with escapes", `"a\"b\\c\/\b\f\n\r\t\u00e9"`},
	{"a string in Chinese", `"代练 😀"`},
	{"a string with a surrogate pair", `"\ud83d\ude00"`},
	{"a long string", `"` + strings.Repeat("id", 1000) + `"`},
	{"an object", `{"a":[1,{"b":null}],"c":1e400}`},
	{"an empty object", `{}`},
	{"an array", `[1,"two",null,[],{}]`},
	{"white space inside", "[ 1 ,\t{ \"a\" : 2 } ]"},
}

func idCases() []testCase {
	cases := []testCase{{name: "id: absent stays absent", run: func(tr *trial) {
		s := tr.session()
		for _, m := range []string{`{"path":"/ping"}`, `{"path":"/nope"}`, `{"path":"/listen"}`, `{}`} {
			if a := s.say(m); a.ID != nil {
				tr.Errorf("%s is answered with an id: %s", m, a.raw)
			}
		}
	}}}
	for _, row := range ids {
		cases = append(cases, testCase{name: "id: " + row.name, run: func(tr *trial) {
			s := tr.session()
			for _, rest := range []string{`"path":"/ping"`, `"path":"/nope"`, `"path":"/listen"`, `"path":7`, `"params":{}`} {
				a := s.say(`{"id":` + row.id + `,` + rest + `}`)
				tr.wantSameJSON("the id", string(a.ID), row.id)
			}
		}})
	}
	return cases
}

// wantSameJSON compares values: numbers by their digits, strings by what they stand for.
func (tr *trial) wantSameJSON(what, got, want string) {
	tr.Helper()
	g, err := decoded(got)
	if err != nil {
		tr.Fatalf("%s: %q: %v; want %s", what, got, err, want)
	}
	w, err := decoded(want)
	if err != nil {
		tr.Fatalf("the case itself wants %q: %v", want, err)
	}
	if !reflect.DeepEqual(g, w) {
		tr.Errorf("%s: %s, want %s", what, got, want)
	}
}

func decoded(text string) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// badRequests are texts that are not a JSON object with a string path. id is what the answer has to
// have, empty for none.
var badRequests = []struct{ name, text, id string }{
	{"an empty text", ``, ``},
	{"white space", " \r\n\t", ``},
	{"not JSON", `hello`, ``},
	{"truncated JSON", `{"path":"/ping","id":1`, ``},
	{"truncated string", `{"path":"/pi`, ``},
	{"half a literal", `{"path":"/ping","params":tru}`, ``},
	{"trailing garbage", `{"path":"/ping","id":1}x`, ``},
	{"a second object", `{"path":"/ping","id":1}{"path":"/ping","id":2}`, ``},
	{"a second brace", `{"path":"/ping","id":1}}`, ``},
	{"a trailing comma", `{"path":"/ping","id":1,}`, ``},
	{"single quotes", `{'path':'/ping'}`, ``},
	{"a name without quotes", `{path:"/ping"}`, ``},
	{"a leading zero", `{"path":"/ping","id":01}`, ``},
	{"NaN", `{"path":"/ping","id":NaN}`, ``},
	{"a control character in a string", "{\"path\":\"/ping\",\"id\":\"\n\"}", ``},
	{"an unknown escape", `{"path":"/ping","id":"\x"}`, ``},
	{"a byte order mark", "\ufeff{\"path\":\"/ping\"}", ``},
	{"an array", `["/ping"]`, ``},
	{"a string", `"/ping"`, ``},
	{"a number", `7`, ``},
	{"null", `null`, ``},
	{"no path", `{}`, ``},
	{"no path, with id", `{"id":"x"}`, `"x"`},
	{"no path, with params", `{"id":5,"params":{}}`, `5`},
	{"path null", `{"path":null,"id":5}`, `5`},
	{"path a number", `{"path":7,"id":5}`, `5`},
	{"path an array", `{"path":["/ping"],"id":5}`, `5`},
	{"path an object", `{"id":null,"path":{}}`, `null`},
	{"Path with a capital", `{"Path":"/ping","id":5}`, `5`},
	{"deep nesting, truncated", `{"path":"/ping","params":` + strings.Repeat("[", 20000), ``},
}

func badRequestCases() []testCase {
	var cases []testCase
	for _, row := range badRequests {
		cases = append(cases, testCase{name: "bad_request: " + row.name, run: func(tr *trial) {
			s := tr.session()
			a := s.say(row.text)
			if a.Error == nil || a.Error.Code != "bad_request" || a.Error.Message == "" {
				tr.Fatalf("answered with %s, want bad_request and a message", a.raw)
			}
			if row.id == "" && a.ID != nil {
				tr.Errorf("the answer has an id: %s", a.raw)
			} else if row.id != "" {
				tr.wantSameJSON("the id", string(a.ID), row.id)
			}
			if a.Path != nil && !strings.Contains(row.text, `"path"`) {
				tr.Errorf("the answer has a path that the request had not: %s", a.raw)
			}
			s.ping() // it was answered once, and the connection stays
		}})
	}
	return cases
}

// paths are compared byte for byte.
var paths = []struct{ name, path, code string }{
	{"empty", `""`, "unknown_path"},
	{"unknown", `"/nope"`, "unknown_path"},
	{"a capital", `"/Ping"`, "unknown_path"},
	{"capitals", `"/PING"`, "unknown_path"},
	{"a slash behind", `"/ping/"`, "unknown_path"},
	{"no slash before", `"ping"`, "unknown_path"},
	{"two slashes", `"//ping"`, "unknown_path"},
	{"white space", `"/ping "`, "unknown_path"},
	{"a NUL behind", `"/ping\u0000"`, "unknown_path"},
	{"a query", `"/ping?x=1"`, "unknown_path"},
	{"the server's own /chat", `"/chat"`, "unknown_path"},
	{"the server's own /notice", `"/notice"`, "unknown_path"},
	{"Chinese", `"/代练"`, "unknown_path"},
	{"escapes that spell a path", `"\/\u0070ing"`, ""},
}

func pathCases() []testCase {
	var cases []testCase
	for _, row := range paths {
		cases = append(cases, testCase{name: "path: " + row.name, run: func(tr *trial) {
			s := tr.session()
			a := s.say(`{"path":` + row.path + `,"id":1}`)
			switch {
			case row.code == "" && a.Error != nil:
				tr.Errorf("refused: %s", a.raw)
			case row.code != "" && (a.Error == nil || a.Error.Code != row.code || a.Error.Message == ""):
				tr.Errorf("answered with %s, want %s and a message", a.raw, row.code)
			}
			tr.wantSameJSON("the path", string(a.Path), row.path)
			s.ping()
		}})
	}
	return cases
}

func pingTime(tr *trial) {
	var r struct {
		Time int64 `json:"time"`
	}
	raw := tr.session().result("/ping", "")
	if err := json.Unmarshal(raw, &r); err != nil {
		tr.Fatalf("the result of /ping is %s: %v", raw, err)
	}
	if off := time.Since(time.UnixMilli(r.Time)).Abs(); off > time.Hour {
		tr.Errorf("the time is %d, which is %v off", r.Time, off)
	}
}

func pingEcho(tr *trial) {
	s := tr.session()
	for _, row := range ids {
		var r struct {
			Echo json.RawMessage `json:"echo"`
		}
		raw := s.result("/ping", row.id)
		if err := json.Unmarshal(raw, &r); err != nil {
			tr.Fatalf("the result of /ping is %s: %v", raw, err)
		}
		tr.wantSameJSON("echo", string(r.Echo), row.id)
	}
}

func answerFrames(tr *trial) {
	s := tr.session()
	s.write(text(`{"path":"/ping","id":1}`) + text(`nonsense`) + text(`{"path":"/ping","id":2}`))
	for range 3 { // frame itself fails for masked, fragmented and reserved
		if f := s.frame(); f.op != opText || !json.Valid(f.payload) {
			tr.Errorf("came %v, want a text frame with JSON", f)
		}
	}
}

func pipelined(tr *trial) {
	const requests = 100
	var all bytes.Buffer
	for i := range requests {
		path := []string{"/ping", "/rules", "/nope", "/listen"}[i%4]
		all.WriteString(text(fmt.Sprintf(`{"path":%q,"id":%d}`, path, i)))
	}
	s := tr.session()
	s.write(all.String())
	for i := range requests {
		if a := s.answer(); string(a.ID) != fmt.Sprint(i) {
			tr.Fatalf("answer number %d is %s", i, a.raw)
		}
	}
}

func pipelinedRules(tr *trial) {
	s := tr.session()
	var all bytes.Buffer
	const rounds = 25
	for i := range rounds {
		all.WriteString(text(fmt.Sprintf(`{"path":"/listen","id":%d,"params":{"rule_id":"a","rule":{"app_id":%d}}}`, 4*i, i)))
		all.WriteString(text(fmt.Sprintf(`{"path":"/rules","id":%d}`, 4*i+1)))
		all.WriteString(text(fmt.Sprintf(`{"path":"/unlisten","id":%d,"params":{"rule_id":"a"}}`, 4*i+2)))
		all.WriteString(text(fmt.Sprintf(`{"path":"/rules","id":%d}`, 4*i+3)))
	}
	s.write(all.String())
	for i := range 4 * rounds {
		a := s.answer()
		if string(a.ID) != fmt.Sprint(i) || a.Error != nil {
			tr.Fatalf("answer number %d is %s", i, a.raw)
		}
		if listed := strings.Count(string(a.Result), `"rule"`); i%4 == 1 && listed != 1 || i%4 == 3 && listed != 0 {
			tr.Fatalf("answer number %d lists %d rules: %s", i, listed, a.raw)
		}
	}
}

// The design leaves open whether the last of doubles counts or the text is refused.
func duplicateKeys(tr *trial) {
	s := tr.session()
	a := s.say(`{"path":"/nope","path":"/ping","id":1,"id":2}`)
	if a.Error != nil && a.Error.Code != "bad_request" {
		tr.Errorf("answered with %s, want a result or bad_request", a.raw)
	}
	if a.Error == nil && string(a.ID) != "2" {
		tr.Errorf("answered with %s, want the last id", a.raw)
	}
	s.ping()
}

func whiteSpace(tr *trial) {
	a := tr.session().say("\r\n\t { \"id\" :\n 1 , \"params\" : { } , \"path\" : \"/ping\" } \n")
	if a.Error != nil || string(a.ID) != "1" {
		tr.Errorf("answered with %s", a.raw)
	}
}

func unknownMembers(tr *trial) {
	a := tr.session().say(`{"path":"/ping","id":1,"jsonrpc":"2.0","more":{"path":"/nope","id":2}}`)
	if a.Error != nil || string(a.ID) != "1" || string(a.Path) != `"/ping"` {
		tr.Errorf("answered with %s", a.raw)
	}
}

func manyBadMessages(tr *trial) {
	s := tr.session()
	for range 50 {
		s.write(text(`{"path":`))
	}
	for range 50 {
		if a := s.answer(); a.Error == nil || a.Error.Code != "bad_request" {
			tr.Fatalf("answered with %s", a.raw)
		}
	}
	s.ping()
}
