// Package protocol is the chat protocol as its client sees it: requests written, answers and pushes read, and the
// records that a load consists of.
//
// A Script writes the records. Every byte of a record follows from the script and the record's number, so whoever
// receives one can write it again and compare: nothing is stored per record. The package opens nothing, keeps no
// time and knows of no connection.
package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Paths of the protocol.
const (
	PathListen = "/listen"
	PathPing   = "/ping"
	PathChat   = "/chat"
	PathNotice = "/notice"
)

// AppID is the game that all records of the load belong to.
const AppID = 1

// AppendListen appends the request for the records of one group.
func AppendListen(b []byte, id, group int) []byte {
	b = append(b, `{"path":"/listen","id":`...)
	b = strconv.AppendInt(b, int64(id), 10)
	b = append(b, `,"params":{"rule":{"app_id":`...)
	b = strconv.AppendInt(b, AppID, 10)
	b = append(b, `,"server_id":`...)
	b = strconv.AppendInt(b, int64(group), 10)
	return append(b, `}}}`...)
}

// AppendPing appends a ping whose parameters are to come back.
func AppendPing(b []byte, id int, params []byte) []byte {
	b = append(b, `{"path":"/ping","id":`...)
	b = strconv.AppendInt(b, int64(id), 10)
	b = append(b, `,"params":`...)
	b = append(b, params...)
	return append(b, '}')
}

// Message is one message of the server. The fields are JSON texts within the message, nil where absent.
type Message struct {
	Path   string
	ID     []byte
	Result []byte
	Error  []byte
	Params []byte
}

// Push is one record as it reached a client; Record points into the message.
type Push struct {
	Partition int32
	Offset    int64
	Record    []byte
}

// Reader reads messages; it keeps its buffers from one to the next. One goroutine uses it.
type Reader struct {
	decoder jsontext.Decoder
	source  bytes.Reader
}

var errShape = errors.New("protocol: not a message of the chat protocol")

// Message reads any message. Names beyond the protocol's are passed over, as a client should.
func (r *Reader) Message(text []byte) (m Message, err error) {
	err = r.object(text, func(name string, value []byte) error {
		switch name {
		case "path":
			m.Path, err = pathOf(value)
			return err
		case "id":
			m.ID = value
		case "result":
			m.Result = value
		case "error":
			m.Error = value
		case "params":
			m.Params = value
		}
		return nil
	})
	return m, err
}

// pathOf returns the protocol's own string where it can.
func pathOf(value []byte) (string, error) {
	for _, known := range [...]string{PathChat, PathPing, PathListen, PathNotice} {
		if len(value) == len(known)+2 && string(value[1:len(value)-1]) == known {
			return known, nil
		}
	}
	path, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return "", fmt.Errorf("protocol: read path: %w", err)
	}
	return string(path), nil
}

// Pong reads the result of a ping; echo is nil if it has none, or no time.
func (r *Reader) Pong(result []byte) (echo []byte, err error) {
	var timed bool
	err = r.object(result, func(name string, value []byte) error {
		switch name {
		case "time":
			_, err := strconv.ParseInt(string(value), 10, 64)
			timed = err == nil
		case "echo":
			echo = value
		}
		return nil
	})
	if !timed {
		echo = nil
	}
	return echo, err
}

// HasRuleID tells whether a listen was answered with the name of its rule.
func (r *Reader) HasRuleID(result []byte) bool {
	found := false
	err := r.object(result, func(name string, value []byte) error {
		found = found || name == "rule_id" && len(value) > len(`""`) && value[0] == '"'
		return nil
	})
	return err == nil && found
}

// ErrorCode gives the code of an error answer.
func (r *Reader) ErrorCode(body []byte) (code string) {
	err := r.object(body, func(name string, value []byte) error {
		if name == "code" {
			unquoted, err := jsontext.AppendUnquote(nil, value)
			code = string(unquoted)
			return err
		}
		return nil
	})
	if err != nil || code == "" {
		return "an error without a code"
	}
	return code
}

