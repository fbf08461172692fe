package chatter

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

const enough = 20000

func TestSameSeedSameRecords(t *testing.T) {
	a, b, other := New(7), New(7), New(8)
	differs := false
	for i := range int64(1000) {
		first, second := a.Next(i).JSON(), b.Next(i).JSON()
		if !bytes.Equal(first, second) {
			t.Fatalf("record %d: %s and %s", i, first, second)
		}
		differs = differs || !bytes.Equal(first, other.Next(i).JSON())
	}
	if !differs {
		t.Error("another seed gives the same records")
	}
}

func TestRecordsAreDecodable(t *testing.T) {
	c := New(1)
	for i := range int64(enough) {
		r := c.Next(1644568978123 + i)
		value := r.JSON()
		if !utf8.Valid(value) {
			t.Fatalf("not UTF-8: %q", value)
		}
		var back Record
		if err := json.Unmarshal(value, &back); err != nil || back != r {
			t.Fatalf("%s came back as %+v (%v)", value, back, err)
		}
		if strings.ContainsAny(r.Text, "{}") {
			t.Fatalf("a placeholder is left in %q", r.Text)
		}
		if r.Text == "" || r.Name == "" || r.Channel == "" || r.PID <= 0 {
			t.Fatalf("something is missing in %+v", r)
		}
	}
}

func TestChatIsVaried(t *testing.T) {
	c := New(1)
	count := map[string]int{}
	for range enough {
		r := c.Next(0)
		count["channel "+r.Channel]++
		if r.ServerID == 6558 {
			count["server 6558"]++
			if r.AppID != 19 || r.AgentID != 29 {
				t.Fatalf("server 6558 in another world: %+v", r)
			}
		}
		for _, word := range []string{"代练", "gold"} {
			if strings.Contains(strings.ToLower(r.Text), word) {
				count["word "+word]++
			}
		}
		if r.PID > 1<<53 {
			count["pid beyond doubles"]++
		}
	}
	expected := []string{"channel world", "channel guild", "channel trade", "channel team", "channel whisper",
		"server 6558", "word 代练", "word gold", "pid beyond doubles"}
	for _, what := range expected {
		if count[what] < enough/1000 || count[what] > enough*3/4 {
			t.Errorf("%s: %d times in %d records", what, count[what], enough)
		}
	}
}

func TestOneServerOneKey(t *testing.T) {
	c := New(1)
	keys := map[string]int64{}
	for range 1000 {
		r := c.Next(0)
		if server, seen := keys[r.Key()]; seen && server != r.ServerID {
			t.Fatalf("servers %d and %d share the key %s", server, r.ServerID, r.Key())
		}
		keys[r.Key()] = r.ServerID
	}
	if len(keys) != len(worlds) {
		t.Errorf("%d keys for %d worlds", len(keys), len(worlds))
	}
}
