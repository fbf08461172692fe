package monitor

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"

	"chatmonitor/server/chat"
)

// Index holds the rules of a shard's sessions, and finds those that want a record. It is a tuple space
// search (Srinivasan, Suri, Varghese: "Packet Classification using Tuple Space Search", SIGCOMM 1999): a
// hash look-up for each shape, the set of fields that a rule names, so that a record costs one probe for
// each shape in use and its matches, whatever the number of rules.
//
//	shape and values of the record --hash--> table --> chain of entries --> rule --> owner
//
// A rule has an entry for each combination of its lists' values, in the chain of that combination's
// hash. The hash only narrows the search: the rule's own bytes decide, so that two combinations with the
// same hash share a chain and nothing else. Keywords narrow it further, see prefixes.go.
//
// Rules and entries know each other by their places in two dense lists. The last one moves to where one
// was removed, so the index is always as large as what is in it. It belongs to its shard's goroutine.
type Index struct {
	rules   paged[rule]
	long    paged[longRule]
	entries paged[entry]
	chains  table // hash -> first entry

	inUse  uint64                      // shapes with rules, a bit for each FieldSet
	shapes [1 << (chat.Text + 1)]int32 // rules of each shape
	single int32                       // rules with a keyword of a single rune

	moved  func(owner, from, to int32) // is told when a rule gets another place
	search search
	seed   uint64
	text   maphash.Seed
	encode []byte // scratch
}

// inlineBytes is what a rule has room for: its name and a condition on two or three fields.
const inlineBytes = 23

// rule is a rule of a session: its name, with its length before it, and its EncodedRule.
type rule struct {
	owner   int32 // the session's place
	entries int32 // the first of its entries
	length  uint8 // of bytes in use; longLength: bytes begins with the place in Index.long
	bytes   [inlineBytes]byte
}

const longLength = 255

// longRule is what a rule has no room for.
type longRule struct {
	bytes []byte
	rule  int32
}

// entry is one appearance of a rule in a chain.
type entry struct {
	tagged  uint32 // the rule's place times two, plus one if no prefixes are missing: see prefixes.go
	next    int32  // in the chain
	prev    int32  // in the chain; of the first, the chain's hash with all bits inverted
	sibling int32  // the next entry of the same rule
}

func (e *entry) rule() int32    { return int32(e.tagged >> 1) }
func (e *entry) prefixed() bool { return e.tagged&1 != 0 }

func newIndex(moved func(owner, from, to int32)) *Index {
	return &Index{moved: moved, search: search{next: none}, seed: rand.Uint64(), text: maphash.MakeSeed()}
}

// Add keeps a rule under a name for an owner, and gives its place.
func (x *Index) Add(owner int32, name string, r *chat.Rule) int32 {
	x.encode = append(append(x.encode[:0], byte(len(name))), name...)
	x.encode = r.AppendEncoded(x.encode)
	place := x.rules.push(rule{owner: owner, entries: none})
	x.store(place, x.encode)
	fields := r.Fields()
	x.eachHash(fields, r, func(hash uint32) {
		x.link(place, hash, false)
		if fields.Has(chat.Text) {
			x.prefixOverdue(hash)
		}
	})
	x.count(place, 1)
	return place
}

// Remove forgets a rule.
func (x *Index) Remove(place int32) {
	r := x.rules.at(place)
	x.count(place, -1)
	for r.entries != none {
		e := r.entries
		r.entries = x.entries.at(e).sibling
		x.unlink(e)
	}
	if r.length == longLength {
		x.dropLong(r.long())
	}
	x.fillRule(place)
}

// count counts a rule that comes, or one that goes.
func (x *Index) count(place, change int32) {
	r := x.Rule(place)
	fields := r.Fields()
	if x.shapes[fields] += change; x.shapes[fields] > 0 {
		x.inUse |= 1 << fields
	} else {
		x.inUse &^= 1 << fields
	}
	if hasSingle(r) {
		x.single += change
	}
}

// Name is what the owner calls the rule; it is valid until the index changes.
func (x *Index) Name(place int32) []byte {
	b := x.bytes(place)
	return b[1 : 1+b[0]]
}

// Rule is valid until the index changes.
func (x *Index) Rule(place int32) chat.EncodedRule {
	b := x.bytes(place)
	return chat.EncodedRule(b[1+b[0]:])
}

// SetOwner says that the owner of a rule has another place.
func (x *Index) SetOwner(place, owner int32) { x.rules.at(place).owner = owner }

func (x *Index) bytes(place int32) []byte {
	r := x.rules.at(place)
	if r.length == longLength {
		return x.long.at(r.long()).bytes
	}
	return r.bytes[:r.length]
}

func (x *Index) store(place int32, b []byte) {
	r := x.rules.at(place)
	if len(b) <= inlineBytes {
		r.length = uint8(copy(r.bytes[:], b))
		return
	}
	r.length = longLength
	r.setLong(x.long.push(longRule{bytes: slices.Clone(b), rule: place}))
}

