package chat

import (
	"bytes"
	"unicode/utf8"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
)

// Field is a field of a record that a rule can put a condition on.
type Field uint8

// The integer fields come first: they index Record.IDs and Rule.IDs.
const (
	AppID Field = iota
	AgentID
	ServerID
	PID
	Channel
	Text

	IDFields = int(PID) + 1
)

var fieldNames = [...]string{"app_id", "agent_id", "server_id", "pid", "channel", "text"}

// String is the field's name in JSON.
func (f Field) String() string { return fieldNames[f] }

// FieldSet is a set of fields.
type FieldSet uint8

// Has reports whether f is in the set.
func (s FieldSet) Has(f Field) bool { return s&(1<<f) != 0 }

// With is the set and f.
func (s FieldSet) With(f Field) FieldSet { return s | 1<<f }

// Record is one chat line: the fields that rules look at. A field that is not Present has its zero
// value, and no condition on it is met. The other fields (name, ts, whatever a game adds) are not
// looked at; they reach the client in the record's own JSON.
type Record struct {
	Present FieldSet
	IDs     [IDFields]int64
	Channel string
	Text    string
}

// Undecodable is the reason why a Kafka value is not a record.
type Undecodable uint8

// The reasons, in the order in which they are looked for.
const (
	NullValue   Undecodable = iota // no value: a tombstone
	TooLong                        // longer than the configured limit
	InvalidUTF8                    // would make every browser fail its socket
	InvalidJSON                    // not one JSON text
	NotObject                      // JSON, but not an object
	WrongType                      // a field that rules look at has another type than theirs
	Undecodables
)

var undecodableNames = [Undecodables]string{"null_value", "too_long", "invalid_utf8", "invalid_json", "not_object", "wrong_type"}

// String is the reason's label in metrics.
func (u Undecodable) String() string { return undecodableNames[u] }

func (u Undecodable) Error() string { return "chat: undecodable record: " + u.String() }

// DecodeRecord reads a Kafka value, which must not change for as long as the record is in use: its strings
// are parts of it. The error is always an Undecodable. Names match exactly, of doubles the last counts.
func DecodeRecord(value []byte, maxBytes int) (Record, error) {
	switch {
	case value == nil:
		return Record{}, NullValue
	case len(value) > maxBytes:
		return Record{}, TooLong
	case !utf8.Valid(value):
		return Record{}, InvalidUTF8
	}
	var r Record
	var wrong FieldSet // of doubles the last counts, also where an earlier one has a wrong type
	t := jsonText{bytes: value}
	isObject := t.punctuation('{')
	whole := false
	if isObject {
		whole = t.members(1, func(name, value []byte) {
			field, known := recordField(content(name))
			if !known {
				return
			}
			if r.set(field, value) {
				wrong &^= 1 << field
			} else {
				wrong = wrong.With(field)
			}
		})
	} else {
		whole = t.value(0)
	}
	t.space()
	switch {
	case !whole || t.at < len(value):
		return Record{}, InvalidJSON
	case !isObject:
		return Record{}, NotObject
	case wrong != 0:
		return Record{}, WrongType
	}
	return r, nil
}

// content is what a JSON string says: a part of it, unless it has escapes.
func content(quoted []byte) []byte {
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	// A lone surrogate stands as U+FFFD, and is no error: the text has been checked.
	said, _ := jsontext.AppendUnquote(nil, quoted)
	return said
}

func recordField(name []byte) (Field, bool) {
	switch string(name) {
	case "app_id":
		return AppID, true
	case "agent_id":
		return AgentID, true
	case "server_id":
		return ServerID, true
	case "pid":
		return PID, true
	case "channel":
		return Channel, true
	case "text":
		return Text, true
	}
	return 0, false
}

// set reports whether value has the field's type.
func (r *Record) set(field Field, value []byte) bool {
	switch field {
	case Channel, Text:
		if value[0] != '"' {
			return false
		}
		said := content(value)
		if field == Text {
			r.Text = unsafe.String(unsafe.SliceData(said), len(said))
		} else {
			r.Channel = unsafe.String(unsafe.SliceData(said), len(said))
		}
	default:
		n, err := parseInteger(value)
		if err != nil {
			return false
		}
		r.IDs[field] = n
	}
	r.Present = r.Present.With(field)
	return true
}
