package chat

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// EncodedRule is a rule in the form that a million of them are kept in: without pointers, a byte or two
// for most values, and read where it lies. What the client gave can be printed from it again.
//
//	fields    one byte, the FieldSet; Text stands for keywords
//	integers  for each of app_id, agent_id, server_id, pid that it has: count, then each value
//	          times two, plus one if it was given as a string
//	channels  count, then each with its length before it
//	keywords  count, then each as given, after its length times two, plus one if its folded form differs
//	          and follows with its length before it
//
// All numbers are uvarints. It is made by Rule.AppendEncoded alone: anything else may panic.
type EncodedRule []byte

// AppendEncoded appends the rule's EncodedRule. A rule that was not parsed is taken to be given in its
// plainest form.
func (r *Rule) AppendEncoded(dst []byte) []byte {
	dst = append(dst, byte(r.Fields()))
	for f, list := range r.IDs {
		if list == nil {
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		for i, id := range list {
			dst = binary.AppendUvarint(dst, uint64(id)<<1|bit(i < len(r.quoted[f]) && r.quoted[f][i]))
		}
	}
	if r.Channels != nil {
		dst = binary.AppendUvarint(dst, uint64(len(r.Channels)))
		for _, channel := range r.Channels {
			dst = append(binary.AppendUvarint(dst, uint64(len(channel))), channel...)
		}
	}
	if r.Keywords == nil {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Keywords)))
	for i, folded := range r.Keywords {
		given := folded
		if i < len(r.given) {
			given = r.given[i]
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(given))<<1|bit(given != folded)), given...)
		if given != folded {
			dst = append(binary.AppendUvarint(dst, uint64(len(folded))), folded...)
		}
	}
	return dst
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// encoding is the rest of an EncodedRule while it is read.
type encoding []byte

func (e *encoding) number() uint64 {
	if b := (*e)[0]; b < 0x80 {
		*e = (*e)[1:]
		return uint64(b)
	}
	return e.longNumber()
}

func (e *encoding) longNumber() uint64 {
	n, length := binary.Uvarint(*e)
	*e = (*e)[length:]
	return n
}

func (e *encoding) text(length uint64) []byte {
	text := (*e)[:length:length]
	*e = (*e)[length:]
	return text
}

// keyword reads a keyword in both its forms.
func (e *encoding) keyword() (given, folded []byte) {
	n := e.number()
	given = e.text(n >> 1)
	if n&1 == 0 {
		return given, given
	}
	return given, e.text(e.number())
}

// Fields is the rule's.
func (e EncodedRule) Fields() FieldSet { return FieldSet(e[0]) }

// MeetsFields says whether the record meets all conditions but that of the keywords, which remains.
func (e EncodedRule) MeetsFields(r *Record) (rest EncodedKeywords, meets bool) {
	fields := e.Fields()
	if fields&r.Present != fields {
		return nil, false
	}
	read := encoding(e[1:])
	for f := range r.IDs {
		if fields.Has(Field(f)) && !read.listHas(uint64(r.IDs[f])) {
			return nil, false
		}
	}
	if fields.Has(Channel) && !read.listHasText(r.Channel) {
		return nil, false
	}
	if fields.Has(Text) {
		read.number()
	}
	return EncodedKeywords(read), true
}

func (e *encoding) listHas(id uint64) (has bool) {
	for n := e.number(); n > 0; n-- {
		if e.number()>>1 == id {
			has = true // and the rest has still to be read
		}
	}
	return has
}

func (e *encoding) listHasText(text string) (has bool) {
	for n := e.number(); n > 0; n-- {
		if string(e.text(e.number())) == text {
			has = true
		}
	}
	return has
}

// EncodedKeywords is the end of an EncodedRule: its keywords, if it has any, without their count. Any number
// of bytes at its end that Next gave is one, too.
type EncodedKeywords []byte

// Next reads the first of the keywords, in its folded form. There must be one.
func (k EncodedKeywords) Next() (folded []byte, rest EncodedKeywords) {
	read := encoding(k)
	_, folded = read.keyword()
	return folded, EncodedKeywords(read)
}

// In says whether any of the keywords occurs in the folded text, or there are none.
func (k EncodedKeywords) In(foldedText []byte) bool {
	if len(k) == 0 {
		return true
	}
	for len(k) > 0 {
		var folded []byte
		if folded, k = k.Next(); bytes.Contains(foldedText, folded) {
			return true
		}
	}
	return false
}

// Keywords calls visit with each keyword in its folded form.
func (e EncodedRule) Keywords(visit func(folded []byte)) {
	read, _ := e.keywords()
	if len(read) == 0 {
		return
	}
	for n := read.number(); n > 0; n-- {
		_, folded := read.keyword()
		visit(folded)
	}
}

// Entries is the rule's.
func (e EncodedRule) Entries() int {
	_, product := e.keywords()
	return product
}

// keywords passes over the conditions before the keywords, and multiplies their lengths.
func (e EncodedRule) keywords() (rest encoding, product int) {
	rest, product = encoding(e[1:]), 1
	for f := AppID; f <= Channel; f++ {
		if !e.Fields().Has(f) {
			continue
		}
		n := rest.number()
		product *= int(n)
		for ; n > 0; n-- {
			if v := rest.number(); f == Channel {
				rest.text(v)
			}
		}
	}
	return rest, product
}

// AppendJSON appends the rule's conditions as the client gave them; a list of one value stands as the
// value, except for keywords.
func (e EncodedRule) AppendJSON(dst []byte) []byte {
	read := encoding(e[1:])
	dst = append(dst, '{')
	for f := AppID; f <= Text; f++ {
		if !e.Fields().Has(f) {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		name := f.String()
		if f == Text {
			name = keywordsName
		}
		dst = append(append(append(dst, '"'), name...), `":`...)
		dst = read.appendList(dst, f)
	}
	return append(dst, '}')
}

func (e *encoding) appendList(dst []byte, f Field) []byte {
	n := e.number()
	list := n > 1 || f == Text
	if list {
		dst = append(dst, '[')
	}
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = e.appendValue(dst, f)
	}
	if list {
		dst = append(dst, ']')
	}
	return dst
}

func (e *encoding) appendValue(dst []byte, f Field) []byte {
	switch f {
	case Text:
		given, _ := e.keyword()
		return appendQuote(dst, given)
	case Channel:
		return appendQuote(dst, e.text(e.number()))
	}
	n := e.number()
	if n&1 == 0 {
		return strconv.AppendUint(dst, n>>1, 10)
	}
	return append(strconv.AppendUint(append(dst, '"'), n>>1, 10), '"')
}
