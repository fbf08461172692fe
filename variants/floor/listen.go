package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// freeAddress finds out whether the address can be had, and which port 0 stands for. Listeners with
// SO_REUSEPORT would share a port with another program's in silence, so a plain one has to ask.
func freeAddress(address string) (netip.AddrPort, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, unix.EADDRINUSE) {
		return netip.AddrPort{}, fmt.Errorf("floor: %s is taken by another program; choose another --listen: %w", address, err)
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("floor: --listen: %w", err)
	}
	actual := l.Addr().(*net.TCPAddr).AddrPort()
	if err := l.Close(); err != nil {
		return netip.AddrPort{}, fmt.Errorf("floor: --listen: %w", err)
	}
	return netip.AddrPortFrom(actual.Addr().Unmap(), actual.Port()), nil
}

func loopCount(c config) int {
	if c.Loops > 0 {
		return c.Loops
	}
	return runtime.GOMAXPROCS(0)
}

// spareProcs is how many more threads may run Go code than there are loops. A loop waits in a blocking epoll_wait,
// of which Go's scheduler knows nothing but that it is a system call, and keeps its place among the GOMAXPROCS until
// the runtime's monitor takes it away, up to 10 ms later. Were all places taken so, the feed's goroutines would lie
// for as long, with the record that is being measured. One more is enough: those that nothing keeps busy cost
// processor time, since Go wakes another thread to look for work whenever one becomes ready.
const spareProcs = 1

// raiseProcs makes room for the goroutines besides the loops, unless the environment says how much there is to be.
func raiseProcs(loops int) {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < loops+spareProcs {
		runtime.GOMAXPROCS(loops + spareProcs)
	}
}

// backlog is cut down by the kernel to what net.core.somaxconn allows.
const backlog = 65535

// listen opens one of the sockets that share the port. Connections inherit its options, which saves
// them a system call each.
func listen(address netip.AddrPort, sendBufferBytes int) (fd int, err error) {
	family := unix.AF_INET
	if address.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("floor: listen: socket: %w", err)
	}
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, sendBufferBytes},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	} {
		err = errors.Join(err, unix.SetsockoptInt(fd, option.level, option.name, option.value))
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(address))
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("floor: listen on %v: %w", address, err), unix.Close(fd))
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}
