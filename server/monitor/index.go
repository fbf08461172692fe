package monitor

import (
	"math"
	"slices"

	"chatmonitor/server/chat"
)

// subscription is a rule of a session, in what it takes to list it and to find it again: a million are
// kept, and the parsed rule is five times as large as its JSON.
type subscription struct {
	session  *Session
	id       string
	source   string   // the rule's JSON
	keywords []string // folded
}

func newSubscription(s *Session, id string, rule *chat.Rule) *subscription {
	return &subscription{session: s, id: id, source: rule.Source, keywords: rule.Keywords}
}

// rule parses the rule again.
func (s *subscription) rule() *chat.Rule {
	rule, err := chat.ParseRule([]byte(s.source), chat.RuleLimits{MaxEntries: math.MaxInt, MaxKeywords: math.MaxInt})
	if err != nil {
		panic("monitor: a rule that was accepted is not read again: " + err.Error())
	}
	return rule
}

// Index finds the sessions whose rules want a record. It is a tuple space search (Srinivasan, Suri,
// Varghese: "Packet Classification using Tuple Space Search", SIGCOMM 1999): one hash table for each
// shape, the set of fields that a rule names, so that a record costs one probe for each shape in use
// and its matches, whatever the number of rules. Keywords are tested in the bucket that the fields
// led to. It belongs to its shard's goroutine.
type Index struct {
	shapes []*shape
}

type shape struct {
	fields  chat.FieldSet // Text never among them
	buckets map[bucketKey][]*subscription
}

// bucketKey is the values of a shape's fields; the others are zero.
type bucketKey struct {
	ids     [chat.IDFields]int64
	channel string
}

const keywordsField = 1 << chat.Text

// Add makes s found by the records that its rule wants.
func (x *Index) Add(s *subscription, rule *chat.Rule) {
	sh := x.shape(rule.Fields() &^ keywordsField)
	forEachKey(rule, func(key bucketKey) {
		bucket := sh.buckets[key]
		if n := len(bucket); n == 0 || bucket[n-1] != s { // a value may stand twice in its list
			sh.buckets[key] = append(bucket, s)
		}
	})
}

// Remove undoes Add.
func (x *Index) Remove(s *subscription, rule *chat.Rule) {
	sh := x.shape(rule.Fields() &^ keywordsField)
	forEachKey(rule, func(key bucketKey) {
		bucket := sh.buckets[key]
		i := slices.Index(bucket, s)
		if i < 0 {
			return
		}
		if len(bucket) == 1 {
			delete(sh.buckets, key)
			return
		}
		last := len(bucket) - 1
		bucket[i], bucket[last] = bucket[last], nil
		sh.buckets[key] = bucket[:last]
	})
	if len(sh.buckets) == 0 {
		x.shapes = slices.DeleteFunc(x.shapes, func(other *shape) bool { return other == sh })
	}
}

// Match calls found once for each subscription that wants p's record.
func (x *Index) Match(p *publication, found func(*subscription)) {
	for _, sh := range x.shapes {
		if sh.fields&p.record.Present != sh.fields {
			continue
		}
		for _, s := range sh.buckets[sh.key(&p.record)] {
			if s.keywords == nil || p.record.Present.Has(chat.Text) && chat.ContainsAny(p.text(), s.keywords) {
				found(s)
			}
		}
	}
}

func (x *Index) shape(fields chat.FieldSet) *shape {
	for _, sh := range x.shapes {
		if sh.fields == fields {
			return sh
		}
	}
	sh := &shape{fields: fields, buckets: make(map[bucketKey][]*subscription)}
	x.shapes = append(x.shapes, sh)
	return sh
}

func (sh *shape) key(r *chat.Record) bucketKey {
	var key bucketKey
	for f := range key.ids {
		if sh.fields.Has(chat.Field(f)) {
			key.ids[f] = r.IDs[f]
		}
	}
	if sh.fields.Has(chat.Channel) {
		key.channel = r.Channel
	}
	return key
}

// forEachKey calls visit with each combination of the rule's lists.
func forEachKey(r *chat.Rule, visit func(bucketKey)) {
	var key bucketKey
	var field func(f int)
	field = func(f int) {
		switch {
		case f < len(r.IDs) && r.IDs[f] == nil:
			field(f + 1)
		case f < len(r.IDs):
			for _, id := range r.IDs[f] {
				key.ids[f] = id
				field(f + 1)
			}
		case r.Channels == nil:
			visit(key)
		default:
			for _, channel := range r.Channels {
				key.channel = channel
				visit(key)
			}
		}
	}
	field(0)
}
