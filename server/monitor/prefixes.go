package monitor

import (
	"math/bits"
	"math/rand/v2"
	"unicode/utf8"

	"chatmonitor/server/chat"
)

// Thousands of rules with keywords may share the values of their fields. The first few nodes of such a
// chain are tried one by one. All behind them are found by the beginnings of their keywords, too: by an
// entry for each keyword, in the chain of the hash of the fields' values and of the keyword's first two
// runes, or its only one. A record then asks for each pair of runes in its text, once.
//
// A node counts as prefixed once nobody has to try it one by one any more. Nodes are put at the front, so
// one that is not prefixed moves back step by step, and gets its prefixes when it leaves the first few: a
// rule's prefixes cost nothing until its chain is long, and then once.
const (
	triedOneByOne = 8
	// A rule with more than so many combinations times keywords would be mostly entries for prefixes. In
	// a long chain it is tried one by one, like the first few.
	maxPrefixEntries = 256
)

// prefix is the first two runes of a folded text, or its only one, in one word.
func prefix(folded []byte) (word uint64, single bool) {
	first, size := utf8.DecodeRune(folded)
	if size == len(folded) {
		return uint64(first), true
	}
	second, _ := utf8.DecodeRune(folded[size:])
	return pairOf(first, second), false
}

func pairOf(first, second rune) uint64 { return uint64(first) | uint64(second+1)<<21 }

// appendPrefixes appends the prefixes that keywords in a folded text may have, each once: those of two
// runes, or those of one.
func appendPrefixes(list []uint64, folded []byte, single bool) []uint64 {
	var few [256]uint64
	known := few[:] // open addresses; a word plus one, 0 if empty
	if runes := utf8.RuneCount(folded); 2*runes > len(few) {
		known = make([]uint64, 1<<bits.Len(uint(2*runes)))
	}
	before := rune(-1)
	for _, r := range string(folded) {
		word := uint64(r)
		if !single {
			pair := before >= 0
			word, before = pairOf(before, r), r
			if !pair {
				continue
			}
		}
		i := mix(prefixSeed, word) & uint64(len(known)-1)
		for known[i] != 0 && known[i] != word+1 {
			i = (i + 1) & uint64(len(known)-1)
		}
		if known[i] == 0 {
			known[i] = word + 1
			list = append(list, word)
		}
	}
	return list
}

// prefixSeed keeps whoever writes texts from choosing where prefixes come to lie.
var prefixSeed = rand.Uint64()

func prefixHash(hash uint32, word uint64) uint32 {
	return hashOf(mix(uint64(hash), word)*0x9E3779B97F4A7C15, prefixOf)
}

func wideHash(hash uint32) uint32 { return hash&^3 | wideRules }

// prefixOverdue gives the node that has just left the first few of a chain its prefixes.
func (x *Index) prefixOverdue(hash uint32) {
	n := x.chains.get(hash)
	for i := 0; i < triedOneByOne && n != none; i++ {
		n = x.node(n).next
	}
	if n == none || !x.setPrefixed(n) {
		return
	}
	place := x.ruleOf(n)
	rule := x.Rule(place)
	if isWide(rule) {
		x.addEntry(place, wideHash(hash), true)
		return
	}
	rule.Keywords(func(folded []byte) {
		word, _ := prefix(folded)
		x.addEntry(place, prefixHash(hash, word), true)
	})
}

// setPrefixed says that no prefixes are missing for a node. It reports false if that was so before.
func (x *Index) setPrefixed(n int32) (changed bool) {
	if n&1 == 0 {
		length := &x.rules.at(n >> 1).length
		changed = *length&prefixedBit == 0
		*length |= prefixedBit
		return changed
	}
	tagged := &x.entries.at(n >> 1).tagged
	changed = *tagged&1 == 0
	*tagged |= 1
	return changed
}

func isWide(r chat.EncodedRule) bool {
	keywords := 0
	r.Keywords(func([]byte) { keywords++ })
	return r.Entries()*keywords > maxPrefixEntries
}

// hasSingle says whether a keyword of the rule is a single rune.
func hasSingle(r chat.EncodedRule) (has bool) {
	r.Keywords(func(folded []byte) {
		_, single := prefix(folded)
		has = has || single
	})
	return has
}
