package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// holdAddress finds out whether the address can be had, and which port 0 stands for, and keeps others
// from getting that port by chance. Two servers may share a port where the network layer listens with
// SO_REUSEPORT, so a plain listen has to ask. Then a socket that is bound and does not listen holds
// the port until release: the kernel hands it to nobody who asks for any port, and the network
// layer's listeners, which have SO_REUSEADDR, may bind beside it.
func holdAddress(address string) (actual string, release func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return "", nil, fmt.Errorf("app: %s is taken by another program; choose another --listen: %w", address, err)
		}
		return "", nil, fmt.Errorf("app: --listen: %w", err)
	}
	at := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		return "", nil, fmt.Errorf("app: --listen: %w", err)
	}
	fd, err := boundSocket(at)
	if err != nil {
		return "", nil, fmt.Errorf("app: --listen: hold %v: %w", at, err)
	}
	return at.String(), func() { _ = syscall.Close(fd) }, nil
}

// boundSocket is a TCP socket that is bound to the address.
func boundSocket(at *net.TCPAddr) (fd int, err error) {
	family, sockaddr := syscall.AF_INET6, syscall.Sockaddr(&syscall.SockaddrInet6{Port: at.Port, Addr: [16]byte(at.IP.To16())})
	if v4 := at.IP.To4(); v4 != nil {
		family, sockaddr = syscall.AF_INET, &syscall.SockaddrInet4{Port: at.Port, Addr: [4]byte(v4)}
	}
	fd, err = syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err == nil {
		err = syscall.Bind(fd, sockaddr)
	}
	if err != nil {
		return 0, errors.Join(os.NewSyscallError("bind", err), syscall.Close(fd))
	}
	return fd, nil
}
