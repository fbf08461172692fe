package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"chatmonitor/loadgen/pace"
)

const (
	readBufferBytes = 64 << 10
	eventsPerWait   = 256
	// expiryInterval is how late a deadline may be noticed.
	expiryInterval = 100 * time.Millisecond
	wakeEvent      = -1
)

// Loop holds the connections. Descriptors are closed by the goroutine of Run alone, after the state was changed
// under the connection's lock; whoever writes looks at the state and writes under it. So nobody writes into a
// descriptor that has been closed and belongs to somebody else by now.
type Loop struct {
	// static after New
	config Config
	epoll  int
	wake   int // eventfd
	done   chan struct{}

	conns   []conn          // each guarded by its stripe's mu
	stripes [stripes]stripe // connection i belongs to stripe i%stripes
	armed   atomic.Int64    // connections with a deadline
	pings   atomic.Int64    // that were answered

	// owned by the goroutine of Run
	handler    Handler
	buffer     []byte
	events     []unix.EpollEvent
	unfinished map[int]*unfinished
	spare      []*unfinished
	expiredNs  int64

	// guarded by mu, which is taken last
	mu       sync.Mutex
	ended    bool // eventfd is closed
	commands []func()
}

// stripes is how many locks the connections share. With one for all, a sender would wait for the whole loop
// whenever the scheduler takes the processor from it at a bad moment (seen: 3 ms on a busy machine).
const stripes = 64

// stripe is what some of the connections share; all of it is guarded by mu.
type stripe struct {
	mu      sync.Mutex
	ended   bool // epoll is closed
	unsent  map[int][]byte
	scratch []byte
	masks   rand.PCG
}

// lock gives the stripe of connection i, locked.
func (l *Loop) lock(i int) *stripe {
	s := &l.stripes[i%stripes]
	s.mu.Lock()
	return s
}

// New makes a loop whose connections are all closed. Only a loop that was Run gives its descriptors back.
func New(config Config, handler Handler) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("client: create epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("client: create eventfd: %w", err), closeSocket(epoll))
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeEvent}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &event); err != nil {
		return nil, errors.Join(fmt.Errorf("client: watch eventfd: %w", err), closeSocket(wake), closeSocket(epoll))
	}
	l := &Loop{
		config:     config,
		epoll:      epoll,
		wake:       wake,
		done:       make(chan struct{}),
		handler:    handler,
		buffer:     make([]byte, readBufferBytes),
		events:     make([]unix.EpollEvent, eventsPerWait),
		unfinished: map[int]*unfinished{},
		conns:      make([]conn, config.Connections),
	}
	for i := range l.stripes {
		l.stripes[i].unsent = map[int][]byte{}
		l.stripes[i].masks.Seed(config.Seed, uint64(i))
	}
	return l, nil
}

// Run serves the connections on a thread of its own until ctx ends, then resets those that are left.
func (l *Loop) Run(ctx context.Context) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(l.done)
	defer func() { err = errors.Join(err, l.closeAll()) }()
	unwatch := context.AfterFunc(ctx, func() { l.Do(func() {}) })
	defer unwatch()
	for ctx.Err() == nil {
		n, err := unix.EpollWait(l.epoll, l.events, l.waitMilliseconds())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("client: wait for events: %w", err)
		}
		for _, event := range l.events[:max(n, 0)] {
			if event.Fd == wakeEvent {
				l.runCommands()
				continue
			}
			l.handle(event)
		}
		l.expire()
	}
	return nil
}

// Done is closed when Run has returned.
func (l *Loop) Done() <-chan struct{} { return l.done }

// Do has f run on the goroutine of Run, as soon as it is done with what it does. After Run has ended nothing runs.
func (l *Loop) Do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commands = append(l.commands, f)
	if len(l.commands) == 1 {
		l.wakeUp()
	}
}

// wakeUp makes the current or next wait return. Called with mu held. The write can fail only on a full counter,
// which wakes as well.
func (l *Loop) wakeUp() {
	if l.ended {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(l.wake, one[:])
}

func (l *Loop) runCommands() {
	var counter [8]byte
	_, _ = unix.Read(l.wake, counter[:]) // EAGAIN when there was nothing to take: as good
	l.mu.Lock()
	commands := l.commands
	l.commands = nil
	l.mu.Unlock()
	for _, command := range commands {
		command()
	}
}

// Dial begins connection i, which must be closed, from any goroutine. An error means that nothing was begun.
func (l *Loop) Dial(i int) error {
	nowNs := pace.Now()
	generation, err := l.claim(i, nowNs)
	if err != nil {
		return err
	}
	fd, err := l.dialSocket(i) // not under the lock: much happens in the kernel here
	s := l.lock(i)
	defer s.mu.Unlock()
	c := &l.conns[i]
	if err != nil {
		c.state = closed
		return err
	}
	if s.ended {
		c.state = closed
		return errors.Join(ErrNotOpen, closeSocket(fd))
	}
	event := unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(i), Pad: int32(generation)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		c.state = closed
		return errors.Join(fmt.Errorf("client: watch socket: %w", err), closeSocket(fd))
	}
	c.fd = int32(fd)
	l.setDeadline(c, nowNs+l.config.Timeout.Nanoseconds())
	return nil
}

