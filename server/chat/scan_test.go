package chat

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// twinDecode is DecodeRecord on the tokenizer that reads clients' messages.
func twinDecode(value []byte, maxBytes int) (Record, error) {
	switch {
	case value == nil:
		return Record{}, NullValue
	case len(value) > maxBytes:
		return Record{}, TooLong
	case !utf8.Valid(value):
		return Record{}, InvalidUTF8
	}
	var r Record
	var wrong FieldSet
	err := scanObject(value, func(name, value []byte) error {
		field, known := recordField(name)
		if known && r.set(field, []byte(string(value))) {
			wrong &^= 1 << field
		} else if known {
			wrong = wrong.With(field)
		}
		return nil
	})
	switch {
	case errors.Is(err, errNotObject) && json.Valid(value): // it does not look behind the first value
		return Record{}, NotObject
	case err != nil:
		return Record{}, InvalidJSON
	case wrong != 0:
		return Record{}, WrongType
	}
	return r, nil
}

func wantTwin(t *testing.T, value []byte) {
	t.Helper()
	got, gotErr := DecodeRecord(value, 1<<20)
	want, wantErr := twinDecode(value, 1<<20)
	if got != want || gotErr != wantErr {
		t.Errorf("%.200q: got %+v, %v; its twin says %+v, %v", value, got, gotErr, want, wantErr)
	}
}

// pieces make texts that are JSON, almost.
var pieces = strings.Split(`{|}|[|]|,|:|"|\|"app_id"|"text":|"channel":"world"|"server_id":"7"|{"pid":9007199254740993}|"\u00e9\n"|"\ud800"|"\q"|"ap\u0070_id":5`+
	`|1|0|01|-|-0|1.5|1.|.5|1e9|1E+|e-2|9223372036854775807|9223372036854775808|true|false|null|nul|x| |`+"\n|\t|\x01|\x00|é|{}|[]|[1,[2]]", "|")

func TestScanAgreesWithItsTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	objects := 0
	for range 200_000 {
		var b strings.Builder
		if random.IntN(2) == 0 {
			b.WriteString("{")
		}
		for range random.IntN(9) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		if random.IntN(2) == 0 {
			b.WriteString("}")
		}
		wantTwin(t, []byte(b.String()))
		if _, err := DecodeRecord([]byte(b.String()), 1<<20); err == nil {
			objects++
		}
		if t.Failed() {
			return
		}
	}
	if objects < 1000 {
		t.Errorf("only %d of the texts were records", objects)
	}
}

func TestScanAgreesOnDepth(t *testing.T) {
	for depth := maxDepth - 3; depth <= maxDepth+3; depth++ {
		arrays := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		wantTwin(t, []byte(arrays))
		wantTwin(t, []byte(`{"x":`+arrays+`}`))
		wantTwin(t, []byte(strings.Repeat(`{"x":`, depth)+`1`+strings.Repeat("}", depth)))
	}
}

func TestDecodeMakesNoGarbage(t *testing.T) {
	value := []byte(`{"app_id":19,"agent_id":29,"server_id":6559,"pid":2900006559000017,"name":"醉本尊","channel":"trade","text":"血瓶换血瓶有人吗","ts":1644568978123}`)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := DecodeRecord(value, 1000); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}
