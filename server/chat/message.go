package chat

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The paths of the client protocol.
const (
	PathListen   = "/listen"
	PathUnlisten = "/unlisten"
	PathRules    = "/rules"
	PathPing     = "/ping"
	PathChat     = "/chat"   // server to client: a record
	PathNotice   = "/notice" // server to client: the state of the service
)

// Code is an error code of the client protocol.
type Code string

// The error codes.
const (
	BadRequest   Code = "bad_request"
	UnknownPath  Code = "unknown_path"
	BadRule      Code = "bad_rule"
	TooManyRules Code = "too_many_rules"
	UnknownRule  Code = "unknown_rule"
	Forbidden    Code = "forbidden"
	Busy         Code = "busy"
)

// Error is what a request is answered with when it is refused.
type Error struct {
	Code    Code
	Message string // for people: what is wrong and what to do
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

func badRule(format string, args ...any) *Error {
	return &Error{BadRule, fmt.Sprintf(format, args...)}
}

// Notice is a kind of server notice.
type Notice string

// The kinds of notice.
const (
	FeedStalled Notice = "feed_stalled"
	FeedResumed Notice = "feed_resumed"
	Draining    Notice = "draining"
)

// Cursor is a record's place in Kafka.
type Cursor struct {
	Partition int32
	Offset    int64
}

// Message is a request of a client. Its slices are valid JSON values that alias the client's text;
// nil means that the text had none.
type Message struct {
	Path   string // empty also where there is none: HasPath tells
	ID     []byte
	Params []byte

	path []byte // as given, for the answer
}

// HasPath reports whether the text had a path that is a string.
func (m *Message) HasPath() bool { return m.path != nil }

// ParseMessage reads a client's text. An error says what is wrong with a text that is not a JSON
// object; an object without a string path is a Message that HasPath reports false for.
func ParseMessage(text []byte) (Message, error) {
	var m Message
	err := scanObject(text, func(name, value []byte) error {
		switch string(name) {
		case "path":
			m.Path, m.path = "", nil
			if kind(value) == '"' {
				path, err := unquote(nil, value)
				if err != nil {
					return err
				}
				m.Path, m.path = string(path), value
			}
		case "id":
			m.ID = value
		case "params":
			m.Params = value
		}
		return nil
	})
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// AppendResult appends the answer to m with the given JSON value as its result.
func AppendResult(dst []byte, m *Message, result []byte) []byte {
	dst = append(m.appendHead(dst), `"result":`...)
	return append(append(dst, result...), '}')
}

// AppendError appends the answer to m that refuses it.
func AppendError(dst []byte, m *Message, e *Error) []byte {
	dst = append(m.appendHead(dst), `"error":{"code":`...)
	dst = append(appendQuote(dst, string(e.Code)), `,"message":`...)
	return append(appendQuote(dst, e.Message), `}}`...)
}

func (m *Message) appendHead(dst []byte) []byte {
	dst = append(dst, '{')
	if m.path != nil {
		dst = append(append(append(dst, `"path":`...), m.path...), ',')
	}
	if m.ID != nil {
		dst = append(append(append(dst, `"id":`...), m.ID...), ',')
	}
	return dst
}

// AppendPush appends the message that brings a record, in Kafka's own JSON, to a client.
func AppendPush(dst []byte, at Cursor, record []byte) []byte {
	dst = append(dst, `{"path":"/chat","params":{"cursor":{"partition":`...)
	dst = strconv.AppendInt(dst, int64(at.Partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, at.Offset, 10)
	dst = append(dst, `},"record":`...)
	return append(append(dst, record...), `}}`...)
}

// AppendNotice appends a server notice.
func AppendNotice(dst []byte, kind Notice) []byte {
	dst = append(dst, `{"path":"/notice","params":{"kind":`...)
	return append(appendQuote(dst, string(kind)), `}}`...)
}

// AppendFeedNotice appends the notice that records do not come, or come again. partitions are those
// concerned, none if the whole topic is; since is when the trouble began, in unix milliseconds.
func AppendFeedNotice(dst []byte, kind Notice, partitions []int32, since int64) []byte {
	dst = append(dst, `{"path":"/notice","params":{"kind":`...)
	dst = append(appendQuote(dst, string(kind)), `,"partitions":[`...)
	for i, p := range partitions {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(p), 10)
	}
	dst = append(dst, `],"since":`...)
	return append(strconv.AppendInt(dst, since, 10), `}}`...)
}

// MaxRuleIDBytes is the longest name that a client may give a rule.
const MaxRuleIDBytes = 64

// Listen is the parameters of a /listen.
type Listen struct {
	Rule   *Rule
	RuleID string // empty: the server makes one
}

// ParseListen reads the parameters of a /listen. Its error is an *Error with code BadRule.
func ParseListen(params []byte, limits RuleLimits) (Listen, error) {
	var l Listen
	var rule []byte
	err := scanParams(params, func(name, value []byte) (err error) {
		switch string(name) {
		case "rule":
			rule = value
		case "rule_id":
			l.RuleID, err = parseRuleID(value)
		default:
			err = fmt.Errorf("unknown parameter %q; /listen has rule and rule_id", name)
		}
		return err
	})
	if err != nil {
		return Listen{}, badRule("%v", err)
	}
	if rule == nil {
		return Listen{}, badRule("the parameter rule is missing")
	}
	l.Rule, err = ParseRule(rule, limits)
	return l, err
}

// ParseUnlisten reads the parameters of an /unlisten: the rule's name. Its error is an *Error with
// code BadRule.
func ParseUnlisten(params []byte) (ruleID string, err error) {
	err = scanParams(params, func(name, value []byte) (err error) {
		if string(name) != "rule_id" {
			return fmt.Errorf("unknown parameter %q; /unlisten has rule_id", name)
		}
		ruleID, err = parseRuleID(value)
		return err
	})
	if err == nil && ruleID == "" {
		err = fmt.Errorf("the parameter rule_id is missing")
	}
	if err != nil {
		return "", badRule("%v", err)
	}
	return ruleID, nil
}

func scanParams(params []byte, member func(name, value []byte) error) error {
	if params == nil {
		return fmt.Errorf("params are missing")
	}
	if kind(params) != '{' {
		return fmt.Errorf("params are not an object")
	}
	return scanObject(params, member)
}

func parseRuleID(value []byte) (string, error) {
	if kind(value) == '"' {
		id, err := unquote(nil, value)
		if err == nil && 1 <= len(id) && len(id) <= MaxRuleIDBytes && utf8.Valid(id) {
			return string(id), nil
		}
	}
	return "", fmt.Errorf("rule_id: want a string of 1 to %d bytes", MaxRuleIDBytes)
}

// NamedRule is a rule under the name that a session knows it by.
type NamedRule struct {
	ID   string
	Rule string // JSON as the client gave it
}

// AppendRules appends the result of a /rules.
func AppendRules(dst []byte, rules []NamedRule) []byte {
	dst = append(dst, `{"rules":[`...)
	for i, r := range rules {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendRuleIDMember(dst, r.ID), `,"rule":`...)
		dst = append(append(dst, r.Rule...), '}')
	}
	return append(dst, `]}`...)
}

// AppendRuleID appends the result of a /listen.
func AppendRuleID(dst []byte, id string) []byte {
	return append(appendRuleIDMember(dst, id), '}')
}

func appendRuleIDMember(dst []byte, id string) []byte {
	return appendQuote(append(dst, `{"rule_id":`...), id)
}
