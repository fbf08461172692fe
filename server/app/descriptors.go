package app

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"
)

// raiseDescriptors raises the soft descriptor limit to the hard one, and sizes the server by it.
func raiseDescriptors(c *Config, log *slog.Logger) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("app: descriptor limit: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("app: raising the descriptor limit to %d: %w", limit.Max, err)
	}
	if err := c.limitConnections(int(min(limit.Cur, 1<<30))); err != nil {
		return err
	}
	if err := growDescriptorTable(min(c.MaxConnections+c.MaxHTTPConnections+reservedDescriptors, mostGrown)); err != nil {
		log.Warn("the table of descriptors will grow when it has to", "err", err)
	}
	log.Info("limits", "descriptors", limit.Cur, "max_connections", c.MaxConnections, "max_http_connections", c.MaxHTTPConnections)
	return nil
}

// mostGrown is where the table is half a megabyte, and grows so seldom that it may do so when it has to.
const mostGrown = 1 << 16

// growDescriptorTable has the kernel make room for n descriptors now. It doubles the table of a process when
// it is full, and where threads share the table it lets all processors come by first (expand_fdtable, in
// fs/file.c): whoever accepts the 256th, the 512th ... connection waits 10 to 20 ms (seen), and the loop with it.
func growDescriptorTable(n int) error {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC) // any descriptor
	if err != nil {
		return fmt.Errorf("app: a descriptor to make room with: %w", err)
	}
	high, _, failed := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, uintptr(n-1))
	if failed != 0 {
		err = failed
	} else {
		err = syscall.Close(int(high))
	}
	if err := errors.Join(err, syscall.Close(fd)); err != nil {
		return fmt.Errorf("app: make room for %d descriptors: %w", n, err)
	}
	return nil
}
