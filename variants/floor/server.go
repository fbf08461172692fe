package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Descriptors kept from clients: for Kafka, the admin listener, logs and the loops themselves.
	reservedDescriptors = 64
	// The table of connections is this long at most, whatever the descriptor limit.
	maxConnections = 4 << 20
)

// state is all that is kept of a connection. It stands in the server's table, at the connection's descriptor.
type state uint32

const (
	absent   state = iota
	inHead         // its request is not complete
	chatting       // a WebSocket on /ws
	receiver       // the same, and it gets the records
	echoing        // a WebSocket on /echo
)

// server is the loops and what they share.
type server struct {
	// static after construction
	config         config
	log            *slog.Logger
	address        string
	loops          []*loop
	heldBytesLimit int        // of a loop
	troubles       chan error // what loops have to say; they do not wait for a log

	// conns has the state of each descriptor. The loop that owns the connection writes it. A descriptor goes from
	// one loop to another through the kernel, of which Go's memory model knows nothing: hence atomics.
	conns []atomic.Uint32

	// atomics
	ready       atomic.Bool  // the feed has caught up
	stopping    atomic.Bool  // the loops are to end
	placesTaken atomic.Int32 // by receivers
}

// newServer opens the port. The server serves once it runs.
func newServer(c config, descriptors int, log *slog.Logger) (*server, error) {
	if descriptors <= 2*reservedDescriptors {
		return nil, fmt.Errorf("floor: the descriptor limit is %d, which leaves none for clients: raise it (ulimit -n, LimitNOFILE)", descriptors)
	}
	s := &server{
		config: c, log: log, heldBytesLimit: maxHeldBytes, troubles: make(chan error, 1),
		conns: make([]atomic.Uint32, min(descriptors-reservedDescriptors, maxConnections)),
	}
	target, err := freeAddress(c.Listen)
	if err != nil {
		return nil, err
	}
	s.address = target.String()
	for range loopCount(c) {
		l, err := newLoop(s, target)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.loops = append(s.loops, l)
	}
	return s, nil
}

// run serves until ctx ends, or a loop fails. Then no connection is left; the port is open until close.
func (s *server) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failures := make(chan error, len(s.loops))
	var loops, reporting sync.WaitGroup
	reporting.Go(func() { s.report(ctx) })
	for _, l := range s.loops {
		loops.Go(func() {
			failures <- l.run()
			cancel()
		})
	}
	<-ctx.Done()
	s.stopping.Store(true)
	for _, l := range s.loops {
		l.ring()
	}
	loops.Wait()
	reporting.Wait()
	close(failures)
	var err error
	for failure := range failures {
		err = errors.Join(err, failure)
	}
	return errors.Join(err, s.closeConnections())
}

// close gives back what newServer opened. Nobody may publish any more.
func (s *server) close() error {
	var err error
	for _, l := range s.loops {
		err = errors.Join(err, l.free())
	}
	return err
}

// closeConnections closes what the loops, which have ended, have left.
func (s *server) closeConnections() error {
	for fd := range s.conns {
		if state(s.conns[fd].Swap(uint32(absent))) == absent {
			continue
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("floor: close a connection: %w", err)
		}
	}
	return nil
}

// reportEvery is the time between two lines of the log.
const reportEvery = time.Second

// report logs what the loops met; of many troubles a second, one.
func (s *server) report(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-s.troubles:
			s.log.Warn("clients wait", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(reportEvery):
		}
	}
}

// trouble has an error logged, if nothing else waits to be.
func (s *server) trouble(err error) {
	select {
	case s.troubles <- err:
	default:
	}
}

// takePlace takes a place among the receivers, while there is one.
func (s *server) takePlace() bool {
	for {
		taken := s.placesTaken.Load()
		if int(taken) >= s.config.Receivers {
			return false
		}
		if s.placesTaken.CompareAndSwap(taken, taken+1) {
			return true
		}
	}
}