// claim makes sure that only one goroutine dials connection i.
func (l *Loop) claim(i int, nowNs int64) (generation uint16, err error) {
	s := l.lock(i)
	defer s.mu.Unlock()
	c := &l.conns[i]
	if c.state != closed {
		return 0, fmt.Errorf("client: dial connection %d: it is not closed", i)
	}
	c.state, c.fd, c.dialledNs = connecting, -1, nowNs
	return c.generation, nil
}

// server gives where connection i goes.
func (l *Loop) server(i int) *Server { return &l.config.Servers[l.number(i)%len(l.config.Servers)] }

func (l *Loop) number(i int) int {
	if l.config.Number == nil {
		return i
	}
	return l.config.Number(i)
}

// dialSocket goes round the sources once for all servers, so that each server sees all of them.
func (l *Loop) dialSocket(i int) (fd int, err error) {
	server, source := l.server(i), netip.Addr{}
	if n := len(server.Sources); n > 0 {
		source = server.Sources[l.number(i)/len(l.config.Servers)%n]
	}
	return dialSocket(server.Address, source, l.receiveBytes(i))
}

func (l *Loop) receiveBytes(i int) int {
	if l.config.ReceiveBytes == nil {
		return 0
	}
	return l.config.ReceiveBytes(i)
}

// Deadline closes connection i at the given time unless it is moved again; NoDeadline lifts it.
func (l *Loop) Deadline(i int, atNs int64) {
	s := l.lock(i)
	defer s.mu.Unlock()
	if c := &l.conns[i]; c.state != closed {
		l.setDeadline(c, atNs)
	}
}

// setDeadline is called with the connection's lock held.
func (l *Loop) setDeadline(c *conn, atNs int64) {
	if c.deadlineNs != NoDeadline {
		l.armed.Add(-1)
	}
	c.deadlineNs = atNs
	if atNs != NoDeadline && l.armed.Add(1) == 1 {
		l.Do(func() {}) // ends a wait without end
	}
}

func (l *Loop) waitMilliseconds() int {
	if l.armed.Load() == 0 {
		return -1
	}
	return int(expiryInterval.Milliseconds())
}

// expire looks through all connections; with the usual few tens of thousands that takes some 50 us, and it is done
// only while somebody waits for something.
func (l *Loop) expire() {
	nowNs := pace.Now()
	if nowNs-l.expiredNs < expiryInterval.Nanoseconds() {
		return
	}
	l.expiredNs = nowNs
	for _, i := range l.overdue(nowNs) {
		l.close(i, timeoutIn(l.snapshot(i).state))
	}
}

func (l *Loop) overdue(nowNs int64) (overdue []int) {
	if l.armed.Load() == 0 {
		return nil
	}
	for first := range min(stripes, len(l.conns)) {
		s := l.lock(first)
		for i := first; i < len(l.conns); i += stripes {
			if at := l.conns[i].deadlineNs; at != NoDeadline && at <= nowNs {
				overdue = append(overdue, i)
			}
		}
		s.mu.Unlock()
	}
	return overdue
}

func timeoutIn(s state) error {
	switch s {
	case connecting:
		return ErrConnectTimeout
	case upgrading:
		return ErrUpgradeTimeout
	default:
		return ErrAnswerTimeout
	}
}

// Close resets connection i. To be called on the goroutine of Run.
func (l *Loop) Close(i int) error {
	return l.release(i)
}

// close ends connection i and says so.
func (l *Loop) close(i int, reason error) {
	if l.snapshot(i).state == closed {
		return
	}
	if err := l.release(i); err != nil {
		reason = errors.Join(reason, err)
	}
	l.handler.Closed(i, reason)
}

// release gives the descriptor back. The state changes first, so that writers leave the descriptor alone.
func (l *Loop) release(i int) error {
	s := l.lock(i)
	c := &l.conns[i]
	if c.state == closed || c.fd < 0 {
		s.mu.Unlock()
		return nil
	}
	fd := int(c.fd)
	l.setDeadline(c, NoDeadline)
	c.state, c.fd = closed, -1
	c.generation++
	delete(s.unsent, i)
	s.mu.Unlock()
	l.forget(i)
	return closeSocket(fd)
}

func (l *Loop) closeAll() error {
	for i := range l.stripes {
		s := l.lock(i)
		s.ended = true
		s.mu.Unlock()
	}
	var failures []error
	for i := range l.conns {
		failures = append(failures, l.release(i))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	return errors.Join(append(failures, closeSocket(l.epoll), closeSocket(l.wake))...)
}

func (l *Loop) snapshot(i int) conn {
	s := l.lock(i)
	defer s.mu.Unlock()
	return l.conns[i]
}

// PingsAnswered is how many pings of servers were answered, for any goroutine.
func (l *Loop) PingsAnswered() int64 { return l.pings.Load() }
