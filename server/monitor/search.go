package monitor

import (
	"bytes"
	"math/bits"

	"chatmonitor/server/chat"
)

// search is a record's way through the index. It may stop after any node or keyword and go on later; the
// index may change in between, and search.next and search.rule are kept right.
type search struct {
	p      *publication // nil: nothing is searched
	shapes uint64       // still to be asked
	stage  stage
	left   int32  // tryFew: nodes before the stage ends
	hash   uint32 // of the shape that is asked
	next   int32  // node to look at; none: the chain is at its end

	rule     int32 // whose keywords are looked for in the text; none: no rule's
	keywords int   // the bytes at the rule's end that are those still to look for

	// Of askPrefixes.
	prefix   uint64   // whose chain is asked
	prefixes []uint64 // of which so many have been asked
	asked    int
	singles  bool // they are single runes, the last kind
}

// Looking for a keyword in so much text is one more step.
const textBytesPerStep = 512

// stage is how the chains of one shape are asked.
type stage uint8

const (
	tryAll      stage = iota // the one chain, or the last
	tryFew                   // the first few entries of rules with keywords
	tryWide                  // there were more: those whose rules have no entries for prefixes
	askPrefixes              // and those that have, for each beginning in the text
)

// Begin begins the search for the rules that want p's record.
func (x *Index) Begin(p *publication) {
	x.search = search{p: p, shapes: x.inUse, next: none, rule: none}
}

// Searching is the publication of a search that is not through, or nil.
func (x *Index) Searching() *publication { return x.search.p }

// Continue goes on for so many steps, and calls found with the owner of each rule that wants the record,
// once for each rule or more often. It gives the steps that are left: some are if the search is through.
func (x *Index) Continue(steps int, found func(owner int32)) (left int) {
	q := &x.search
	for ; steps > 0; steps-- {
		if q.rule != none {
			steps -= x.tryKeyword(found)
			continue
		}
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
		switch keywords, meets := x.Rule(place).MeetsFields(&q.p.record); {
		case !meets:
		case len(keywords) > 0:
			q.rule, q.keywords = place, len(keywords)
		default:
			found(x.rules.at(place).owner)
		}
	}
	return 0
}

// tryKeyword looks for the next keyword of the rule whose fields are met. Where the rule was found by a
// prefix, only the keywords that begin with it are looked for: the others have, or had, their turn. It gives
// the steps that it took beyond the first.
func (x *Index) tryKeyword(found func(owner int32)) (steps int) {
	q := &x.search
	b := x.bytes(q.rule)
	keyword, rest := chat.EncodedKeywords(b[len(b)-q.keywords:]).Next()
	if q.keywords = len(rest); q.stage == askPrefixes {
		if word, _ := prefix(keyword); word != q.prefix {
			x.endOfKeywords()
			return 0
		}
	}
	text := q.p.text()
	if bytes.Contains(text, keyword) {
		found(x.rules.at(q.rule).owner)
		q.keywords = 0
	}
	x.endOfKeywords()
	return len(text) / textBytesPerStep
}

func (x *Index) endOfKeywords() {
	if x.search.keywords == 0 {
		x.search.rule = none
	}
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
		q.stage, q.prefixes, q.asked, q.singles = askPrefixes, q.p.pairs(), 0, false
		fallthrough
	case askPrefixes:
		if x.nextPrefix() {
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

// nextPrefix takes the chain of the next two runes of the text, or, if some keyword is so short and all pairs
// have been asked, of the next rune.
func (x *Index) nextPrefix() bool {
	q := &x.search
	if q.asked == len(q.prefixes) && !q.singles && x.single > 0 {
		q.prefixes, q.asked, q.singles = q.p.runes(), 0, true
	}
	if q.asked == len(q.prefixes) {
		return false
	}
	q.prefix = q.prefixes[q.asked]
	q.asked++
	q.next = x.chains.get(prefixHash(q.hash, q.prefix))
	return true
}
