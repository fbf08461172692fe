package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readBufferBytes = 64 << 10
	eventsPerWait   = 256
	acceptsPerTurn  = 64
	// A loop's scratch memory that is longer than this is not kept.
	maxSpareBytes = 1 << 20
	// Where accept failed for want of descriptors or memory, it is tried again after this time.
	acceptRest = 100 * time.Millisecond
)

// loop serves the connections that its listener accepted, on one goroutine.
type loop struct {
	// static after newLoop
	server   *server
	epoll    int
	listener int
	wake     int         // eventfd
	inbox    chan []byte // frames for the receivers

	// owned by the loop's goroutine
	events     []unix.EpollEvent
	buffer     []byte         // all connections are read into it
	out        []byte         // the answers to what was read
	batch      []byte         // frames that go out in one write
	unfinished map[int][]byte // by descriptor: what has come of a head or a message whose end has not
	unsent     map[int][]byte // by descriptor: what the socket has not taken; while there is any, it is not read
	heldBytes  int            // in both
	receivers  []int          // descriptors
	restUntil  time.Time      // nothing is accepted before; zero: it is

	// atomics
	rung      atomic.Bool // the wake-up was given and has not been heard
	receiving atomic.Int32
	failures  atomic.Int64 // of accept
}

func newLoop(s *server, address netip.AddrPort) (l *loop, err error) {
	l = &loop{
		server: s, epoll: -1, listener: -1, wake: -1,
		inbox:      make(chan []byte, inboxFrames),
		events:     make([]unix.EpollEvent, eventsPerWait),
		buffer:     make([]byte, readBufferBytes),
		unfinished: make(map[int][]byte),
		unsent:     make(map[int][]byte),
	}
	if err := l.open(address); err != nil {
		return nil, errors.Join(err, l.free())
	}
	return l, nil
}

func (l *loop) open(address netip.AddrPort) (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("floor: create epoll: %w", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("floor: create eventfd: %w", err)
	}
	if l.listener, err = listen(address, l.server.config.SocketSendBuffer); err != nil {
		return err
	}
	// Edge-triggered, so that nobody has to read the counter: each write is told once.
	if err := l.watch(unix.EPOLL_CTL_ADD, l.wake, unix.EPOLLIN|unix.EPOLLET); err != nil {
		return err
	}
	return l.watch(unix.EPOLL_CTL_ADD, l.listener, unix.EPOLLIN)
}

func (l *loop) free() (err error) {
	for _, fd := range []int{l.listener, l.wake, l.epoll} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	if err != nil {
		return fmt.Errorf("floor: close a loop: %w", err)
	}
	return nil
}

func (l *loop) watch(operation, fd int, events uint32) error {
	if err := unix.EpollCtl(l.epoll, operation, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("floor: watch a descriptor: %w", err)
	}
	return nil
}

// ring wakes the loop; it may be called from any goroutine.
func (l *loop) ring() {
	if !l.rung.CompareAndSwap(false, true) {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	if _, err := unix.Write(l.wake, one[:]); err != nil {
		panic("floor: write to an eventfd: " + err.Error()) // its counter would take centuries to fill
	}
}

// run serves until the server stops.
func (l *loop) run() error {
	for !l.server.stopping.Load() {
		// Go's monitor takes the processor from a goroutine that has not been through the scheduler for 10 ms
		// in each of its system calls: a futex call for every event, and half as much CPU again. For the same
		// reason the goroutine is not locked to its thread: a locked one changes threads to yield.
		runtime.Gosched()
		n, err := unix.EpollWait(l.epoll, l.events, l.timeoutMilliseconds())
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("floor: wait for events: %w", err)
		}
		if err := l.turn(l.events[:n]); err != nil {
			return err
		}
	}
	return nil
}

// turn serves what epoll told. While events are gone through, a connection is closed by its own event
// alone, so that no event is of a descriptor that belongs to another connection by now; the frames for the
// receivers, whose writes may close anybody, come last.
func (l *loop) turn(events []unix.EpollEvent) error {
	woken := false
	for _, event := range events {
		switch fd := int(event.Fd); fd {
		case l.wake:
			woken = true
		case l.listener:
			if err := l.accept(); err != nil {
				return err
			}
		default:
			l.serve(fd, event.Events)
		}
	}
	if woken {
		l.deliver()
	}
	if !l.restUntil.IsZero() && time.Now().After(l.restUntil) {
		l.restUntil = time.Time{}
		return l.watch(unix.EPOLL_CTL_MOD, l.listener, unix.EPOLLIN)
	}
	return nil
}

func (l *loop) timeoutMilliseconds() int {
	if l.restUntil.IsZero() {
		return -1
	}
	return int(acceptRest.Milliseconds())
}

// accept takes what connections wait. No failure ends it, and none makes it spin: its errors are epoll's.
func (l *loop) accept() error {
	for range acceptsPerTurn {
		fd, errno := accept(l.listener)
		switch errno {
		case 0:
			l.admit(fd)
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ECONNABORTED:
		default:
			l.server.trouble(fmt.Errorf("floor: accept, failed %d times so far: %w", l.failures.Add(1), errno))
			l.restUntil = time.Now().Add(acceptRest)
			return l.watch(unix.EPOLL_CTL_MOD, l.listener, 0)
		}
	}
	return nil
}

// admit begins a connection. The kernel gives the lowest free descriptor: one beyond the table tells that all
// that are for clients are in use.
func (l *loop) admit(fd int) {
	if fd >= len(l.server.conns) {
		write(fd, answerFull) // its failure changes nothing
		l.closeDescriptor(fd)
		return
	}
	if err := l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
		l.server.trouble(err)
		l.closeDescriptor(fd)
		return
	}
	l.setState(fd, inHead)
}

func (l *loop) state(fd int) state { return state(l.server.conns[fd].Load()) }

func (l *loop) setState(fd int, s state) { l.server.conns[fd].Store(uint32(s)) }
