package monitor

import (
	"math/bits"
	"unicode/utf8"

	"chatmonitor/server/chat"
)

// search is a record's way through the index. It may stop after any node and go on later; the index
// may change in between, and search.next is kept right.
type search struct {
	p      *publication // nil: nothing is searched
	shapes uint64       // still to be asked
	stage  stage
	left   int32  // tryFew: nodes before the stage ends
	hash   uint32 // of the shape that is asked
	next   int32  // node to look at; none: the chain is at its end
	text   []byte // askPrefixes: what has not been asked
	alone  bool   // askPrefixes: the first rune of text is to be asked alone
}

// stage is how the chains of one shape are asked.
type stage uint8

const (
	tryAll      stage = iota // the one chain, or the last
	tryFew                   // the first few entries of rules with keywords
	tryWide                  // there were more: those whose rules have no entries for prefixes
	askPrefixes              // and those that have, for each beginning in the text
)

// Begin begins the search for the rules that want p's record.
func (x *Index) Begin(p *publication) { x.search = search{p: p, shapes: x.inUse, next: none} }

// Searching is the publication of a search that is not through, or nil.
func (x *Index) Searching() *publication { return x.search.p }

// Continue goes on for so many steps, and calls found with the owner of each rule that wants the record,
// once for each rule or more often. It gives the steps that are left: some are if the search is through.
func (x *Index) Continue(steps int, found func(owner int32)) (left int) {
	q := &x.search
	for ; steps > 0; steps-- {
		if q.next == none {
			if !x.nextChain() {
				q.p = nil
				return steps
			}
			continue
		}
		if q.stage == tryFew {
			if q.left == 0 {
				q.stage, q.next = tryWide, x.chains.get(wideHash(q.hash))
				continue
			}
			q.left--
		}
		place := x.ruleOf(q.next)
		q.next = x.node(q.next).next
		if x.Wants(place, q.p) {
			found(x.rules.at(place).owner)
		}
	}
	return 0
}

// Wants says whether a rule wants p's record.
func (x *Index) Wants(place int32, p *publication) bool {
	keywords, meets := x.Rule(place).MeetsFields(&p.record)
	return meets && (len(keywords) == 0 || keywords.In(p.text()))
}

// nextChain has the search look at another chain, which may be empty. It reports false if there is none.
func (x *Index) nextChain() bool {
	q := &x.search
	switch q.stage {
	case tryWide:
		q.stage, q.text = askPrefixes, q.p.text()
		fallthrough
	case askPrefixes:
		if len(q.text) > 0 {
			x.askPrefix()
			return true
		}
	}
	return x.nextShape()
}

func (x *Index) nextShape() bool {
	q := &x.search
	for q.shapes != 0 {
		fields := chat.FieldSet(bits.TrailingZeros64(q.shapes))
		q.shapes &= q.shapes - 1
		if fields&^q.p.record.Present != 0 {
			continue
		}
		q.hash = x.hashRecord(fields, &q.p.record)
		q.next = x.chains.get(q.hash)
		q.stage = tryAll
		if fields.Has(chat.Text) {
			q.stage, q.left = tryFew, triedOneByOne
		}
		return true
	}
	return false
}

// askPrefix takes the chain of the text's first two runes, and then, if some keyword is so short, that of
// the first alone.
func (x *Index) askPrefix() {
	q := &x.search
	first, size := utf8.DecodeRune(q.text)
	word := uint64(first)
	if !q.alone {
		word, q.alone = prefix(q.text)
		q.alone = !q.alone && x.single > 0
	} else {
		q.alone = false
	}
	q.next = x.chains.get(prefixHash(q.hash, word))
	if !q.alone {
		q.text = q.text[size:]
	}
}
