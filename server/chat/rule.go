package chat

import (
	"fmt"
	"slices"
	"strings"
)

// RuleLimits bound what one rule may cost.
type RuleLimits struct {
	MaxEntries  int // product of the lengths of the field lists
	MaxKeywords int // keywords in a rule
}

// Rule says which records a session wants: the conjunction of its conditions. A field's condition is
// met when the record has the field with any of the listed values; the keywords' when the record has
// a text in which any of them occurs, whatever the case. No condition at all is met by every record.
type Rule struct {
	IDs      [IDFields][]int64 // nil: no condition
	Channels []string          // nil: no condition
	Keywords []string          // folded; nil: no condition

	quoted [IDFields][]bool // which of IDs were given as strings
	given  []string         // Keywords as the client gave them
}

// ParseRule reads a rule. Its error is an *Error with code BadRule.
func ParseRule(source []byte, limits RuleLimits) (*Rule, error) {
	r := &Rule{}
	var seen []string
	err := scanObject(source, func(name, value []byte) error {
		if slices.Contains(seen, string(name)) {
			return fmt.Errorf("field %q is given twice", name)
		}
		seen = append(seen, string(name))
		if err := r.set(string(name), value, limits); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, badRule("rule: %v", err)
	}
	if n := r.Entries(); n > limits.MaxEntries {
		return nil, badRule("rule: its lists make %d combinations, the product of their lengths; at most %d are allowed: use several rules", n, limits.MaxEntries)
	}
	return r, nil
}

func (r *Rule) set(name string, value []byte, limits RuleLimits) (err error) {
	switch name {
	case "channel":
		r.Channels, err = parseStrings(value, true)
	case keywordsName:
		if kind(value) != '[' {
			return fmt.Errorf("want a list of strings")
		}
		if r.given, err = parseStrings(value, false); err != nil {
			return err
		}
		if len(r.given) > limits.MaxKeywords {
			return fmt.Errorf("%d keywords; at most %d are allowed", len(r.given), limits.MaxKeywords)
		}
		for _, k := range r.given {
			r.Keywords = append(r.Keywords, Fold(k))
		}
	default:
		field, known := recordField([]byte(name))
		if !known || field == Text {
			return fmt.Errorf("unknown field; a rule has app_id, agent_id, server_id, pid, channel, keywords")
		}
		err = r.setIntegers(field, value)
	}
	return err
}

// keywordsName is the name of the condition on a record's text.
const keywordsName = "keywords"

func (r *Rule) setIntegers(field Field, value []byte) error {
	_, err := parseOneOrMany(value, func(value []byte) (int64, error) {
		id, err := parseInteger(value)
		r.IDs[field] = append(r.IDs[field], id)
		r.quoted[field] = append(r.quoted[field], kind(value) == '"')
		return id, err
	})
	return err
}

var errEmptyList = fmt.Errorf("the list is empty; leave the field out to have no condition")

func parseStrings(value []byte, emptyAllowed bool) ([]string, error) {
	return parseOneOrMany(value, func(value []byte) (string, error) {
		if kind(value) != '"' {
			return "", fmt.Errorf("want a string or a list of strings")
		}
		s, err := unquote(nil, value)
		if len(s) == 0 && !emptyAllowed {
			return "", fmt.Errorf("a keyword is empty")
		}
		return string(s), err
	})
}

func parseOneOrMany[T any](value []byte, parse func([]byte) (T, error)) ([]T, error) {
	if kind(value) != '[' {
		one, err := parse(value)
		return []T{one}, err
	}
	var list []T
	err := scanArray(value, func(element []byte) error {
		one, err := parse(element)
		list = append(list, one)
		return err
	})
	if err == nil && list == nil {
		err = errEmptyList
	}
	return list, err
}

// Entries is the number of places that the rule takes in an index: the product of its lists.
func (r *Rule) Entries() int {
	n := max(1, len(r.Channels))
	for _, list := range r.IDs {
		if n *= max(1, len(list)); n > 1<<40 {
			return n // it is over every limit, and will not overflow
		}
	}
	return n
}

// Fields is the set of fields that the rule has a condition on, Text standing for keywords.
func (r *Rule) Fields() FieldSet {
	var set FieldSet
	for f, list := range r.IDs {
		if list != nil {
			set = set.With(Field(f))
		}
	}
	if r.Channels != nil {
		set = set.With(Channel)
	}
	if r.Keywords != nil {
		set = set.With(Text)
	}
	return set
}

// Matches says whether the rule wants the record, whose text is foldedText after Fold. It is the
// meaning of a rule in its plainest form; an index must agree with it.
func (r *Rule) Matches(record *Record, foldedText string) bool {
	if needed := r.Fields(); needed&record.Present != needed {
		return false
	}
	for f, list := range r.IDs {
		if list != nil && !slices.Contains(list, record.IDs[f]) {
			return false
		}
	}
	if r.Channels != nil && !slices.Contains(r.Channels, record.Channel) {
		return false
	}
	return r.Keywords == nil || ContainsAny(foldedText, r.Keywords)
}

// ContainsAny reports whether any of the folded keywords occurs in the folded text.
func ContainsAny(foldedText string, keywords []string) bool {
	return slices.ContainsFunc(keywords, func(k string) bool { return strings.Contains(foldedText, k) })
}
