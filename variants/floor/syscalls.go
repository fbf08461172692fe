package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls that are made all the time. None of them blocks, so Go's scheduler need not hear of them: it
// would take the processor away from the longer ones, which costs a few per cent of a broadcast's CPU time.

// read reads into b, which is not empty; 0 bytes are the peer's end.
func read(fd int, b []byte) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// write writes what the socket takes of b, which may be nothing.
func write(fd int, b []byte) (n int, errno unix.Errno) {
	for {
		r, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(r), 0
		case unix.EAGAIN:
			return 0, 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// accept takes a connection, without its address, for which nobody asks.
func accept(listener int) (fd int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(r), errno
}
