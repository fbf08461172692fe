package main

import (
	"errors"
	"fmt"
	"strconv"
)

// part is one process's place among those that share a run.
type part struct {
	index int
	of    int
}

// MarshalText writes what UnmarshalText reads.
func (p part) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d/%d", p.index, p.of), nil }

// UnmarshalText reads "0/1".
func (p *part) UnmarshalText(text []byte) error {
	if _, err := fmt.Sscanf(string(text), "%d/%d", &p.index, &p.of); err != nil {
		return fmt.Errorf("part %q: %w", text, err)
	}
	if p.index < 0 || p.index >= p.of {
		return fmt.Errorf("part %q: there is no such part", text)
	}
	return nil
}

// isWhole tells whether there are no other processes.
func (p part) isWhole() bool { return p.of == 1 }

// owns tells whether this process sends event n of a stream.
func (p part) owns(n int) bool { return n%p.of == p.index }

// events gives how many of a stream's events this process sends; none if its place is behind the last of those
// that send.
func (p part) events(total int) int {
	if p.index >= p.of {
		return 0
	}
	return (total - p.index + p.of - 1) / p.of
}

// cut gives this part's piece of 0 to n-1; it is as long as events(n).
func (p part) cut(n int) (from, to int) {
	from = p.index*(n/p.of) + min(p.index, n%p.of)
	return from, from + p.events(n)
}

// block is members that stand one after the other in the run, in whole groups.
type block struct {
	first      int // number of the first member among all processes'
	members    int
	firstGroup int
}

// share is what one process holds of a run's connections. Members whose groups get records come first, then other
// members. Passers-by, if a scenario has such, follow: they listen to groups of the members, and nothing is expected
// of them.
type share struct {
	part      part
	feeders   part // its place among those that send records: the later processes may have no groups that get any
	fed, rest block
	receivers int // members of a group
	passersBy int
}

// share cuts the run's connections between groups, those of the first groups and the others each for itself, so that
// every process has its share of both. With fed 0 all groups get records.
func (p part) share(total, receivers, fed int) share {
	groups := (total + receivers - 1) / receivers
	if fed == 0 {
		fed = groups
	}
	cut := func(from, to int) block {
		first, end := p.cut(to - from)
		first, end = from+first, from+end
		return block{first: min(first*receivers, total), members: min(end*receivers, total) - min(first*receivers, total), firstGroup: first}
	}
	return share{part: p, feeders: part{p.index, min(p.of, fed)}, fed: cut(0, fed), rest: cut(fed, groups), receivers: receivers}
}

// shareOfOne cuts a group of all anywhere.
func (p part) shareOfOne(total int) share {
	from, to := p.cut(total)
	return share{part: p, feeders: p, fed: block{first: from, members: to - from}, receivers: to - from}
}

func (s share) members() int { return s.fed.members + s.rest.members }

// connections counts members and passers-by.
func (s share) connections() int { return s.members() + s.passersBy }

// groupsIn gives how many groups so many members are, the last of which may be smaller.
func (s share) groupsIn(members int) int { return (members + s.receivers - 1) / s.receivers }

// group gives a connection's group within this process. Passers-by go round the groups that get records, if there
// are such here.
func (s share) group(conn int) int {
	if conn < s.members() {
		return conn / s.receivers
	}
	groups := s.groupsIn(s.fed.members)
	if groups == 0 {
		groups = s.groupsIn(s.rest.members)
	}
	return (conn - s.members()) % groups
}

// groupOfRun gives the number among all processes' groups of one that is counted within this process.
func (s share) groupOfRun(group int) int {
	if fed := s.groupsIn(s.fed.members); group >= fed {
		return s.rest.firstGroup + group - fed
	}
	return s.fed.firstGroup + group
}

// number gives a connection's number among all processes'. Passers-by are numbered among themselves.
func (s share) number(conn int) int {
	switch {
	case conn < s.fed.members:
		return s.fed.first + conn
	case conn < s.members():
		return s.rest.first + conn - s.fed.members
	default:
		return s.part.index + (conn-s.members())*s.part.of
	}
}

// place gives a member's place in its group.
func (s share) place(conn int) int { return conn % s.receivers }

// processCount is a number, or 0 for as many as are needed.
type processCount int

const automatic = "auto"

// MarshalText writes what UnmarshalText reads.
func (c processCount) MarshalText() ([]byte, error) {
	if c == 0 {
		return []byte(automatic), nil
	}
	return strconv.AppendInt(nil, int64(c), 10), nil
}

// UnmarshalText reads a number or "auto".
func (c *processCount) UnmarshalText(text []byte) error {
	if string(text) == automatic {
		*c = 0
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > maxProcesses {
		return errors.New("want auto or a number from 1 to 256")
	}
	*c = processCount(n)
	return nil
}

const maxProcesses = 256

// resolve turns auto into a number.
func (c processCount) resolve(connections int) (int, error) {
	if c != 0 {
		return int(c), nil
	}
	limit, err := descriptorLimit()
	if err != nil {
		return 0, err
	}
	each := int(min(limit, 1<<30)) - descriptorReserve
	if each < 1 || (connections+each-1)/each > maxProcesses {
		return 0, fmt.Errorf("%d connections cannot be held with %d descriptors a process: raise the limit (ulimit -Hn)", connections, limit)
	}
	return (connections + each - 1) / each, nil
}
