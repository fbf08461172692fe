package chat

import (
	"errors"
	"unicode/utf8"
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

// DecodeRecord reads a Kafka value. Its error is always an Undecodable. Names match exactly, of
// doubles the last counts.
func DecodeRecord(value []byte, maxBytes int) (Record, error) {
	var r Record
	switch {
	case value == nil:
		return r, NullValue
	case len(value) > maxBytes:
		return r, TooLong
	case !utf8.Valid(value):
		return r, InvalidUTF8
	}
	var wrong FieldSet // of doubles the last counts, also where an earlier one has a wrong type
	err := scanObject(value, func(name, value []byte) error {
		field, known := recordField(name)
		if !known {
			return nil
		}
		if r.set(field, value) {
			wrong &^= 1 << field
		} else {
			wrong = wrong.With(field)
		}
		return nil
	})
	switch {
	case errors.Is(err, errNotObject):
		return Record{}, NotObject
	case err != nil:
		return Record{}, InvalidJSON
	case wrong != 0:
		return Record{}, WrongType
	}
	return r, nil
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
		if kind(value) != '"' {
			return false
		}
		s, err := unquote(nil, value)
		if err != nil {
			return false
		}
		if field == Text {
			r.Text = string(s)
		} else {
			r.Channel = string(s)
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
