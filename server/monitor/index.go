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
//	shape and values of the record --hash--> table --> chain of nodes --> rule --> owner
//
// A rule has a node for each combination of its lists' values, in the chain of that combination's hash:
// the first is part of the rule, further ones are entries. The hash only narrows the search: the rule's
// own bytes decide, so that two combinations with the same hash share a chain and nothing else. Keywords
// narrow it further, see prefixes.go.
//
// Rules and entries know each other by their places in two dense lists. The last one moves to where one
// was removed, so the index is always as large as what is in it. It belongs to its shard's goroutine.
type Index struct {
	rules   paged[rule]
	long    paged[longRule]
	entries paged[entry]
	chains  table // hash -> first node

	inUse  uint64                      // shapes with rules, a bit for each FieldSet
	shapes [1 << (chat.Text + 1)]int32 // rules of each shape
	single int32                       // rules with a keyword of a single rune

	changes uint64 // nodes put into chains and taken out, ever

	moved  func(owner, from, to int32) // is told when a rule gets another place
	search search
	seed   uint64
	text   maphash.Seed
	encode []byte // scratch
}

// inlineBytes is what a rule has room for: its name and a condition on two or three fields.
const inlineBytes = 23

// node is one appearance of a rule in a chain. What is called a node elsewhere is its number: twice its
// rule's place, or twice its entry's place plus one.
type node struct {
	next int32 // none for the last
	prev int32 // of the first, the chain's hash with all bits inverted
}

// rule is a rule of a session: its name, with its length before it, and its EncodedRule.
type rule struct {
	node
	owner   int32 // the session's place
	entries int32 // the first of its entries
	length  uint8 // of bytes in use; longLength: bytes begins with the place in Index.long; plus prefixedBit
	bytes   [inlineBytes]byte
}

const (
	longLength  = 0x7f
	prefixedBit = 0x80 // no prefixes are missing for the rule's node: see prefixes.go
)

func (r *rule) isLong() bool { return r.length&^prefixedBit == longLength }

// longRule is what a rule has no room for.
type longRule struct {
	bytes []byte
	rule  int32
}

// entry is a further node of a rule.
type entry struct {
	node
	tagged  uint32 // the rule's place times two, plus one if no prefixes are missing: see prefixes.go
	sibling int32  // the next entry of the same rule
}

func (e *entry) rule() int32 { return int32(e.tagged >> 1) }

func ruleNode(place int32) int32  { return place << 1 }
func entryNode(place int32) int32 { return place<<1 | 1 }

func (x *Index) node(n int32) *node {
	if n&1 == 0 {
		return &x.rules.at(n >> 1).node
	}
	return &x.entries.at(n >> 1).node
}

// ruleOf is the place of a node's rule.
func (x *Index) ruleOf(n int32) int32 {
	if n&1 == 0 {
		return n >> 1
	}
	return x.entries.at(n >> 1).rule()
}

func newIndex(moved func(owner, from, to int32)) *Index {
	return &Index{moved: moved, search: search{next: none, rule: none}, seed: rand.Uint64(), text: maphash.MakeSeed()}
}

// Add keeps a rule under a name for an owner, and gives its place.
func (x *Index) Add(owner int32, name string, r *chat.Rule) int32 {
	x.encode = append(append(x.encode[:0], byte(len(name))), name...)
	x.encode = r.AppendEncoded(x.encode)
	place := x.rules.push(rule{owner: owner, entries: none})
	x.store(place, x.encode)
	fields := r.Fields()
	first := true
	x.eachHash(fields, r, func(hash uint32) {
		if first {
			x.link(ruleNode(place), hash)
		} else {
			x.addEntry(place, hash, false)
		}
		first = false
		if fields.Has(chat.Text) {
			x.prefixOverdue(hash)
		}
	})
	x.count(place, 1)
	return place
}

// Remove forgets a rule.
func (x *Index) Remove(place int32) {
	if x.search.rule == place {
		x.search.rule = none
	}
	r := x.rules.at(place)
	x.count(place, -1)
	x.unlink(ruleNode(place))
	for r.entries != none {
		e := r.entries
		r.entries = x.entries.at(e).sibling
		x.unlink(entryNode(e))
		x.fillEntry(e)
	}
	if r.isLong() {
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
	if r.isLong() {
		return x.long.at(r.long()).bytes
	}
	return r.bytes[:r.length&^prefixedBit]
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
		x.nodeMoved(ruleNode(last), ruleNode(place))
		if x.search.rule == last {
			x.search.rule = place
		}
		if r.isLong() {
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

// addEntry gives a rule a further node.
func (x *Index) addEntry(place int32, hash uint32, prefixed bool) {
	tagged := uint32(place) << 1
	if prefixed {
		tagged |= 1
	}
	r := x.rules.at(place)
	r.entries = x.entries.push(entry{tagged: tagged, sibling: r.entries})
	x.link(entryNode(r.entries), hash)
}

// fillEntry moves the last entry to the place of one that is gone.
func (x *Index) fillEntry(e int32) {
	if last := x.entries.n - 1; e != last {
		en := x.entries.at(e)
		*en = *x.entries.at(last)
		x.nodeMoved(entryNode(last), entryNode(e))
		known := &x.rules.at(en.rule()).entries
		for *known != last {
			known = &x.entries.at(*known).sibling
		}
		*known = e
	}
	x.entries.pop()
}

// link puts a node before all others of a chain.
func (x *Index) link(n int32, hash uint32) {
	x.changes++
	first := x.chains.get(hash)
	*x.node(n) = node{next: first, prev: ^int32(hash)}
	if first != none {
		x.node(first).prev = n
	}
	x.chains.put(hash, n)
}

// unlink takes a node out of its chain.
func (x *Index) unlink(n int32) {
	x.changes++
	gone := x.node(n)
	if x.search.next == n {
		x.search.next = gone.next
	}
	if gone.next != none {
		x.node(gone.next).prev = gone.prev
	}
	switch {
	case gone.prev >= 0:
		x.node(gone.prev).next = gone.next
	case gone.next != none:
		x.chains.put(uint32(^gone.prev), gone.next)
	default:
		x.chains.remove(uint32(^gone.prev))
	}
}

// nodeMoved makes what knows a node know it by another number.
func (x *Index) nodeMoved(from, to int32) {
	moved := x.node(to)
	if x.search.next == from {
		x.search.next = to
	}
	if moved.next != none {
		x.node(moved.next).prev = to
	}
	if moved.prev >= 0 {
		x.node(moved.prev).next = to
	} else {
		x.chains.put(uint32(^moved.prev), to)
	}
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
