package chat

// jsonText walks a JSON text (RFC 8259) whose UTF-8 has been checked. It is for the records of the feed: it
// makes no garbage, and takes less than half the time of a tokenizer that must serve every purpose. What
// it takes for JSON is what scanObject does; a test holds the one against the other.
type jsonText struct {
	bytes []byte
	at    int
}

// Values are nested at most so deep.
const maxDepth = 10000

// peek is the next byte, 0 at the end: no JSON has one outside of strings.
func (t *jsonText) peek() byte {
	if t.at < len(t.bytes) {
		return t.bytes[t.at]
	}
	return 0
}

func (t *jsonText) space() {
	for t.at < len(t.bytes) {
		switch t.bytes[t.at] {
		case ' ', '\t', '\n', '\r':
			t.at++
		default:
			return
		}
	}
}

// punctuation passes over c, with white space before it, and reports whether it was there.
func (t *jsonText) punctuation(c byte) bool {
	t.space()
	if t.peek() != c {
		return false
	}
	t.at++
	return true
}

// members passes over an object's rest, behind its brace, and calls member for each member, with name and
// value as they stand in the text.
func (t *jsonText) members(depth int, member func(name, value []byte)) bool {
	if t.punctuation('}') {
		return true
	}
	for {
		t.space()
		from := t.at
		if t.peek() != '"' || !t.text() {
			return false
		}
		name := t.bytes[from:t.at]
		if !t.punctuation(':') {
			return false
		}
		t.space()
		from = t.at
		if !t.value(depth) {
			return false
		}
		if member != nil {
			member(name, t.bytes[from:t.at])
		}
		if t.punctuation('}') {
			return true
		}
		if !t.punctuation(',') {
			return false
		}
	}
}

func (t *jsonText) elements(depth int) bool {
	if t.punctuation(']') {
		return true
	}
	for {
		t.space()
		if !t.value(depth) {
			return false
		}
		if t.punctuation(']') {
			return true
		}
		if !t.punctuation(',') {
			return false
		}
	}
}

// value passes over a value at the given depth.
func (t *jsonText) value(depth int) bool {
	switch t.peek() {
	case '"':
		return t.text()
	case '{':
		t.at++
		return depth < maxDepth && t.members(depth+1, nil)
	case '[':
		t.at++
		return depth < maxDepth && t.elements(depth+1)
	case 't':
		return t.word("true")
	case 'f':
		return t.word("false")
	case 'n':
		return t.word("null")
	}
	return t.number()
}

func (t *jsonText) word(w string) bool {
	if len(t.bytes)-t.at < len(w) || string(t.bytes[t.at:t.at+len(w)]) != w {
		return false
	}
	t.at += len(w)
	return true
}

// text passes over a string, whose first quote is next.
func (t *jsonText) text() bool {
	for i := t.at + 1; i < len(t.bytes); i++ {
		switch c := t.bytes[i]; {
		case c == '"':
			t.at = i + 1
			return true
		case c < ' ':
			return false
		case c == '\\':
			n := escapeLength(t.bytes[i:])
			if n == 0 {
				return false
			}
			i += n - 1
		}
	}
	return false
}

// escapeLength is the length of the escape that b begins with, 0 if it is none.
func escapeLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && isHex(b[2]) && isHex(b[3]) && isHex(b[4]) && isHex(b[5]) {
			return 6
		}
	}
	return 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (t *jsonText) number() bool {
	if t.peek() == '-' {
		t.at++
	}
	if t.peek() == '0' {
		t.at++
	} else if !t.digits() {
		return false
	}
	if t.peek() == '.' {
		t.at++
		if !t.digits() {
			return false
		}
	}
	if c := t.peek(); c != 'e' && c != 'E' {
		return true
	}
	t.at++
	if c := t.peek(); c == '+' || c == '-' {
		t.at++
	}
	return t.digits()
}

func (t *jsonText) digits() bool {
	from := t.at
	for c := t.peek(); '0' <= c && c <= '9'; c = t.peek() {
		t.at++
	}
	return t.at > from
}