// Push reads a push. The form that servers write in practice is read at a glance, any other as JSON.
func (r *Reader) Push(text []byte) (Push, error) {
	if push, ok := glance(text); ok {
		return push, nil
	}
	m, err := r.Message(text)
	if err != nil {
		return Push{}, err
	}
	if m.Path != PathChat {
		return Push{}, errShape
	}
	return r.pushParams(m.Params)
}

// IsPush tells pushes, by far the most of all messages, from the others.
func IsPush(text []byte) bool { return bytes.HasPrefix(text, []byte(`{"path":"/chat"`)) }

const (
	beforePartition = `{"path":"/chat","params":{"cursor":{"partition":`
	beforeOffset    = `,"offset":`
	beforeRecord    = `},"record":`
	afterRecord     = `}}`
)

func glance(text []byte) (p Push, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte(beforePartition))
	partition, rest, isNumber := cutNumber(rest)
	if !ok || !isNumber || partition > 1<<31-1 {
		return Push{}, false
	}
	rest, ok = bytes.CutPrefix(rest, []byte(beforeOffset))
	offset, rest, isNumber := cutNumber(rest)
	if !ok || !isNumber {
		return Push{}, false
	}
	rest, ok = bytes.CutPrefix(rest, []byte(beforeRecord))
	record, closed := bytes.CutSuffix(rest, []byte(afterRecord))
	// The record itself is to be compared with what was produced, byte for byte, so it need not be read as JSON. But
	// spaces around it are no part of it.
	isObject := bytes.HasPrefix(record, []byte("{")) && bytes.HasSuffix(record, []byte("}"))
	return Push{Partition: int32(partition), Offset: offset, Record: record}, ok && closed && isObject
}

// cutNumber takes a plain decimal number from the front of b.
func cutNumber(b []byte) (number int64, rest []byte, ok bool) {
	digits := 0
	for digits < len(b) && digits < 18 && '0' <= b[digits] && b[digits] <= '9' {
		number = number*10 + int64(b[digits]-'0')
		digits++
	}
	isPlain := digits == 1 || digits > 1 && b[0] != '0'
	return number, b[digits:], isPlain
}

func (r *Reader) pushParams(params []byte) (p Push, err error) {
	var cursor []byte
	err = r.object(params, func(name string, value []byte) error {
		switch name {
		case "cursor":
			cursor = value
		case "record":
			p.Record = value
		}
		return nil
	})
	if err != nil {
		return Push{}, err
	}
	p.Partition, p.Offset = -1, -1
	err = r.object(cursor, func(name string, value []byte) error {
		number, err := strconv.ParseInt(string(value), 10, 64)
		switch {
		case err != nil:
			return errShape
		case name == "partition":
			p.Partition = int32(min(number, 1<<31-1))
		case name == "offset":
			p.Offset = number
		}
		return nil
	})
	if p.Partition < 0 || p.Offset < 0 || p.Record == nil {
		return Push{}, errors.Join(errShape, err)
	}
	return p, err
}

// object reads one JSON object and nothing else, and gives each member's name and the text of its value.
func (r *Reader) object(text []byte, member func(name string, value []byte) error) error {
	r.source.Reset(text)
	r.decoder.Reset(&r.source)
	if r.decoder.PeekKind() != '{' {
		return errShape
	}
	if _, err := r.decoder.ReadToken(); err != nil {
		return fmt.Errorf("protocol: read object: %w", err)
	}
	for r.decoder.PeekKind() == '"' {
		if err := r.member(text, member); err != nil {
			return err
		}
	}
	if _, err := r.decoder.ReadToken(); err != nil {
		return fmt.Errorf("protocol: read object: %w", err)
	}
	if _, err := r.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("protocol: something follows the message: %w", errShape)
	}
	return nil
}

func (r *Reader) member(text []byte, member func(name string, value []byte) error) error {
	name, err := r.decoder.ReadToken()
	if err != nil {
		return fmt.Errorf("protocol: read name: %w", err)
	}
	known := name.String() // the token is gone after the next read
	value, err := r.decoder.ReadValue()
	if err != nil {
		return fmt.Errorf("protocol: read value: %w", err)
	}
	end := r.decoder.InputOffset() // the decoder's own copy of the value does not outlive the next read
	return member(known, text[end-int64(len(value)):end])
}
