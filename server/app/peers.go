package app

import (
	"net"
	"net/netip"
	"sync"
)

// Peers counts the open connections of each IP address, up to a limit for each. Without a limit it
// keeps nothing.
type Peers struct {
	most int

	mu    sync.Mutex
	count map[netip.Addr]int // guarded by mu: of addresses that have any
}

// NewPeers allows so many connections for an address; 0 is any number.
func NewPeers(most int) *Peers {
	return &Peers{most: most, count: make(map[netip.Addr]int)}
}

// Limited reports that there is a limit, so that connections must be counted.
func (p *Peers) Limited() bool { return p.most > 0 }

// Take counts a connection from the address, or reports false if there are as many as may be.
func (p *Peers) Take(from net.Addr) bool {
	if !p.Limited() {
		return true
	}
	ip := ipOf(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[ip] >= p.most {
		return false
	}
	p.count[ip]++
	return true
}

// Give takes back what Take has counted.
func (p *Peers) Give(from net.Addr) {
	if !p.Limited() {
		return
	}
	ip := ipOf(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[ip]--; p.count[ip] <= 0 {
		delete(p.count, ip)
	}
}

// ipOf is the address without the port. An IPv4 address is the same however it was written.
func ipOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip, _ := netip.AddrFromSlice(tcp.IP) // the zero address, which is counted like any other
	return ip.Unmap()
}