func (r *rule) long() int32 {
	return int32(r.bytes[0]) | int32(r.bytes[1])<<8 | int32(r.bytes[2])<<16 | int32(r.bytes[3])<<24
}

func (r *rule) setLong(place int32) {
	r.bytes[0], r.bytes[1], r.bytes[2], r.bytes[3] = byte(place), byte(place>>8), byte(place>>16), byte(place>>24)
}

func (x *Index) dropLong(place int32) {
	if last := x.long.n - 1; place != last {
		moved := x.long.at(last)
		*x.long.at(place) = *moved
		x.rules.at(moved.rule).setLong(place)
	}
	x.long.pop()
}

// fillRule moves the last rule to the place of one that is gone.
func (x *Index) fillRule(place int32) {
	if last := x.rules.n - 1; place != last {
		r := x.rules.at(place)
		*r = *x.rules.at(last)
		if r.length == longLength {
			x.long.at(r.long()).rule = place
		}
		for e := r.entries; e != none; {
			en := x.entries.at(e)
			en.tagged = uint32(place)<<1 | en.tagged&1
			e = en.sibling
		}
		x.moved(r.owner, last, place)
	}
	x.rules.pop()
}

// link makes an entry for a rule, and puts it before all others of the chain.
func (x *Index) link(place int32, hash uint32, prefixed bool) {
	r := x.rules.at(place)
	first := x.chains.get(hash)
	tagged := uint32(place) << 1
	if prefixed {
		tagged |= 1
	}
	e := x.entries.push(entry{tagged: tagged, next: first, prev: ^int32(hash), sibling: r.entries})
	if first != none {
		x.entries.at(first).prev = e
	}
	x.chains.put(hash, e)
	r.entries = e
}

// unlink takes an entry, that no rule knows any more, out of its chain and the list.
func (x *Index) unlink(e int32) {
	en := x.entries.at(e)
	if x.search.next == e {
		x.search.next = en.next
	}
	if en.next != none {
		x.entries.at(en.next).prev = en.prev
	}
	switch {
	case en.prev >= 0:
		x.entries.at(en.prev).next = en.next
	case en.next != none:
		x.chains.put(uint32(^en.prev), en.next)
	default:
		x.chains.remove(uint32(^en.prev))
	}
	x.fillEntry(e)
}

// fillEntry moves the last entry to the place of one that is gone.
func (x *Index) fillEntry(e int32) {
	if last := x.entries.n - 1; e != last {
		en := x.entries.at(e)
		*en = *x.entries.at(last)
		if x.search.next == last {
			x.search.next = e
		}
		if en.next != none {
			x.entries.at(en.next).prev = e
		}
		if en.prev >= 0 {
			x.entries.at(en.prev).next = e
		} else {
			x.chains.put(uint32(^en.prev), e)
		}
		known := &x.rules.at(en.rule()).entries
		for *known != last {
			known = &x.entries.at(*known).sibling
		}
		*known = e
	}
	x.entries.pop()
}

// The last two bits of a hash say what kind of chain it leads to, so that chains of different kinds
// never are one.
const (
	fieldsOnly = iota // rules without keywords
	keyworded         // rules with keywords, whatever the keywords are
	prefixOf          // rules with a keyword that begins with two runes
	wideRules         // rules with more keywords than are worth entries
)

func hashOf(hash uint64, kind uint32) uint32 { return uint32(hash>>(64-hashBits))&^3 | kind }

func kindOf(fields chat.FieldSet) uint32 {
	if fields.Has(chat.Text) {
		return keyworded
	}
	return fieldsOnly
}

func (x *Index) hashChannel(hash uint64, channel string) uint64 {
	return mix(hash, maphash.String(x.text, channel))
}

// hashRecord is the hash of the record's values of the given fields.
func (x *Index) hashRecord(fields chat.FieldSet, r *chat.Record) uint32 {
	hash := mix(x.seed, uint64(fields))
	for f := range r.IDs {
		if fields.Has(chat.Field(f)) {
			hash = mix(hash, uint64(r.IDs[f]))
		}
	}
	if fields.Has(chat.Channel) {
		hash = x.hashChannel(hash, r.Channel)
	}
	return hashOf(hash, kindOf(fields))
}

// eachHash calls visit with the hash of each combination of the rule's lists.
func (x *Index) eachHash(fields chat.FieldSet, r *chat.Rule, visit func(hash uint32)) {
	var field func(f int, hash uint64)
	field = func(f int, hash uint64) {
		switch {
		case f < len(r.IDs) && r.IDs[f] == nil:
			field(f+1, hash)
		case f < len(r.IDs):
			for _, id := range r.IDs[f] {
				field(f+1, mix(hash, uint64(id)))
			}
		case r.Channels == nil:
			visit(hashOf(hash, kindOf(fields)))
		default:
			for _, channel := range r.Channels {
				visit(hashOf(x.hashChannel(hash, channel), kindOf(fields)))
			}
		}
	}
	field(0, mix(x.seed, uint64(fields)))
}
