package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"chatmonitor/loadgen/client"
)

const (
	// connectionsPerSource is far below the 28,232 ports that Linux hands out by default: connect tries ports one by
	// one, every second one first, and slows down tenfold when those 14,116 are in use (seen: 12,000/s, then 1,000/s).
	connectionsPerSource = 4_000
	// descriptorReserve is for everything that is not a connection: Kafka, pipes, epoll, resolvers.
	descriptorReserve = 64
	maxSources        = 1 << 16
	maxMessageBytes   = 4 << 20
)

// clientConfig resolves and checks everything about the target that can be checked without connecting.
func (f targetFlags) clientConfig(ctx context.Context, held share) (client.Config, error) {
	config := client.Config{
		Connections:     held.connections(),
		Timeout:         f.ConnectTimeout,
		MaxMessageBytes: maxMessageBytes,
		Seed:            f.Seed,
		Number:          held.number,
	}
	for _, text := range f.URL {
		server, err := f.server(ctx, text)
		if err != nil {
			return client.Config{}, err
		}
		config.Servers = append(config.Servers, server)
	}
	return config, nil
}

func (f targetFlags) server(ctx context.Context, text string) (client.Server, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return client.Server{}, fmt.Errorf("--url: %w", err)
	}
	if u.Scheme != "ws" || u.Hostname() == "" {
		return client.Server{}, fmt.Errorf("--url %s: want ws://host:port/path (TLS is not spoken here)", text)
	}
	address, err := resolve(ctx, u)
	if err != nil {
		return client.Server{}, err
	}
	sources, err := f.sources(address.Addr())
	if err != nil {
		return client.Server{}, err
	}
	for _, source := range sources {
		if source.Is4() != address.Addr().Is4() {
			return client.Server{}, fmt.Errorf("--sources: there is no way from %v to %v: one is IPv4, the other IPv6", source, address.Addr())
		}
	}
	return client.Server{Address: address, Host: u.Host, Path: u.RequestURI(), Sources: sources}, nil
}

func resolve(ctx context.Context, u *url.URL) (netip.AddrPort, error) {
	port := 80
	if text := u.Port(); text != "" {
		number, err := strconv.ParseUint(text, 10, 16)
		if err != nil || number == 0 {
			return netip.AddrPort{}, fmt.Errorf("--url: port %s: want 1 to 65535", text)
		}
		port = int(number)
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--url: resolve host: %w", err)
	}
	return netip.AddrPortFrom(preferred(addresses), uint16(port)), nil
}

// preferred is the first address of IPv4 if there is one: most servers that are called localhost listen on 127.0.0.1
// alone, and resolvers put ::1 first.
func preferred(addresses []netip.Addr) netip.Addr {
	for _, address := range addresses {
		if address = address.Unmap(); address.Is4() {
			return address
		}
	}
	return addresses[0]
}

// sources gives the addresses to connect from; none leaves the choice to the kernel.
func (f targetFlags) sources(target netip.Addr) ([]netip.Addr, error) {
	switch {
	case f.Sources == automatic && target.Is4() && target.IsLoopback():
		return loopbackSources((f.Connections + connectionsPerSource - 1) / connectionsPerSource), nil
	case f.Sources == automatic:
		return nil, nil
	case strings.Contains(f.Sources, "/"):
		return cidrSources(f.Sources)
	}
	var sources []netip.Addr
	for text := range strings.SplitSeq(f.Sources, ",") {
		source, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--sources: %w", err)
		}
		sources = append(sources, source)
	}
	return sources, nil
}

func loopbackSources(n int) []netip.Addr {
	sources := make([]netip.Addr, 0, n)
	for next := netip.AddrFrom4([4]byte{127, 0, 0, 2}); len(sources) < n; next = next.Next() {
		sources = append(sources, next)
	}
	return sources
}

func cidrSources(text string) ([]netip.Addr, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, fmt.Errorf("--sources: %w", err)
	}
	var sources []netip.Addr
	for next := prefix.Masked().Addr(); prefix.Contains(next); next = next.Next() {
		if len(sources) == maxSources {
			return nil, fmt.Errorf("--sources: %s has more than %d addresses", text, maxSources)
		}
		sources = append(sources, next)
	}
	return sources, nil
}

// descriptorLimit lifts the soft limit of open files to the hard one and returns it.
func descriptorLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur < limit.Max {
		limit.Cur = limit.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return 0, fmt.Errorf("raise the limit of open files to %d: %w", limit.Max, err)
		}
	}
	return limit.Cur, nil
}

// reserveDescriptors says so if this process cannot hold the connections, and has the kernel make room for them:
// its table doubles when it is full, which in a process of several threads takes 10 to 20 ms (seen; expand_fdtable in
// fs/file.c lets all processors come by first), and a connect in the middle of a run would be that late.
func reserveDescriptors(connections int) error {
	limit, err := descriptorLimit()
	if err != nil {
		return err
	}
	if need := uint64(connections) + descriptorReserve; need > limit {
		return fmt.Errorf("%d connections need %d descriptors and the hard limit of this process is %d: "+
			"ask for at most %d, raise the limit (ulimit -Hn), or use --processes=auto",
			connections, need, limit, max(0, int64(limit)-descriptorReserve))
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC) // any descriptor
	if err != nil {
		return fmt.Errorf("make room for descriptors: %w", err)
	}
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, connections+descriptorReserve-1)
	if err == nil {
		err = unix.Close(high)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("make room for descriptors: %w", err)
	}
	return nil
}
