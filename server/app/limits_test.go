package app

import (
	"net"
	"testing"
)

func TestPace(t *testing.T) {
	for _, c := range []struct {
		perSecond int
		name      string
		at        []uint32 // microseconds
		want      []bool
	}{
		{3, "a second's worth at once", []uint32{0, 0, 0, 0}, []bool{true, true, true, false}},
		{3, "one more when its time has come", []uint32{0, 0, 0, 333_333, 333_334}, []bool{true, true, true, true, false}},
		{2, "for ever at the pace", []uint32{0, 500_000, 1_000_000, 1_500_000, 2_000_000}, []bool{true, true, true, true, true}},
		{2, "silence saves up a second's worth", []uint32{0, 0, 60_000_000, 60_000_000, 60_000_000}, []bool{true, true, true, true, false}},
		{1, "the refused do not count", []uint32{0, 1, 2, 1_000_000}, []bool{true, false, false, true}},
		{2, "across the wrap of time", []uint32{1<<32 - 10, 1<<32 - 5, 3, 499_990}, []bool{true, true, false, true}},
		{2, "after half the range of time", []uint32{5, 5, 1<<31 + 7, 1<<31 + 7, 1<<31 + 7}, []bool{true, true, true, true, false}},
	} {
		pace, due := NewPace(c.perSecond), c.at[0]
		for i, at := range c.at {
			if got := pace.Take(&due, at); got != c.want[i] {
				t.Errorf("%s: message %d at %d: got %v", c.name, i, at, got)
			}
		}
	}
	if NewPace(0).Limited() || !NewPace(1).Limited() || !NewPace(1<<40).Limited() {
		t.Error("only 0 is no limit")
	}
}

func TestPeers(t *testing.T) {
	at := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	p := NewPeers(2)
	one, same := at("127.0.0.1", 1), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 2}
	if !p.Take(one) || !p.Take(same) || p.Take(one) {
		t.Error("the limit of one address is not kept, whatever the port and the form")
	}
	if !p.Take(at("127.0.0.2", 1)) || !p.Take(at("::1", 1)) {
		t.Error("addresses share a limit")
	}
	p.Give(same)
	if !p.Take(one) || p.Take(one) {
		t.Error("what is given can't be taken again")
	}
	for range 2 {
		p.Give(one)
	}
	p.Give(at("127.0.0.2", 9))
	p.Give(at("::1", 9))
	if len(p.count) != 0 {
		t.Errorf("kept of addresses without connections: %v", p.count)
	}
	unlimited := NewPeers(0)
	if !unlimited.Take(one) || len(unlimited.count) != 0 {
		t.Error("something is kept without a limit")
	}
}
