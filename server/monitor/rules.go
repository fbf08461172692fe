package monitor

import (
	"slices"

	"chatmonitor/server/chat"
)

// rules are the places of the session's rules in the index, oldest first. They are valid until a rule of
// any session is set or removed.
func (s *Session) rules() []int32 {
	switch {
	case s.rare != nil && s.rare.rules != nil:
		return s.rare.rules
	case s.only[0] != none:
		return s.only[:]
	}
	return nil
}

// find is which of the rules has that name, or -1.
func (s *Session) find(name string) int {
	index := s.shard.index
	return slices.IndexFunc(s.rules(), func(place int32) bool { return string(index.Name(place)) == name })
}

// rulesBytes is what the rules take but the one of that number, if it is not negative.
func (s *Session) rulesBytes(without int) (sum int) {
	for i, place := range s.rules() {
		if i != without {
			sum += len(s.shard.index.bytes(place))
		}
	}
	return sum
}

// setRule adds a rule, or replaces the one of that number, if it is not negative.
func (s *Session) setRule(number int, name string, rule *chat.Rule) {
	place := s.shard.addRule(s, name, rule)
	if number >= 0 {
		old := s.rules()[number]
		s.rules()[number] = place
		s.shard.removeRule(old)
		return
	}
	switch rules := s.rules(); len(rules) {
	case 0:
		s.only[0] = place
	case 1:
		s.uncommon().rules = []int32{rules[0], place}
		s.only[0] = none
	default:
		s.rare.rules = append(rules, place)
	}
}

// removeRule removes the rule of that number. The index may move another rule of this session while it
// does so: by then the list is right.
func (s *Session) removeRule(number int) {
	rules := s.rules()
	place := rules[number]
	switch len(rules) {
	case 1:
		s.only[0] = none
	case 2:
		s.only[0], s.rare.rules = rules[1-number], nil
		s.tidy()
	default:
		s.rare.rules = slices.Delete(rules, number, number+1)
	}
	s.shard.removeRule(place)
}

// ruleMoved says that one of the session's rules has another place in the index.
func (s *Session) ruleMoved(from, to int32) {
	rules := s.rules()
	rules[slices.Index(rules, from)] = to
}

func (s *Session) waiting() *backlog {
	if s.rare == nil {
		return nil
	}
	return s.rare.waiting
}

func (s *Session) setWaiting(b *backlog) {
	if b != nil {
		s.uncommon().waiting = b
	} else if s.rare != nil {
		s.rare.waiting = nil
		s.tidy()
	}
}

func (s *Session) uncommon() *rare {
	if s.rare == nil {
		s.rare = &rare{}
	}
	return s.rare
}

// tidy drops what is rare when there is none of it.
func (s *Session) tidy() {
	if s.rare.rules == nil && s.rare.waiting == nil {
		s.rare = nil
	}
}
