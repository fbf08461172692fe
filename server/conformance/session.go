package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// session is one WebSocket.
type session struct {
	*peer
	asked   int    // requests sent by ask
	pushed  []push // that came while something else was waited for
	fenceID int64  // app_id of its fences, 0 until there is a rule for it
}

// push is a record that came.
type push struct {
	at      cursor
	record  []byte // without white space around it
	message []byte // all of it
}

// answer is the answer to a request. Members that it does not have are nil.
type answer struct {
	Path   json.RawMessage `json:"path"`
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	raw []byte
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// message reads the next text message that is no notice of the feed's state. Pings are answered.
func (s *session) message() []byte {
	s.Helper()
	for {
		f := s.frame()
		switch f.op {
		case opPing:
			s.write(frame(fin|opPong, string(f.payload)))
		case opPong:
		case opText:
			if kind, _ := notice(f.payload); kind == "" {
				return f.payload
			}
		default:
			s.Fatalf("came %v, want a text message", f)
		}
	}
}

// notice is the kind of a server notice, empty for what is none.
func notice(message []byte) (string, error) {
	var m struct {
		Path   string `json:"path"`
		Params struct {
			Kind string `json:"kind"`
		} `json:"params"`
	}
	if err := json.Unmarshal(message, &m); err != nil || m.Path != "/notice" {
		return "", err
	}
	return m.Params.Kind, nil
}

// next is the next push: one that has come already, or the next to come.
func (s *session) next() push {
	s.Helper()
	if len(s.pushed) == 0 {
		m := s.message()
		p, ok := s.asPush(m)
		if !ok {
			s.Fatalf("came %.300q, want a push", m)
		}
		return p
	}
	p := s.pushed[0]
	s.pushed = s.pushed[1:]
	return p
}

// asPush reads a message that is a push. Only an answer has a result or an error.
func (s *session) asPush(message []byte) (push, bool) {
	s.Helper()
	var m struct {
		Path   string `json:"path"`
		Params *struct {
			Cursor *cursor         `json:"cursor"`
			Record json.RawMessage `json:"record"`
		} `json:"params"`
	}
	d := json.NewDecoder(bytes.NewReader(message))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil || m.Path != "/chat" || m.Params == nil {
		return push{}, false
	}
	if m.Params.Cursor == nil || m.Params.Record == nil {
		s.Fatalf("a push without cursor or record: %.300q", message)
	}
	return push{*m.Params.Cursor, m.Params.Record, message}, true
}

// answer reads the next answer, and keeps the pushes before it.
func (s *session) answer() answer {
	s.Helper()
	for {
		m := s.message()
		if p, ok := s.asPush(m); ok {
			s.pushed = append(s.pushed, p)
			continue
		}
		a := answer{raw: m}
		d := json.NewDecoder(bytes.NewReader(m))
		d.DisallowUnknownFields()
		if err := d.Decode(&a); err != nil {
			s.Fatalf("an answer is no answer: %v: %.300q", err, m)
		}
		if (a.Result == nil) == (a.Error == nil) {
			s.Fatalf("an answer has either a result or an error: %.300q", m)
		}
		return a
	}
}

// say sends a text and reads the answer to it.
func (s *session) say(message string) answer {
	s.Helper()
	s.write(text(message))
	return s.answer()
}

// ask makes a request with an id and reads its answer. Empty params are left out.
func (s *session) ask(path, params string) answer {
	s.Helper()
	s.asked++
	message := fmt.Sprintf(`{"path":%q,"id":%d`, path, s.asked)
	if params != "" {
		message += `,"params":` + params
	}
	a := s.say(message + "}")
	if string(a.ID) != strconv.Itoa(s.asked) || string(a.Path) != strconv.Quote(path) {
		s.Fatalf("the answer to %s with id %d is %.300q", path, s.asked, a.raw)
	}
	return a
}

// result is ask for a request that must not be refused.
func (s *session) result(path, params string) json.RawMessage {
	s.Helper()
	a := s.ask(path, params)
	if a.Error != nil {
		s.Fatalf("%s %.200s: refused: %s: %s", path, params, a.Error.Code, a.Error.Message)
	}
	return a.Result
}

// refused is ask for a request that must be refused with the code. It gives the message.
func (s *session) refused(code, path, params string) string {
	s.Helper()
	a := s.ask(path, params)
	if a.Error == nil {
		s.Fatalf("%s %.200s: accepted: %.200s; want %s", path, params, a.Result, code)
	}
	if a.Error.Code != code || a.Error.Message == "" {
		s.Fatalf("%s %.200s: refused with %q: %q, want %s and a message", path, params, a.Error.Code, a.Error.Message, code)
	}
	return a.Error.Message
}

// listen sets a rule and gives its name, which the server makes.
func (s *session) listen(rule string) string {
	s.Helper()
	return s.ruleID(s.result("/listen", `{"rule":`+rule+`}`))
}

// listenAs sets a rule under a name.
func (s *session) listenAs(name, rule string) {
	s.Helper()
	if got := s.ruleID(s.result("/listen", fmt.Sprintf(`{"rule":%s,"rule_id":%q}`, rule, name))); got != name {
		s.Fatalf("the rule %q was answered as %q", name, got)
	}
}

func (s *session) ruleID(result json.RawMessage) string {
	s.Helper()
	var r struct {
		RuleID string `json:"rule_id"`
	}
	if err := json.Unmarshal(result, &r); err != nil || r.RuleID == "" {
		s.Fatalf("the result of /listen is %.300q (%v), want a rule_id", result, err)
	}
	return r.RuleID
}

func (s *session) unlisten(name string) {
	s.Helper()
	if result := s.result("/unlisten", fmt.Sprintf(`{"rule_id":%q}`, name)); string(result) != "{}" {
		s.Errorf("the result of /unlisten is %s, want {}", result)
	}
}

// ping proves that the session is served.
func (s *session) ping() {
	s.Helper()
	s.result("/ping", "")
}

// before appends a record that this session alone has a rule for, waits for it, and gives all pushes
// that came before. Whatever was appended to the partition earlier has been decided by then.
func (s *session) before(partition int32) []push {
	s.Helper()
	if s.fenceID == 0 {
		s.fenceID = unique()
		s.listenAs("fence", fmt.Sprintf(`{"app_id":%d}`, s.fenceID))
	}
	at := s.produce(partition, value(`{"app_id":$N,"text":"fence"}`, s.fenceID))[0]
	var came []push
	for {
		p := s.next()
		if p.at == at {
			return came
		}
		came = append(came, p)
	}
}

// wantPushes fails the case unless exactly these records of the partition came, in this order.
func (s *session) wantPushes(partition int32, want ...cursor) []push {
	s.Helper()
	came := s.before(partition)
	got := make([]cursor, len(came))
	for i, p := range came {
		got[i] = p.at
	}
	if !slices.Equal(got, want) {
		s.Fatalf("pushed were the records at %v, want %v", got, want)
	}
	return came
}
