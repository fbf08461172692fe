package client

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// dialSocket begins a connection to target without waiting for it. receiveBytes 0 leaves the buffer to the kernel.
func dialSocket(target netip.AddrPort, source netip.Addr, receiveBytes int) (fd int, err error) {
	family := unix.AF_INET
	if target.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if receiveBytes > 0 { // before connect, which settles the window's scale
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBytes)
	}
	if err == nil {
		err = startConnect(fd, target, source)
	}
	if err != nil {
		return -1, errors.Join(err, closeSocket(fd))
	}
	return fd, nil
}

func closeSocket(fd int) error {
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close socket: %w", err)
	}
	return nil
}

func startConnect(fd int, target netip.AddrPort, source netip.Addr) error {
	// Lingering for 0 s ends a connection with a reset: no TIME_WAIT stays, however this process ends.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return fmt.Errorf("set SO_LINGER: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	if source.IsValid() {
		if err := bindSource(fd, source); err != nil {
			return err
		}
	}
	err := unix.Connect(fd, sockaddr(target))
	if err == nil || errors.Is(err, unix.EINPROGRESS) {
		return nil
	}
	return connectError(err)
}

// bindSource chooses the address and leaves the port to connect, which may then use a port once per destination
// rather than once per machine.
func bindSource(fd int, source netip.Addr) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
		return fmt.Errorf("bind to a source address: %w", err)
	}
	return nil
}

func connectError(err error) error {
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("connect: no local port is free: give more --sources: %w", err)
	}
	return fmt.Errorf("connect: %w", err)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// pendingError is what became of a connect that was begun.
func pendingError(fd int) error {
	number, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("read SO_ERROR: %w", err)
	}
	if number != 0 {
		return connectError(unix.Errno(number))
	}
	return nil
}
