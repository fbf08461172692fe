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

// events gives how many of a stream's events this process sends.
func (p part) events(total int) int { return (total - p.index + p.of - 1) / p.of }

// cut gives this part's piece of 0 to n-1; it is as long as events(n).
func (p part) cut(n int) (from, to int) {
	from = p.index*(n/p.of) + min(p.index, n%p.of)
	return from, from + p.events(n)
}

// share is what one process holds of a run's connections. The members come first; passers-by, if a scenario has
// such, follow: they listen to the groups of the members, and nothing is expected of them.
type share struct {
	part       part
	members    int
	first      int // number of the first member among all processes'
	firstGroup int
	receivers  int // members of a group
	passersBy  int
}

// share cuts the run's connections between groups; or, if all are in one group, anywhere.
func (p part) share(total, receivers int, oneGroup bool) share {
	if oneGroup {
		from, to := p.cut(total)
		return share{part: p, members: to - from, first: from, receivers: to - from}
	}
	from, to := p.cut((total + receivers - 1) / receivers)
	first, end := min(from*receivers, total), min(to*receivers, total)
	return share{part: p, members: end - first, first: first, firstGroup: from, receivers: receivers}
}

// connections counts members and passers-by.
func (s share) connections() int { return s.members + s.passersBy }

// groups gives the number of groups that this process holds.
func (s share) groups() int { return (s.members + s.receivers - 1) / s.receivers }

// group gives a connection's group within this process.
func (s share) group(conn int) int {
	if conn >= s.members {
		return (conn - s.members) % s.groups()
	}
	return conn / s.receivers
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
