package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"chatmonitor/server/feed"
	"chatmonitor/server/monitor"
	"chatmonitor/server/web"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// run is the program. It ends when ctx does, or with SIGTERM or SIGINT.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, done, err := commandLine(args, stdout, stderr)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "floor: %v\nTry floor --help.\n", err)
		return exitUsage
	case done:
		return exitOK
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := serve(ctx, c, log); err != nil {
		log.Error("the floor ended", "err", err)
		return exitFailed
	}
	return exitOK
}

// serve runs the server, the feed and the admin listener until ctx ends or the server fails.
func serve(ctx context.Context, c config, log *slog.Logger) (err error) {
	descriptors, err := raiseDescriptors()
	if err != nil {
		return err
	}
	s, err := newServer(c, descriptors, log)
	if err != nil {
		return err
	}
	raiseProcs(len(s.loops))
	log.Info("limits", "descriptors", descriptors, "max_connections", len(s.conns), "receivers", c.Receivers, "loops", len(s.loops), "gomaxprocs", runtime.GOMAXPROCS(0))
	closeAdmin, err := startAdmin(c.AdminListen, log)
	if err != nil {
		return errors.Join(err, s.close())
	}
	defer func() { err = errors.Join(err, closeAdmin()) }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fed, err := s.startFeed(ctx)
	if err != nil {
		return errors.Join(err, s.close())
	}
	log.Info("listening", "address", s.address)
	err = s.run(ctx)
	cancel()
	select {
	case <-fed:
		return errors.Join(err, s.close())
	case <-time.After(c.Drain): // what is open ends with the process
		log.Warn("the feed had not ended after --drain; ending without it", "drain", c.Drain)
		return err
	}
}

// readyPoll is how often the feed is asked, until it is ready: its answer takes a lock, so the loops do not ask.
const readyPoll = 10 * time.Millisecond

// startFeed reads Kafka until ctx ends; then done is closed.
func (s *server) startFeed(ctx context.Context) (done <-chan struct{}, err error) {
	f, err := feed.New(feed.Options{
		Brokers: s.config.Kafka, Topic: s.config.Topic, MaxRecordBytes: s.config.MaxRecordBytes,
		Hub: s, Stats: monitor.NewStats(1), Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	running.Go(func() {
		look := time.NewTicker(readyPoll)
		defer look.Stop()
		for !f.Status().CaughtUp {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
		}
		s.ready.Store(true)
	})
	ended := make(chan struct{})
	go func() {
		running.Wait()
		close(ended)
	}()
	return ended, nil
}

// adminHeadTimeout bounds a request's head on the admin listener.
const adminHeadTimeout = 10 * time.Second

func startAdmin(address string, log *slog.Logger) (stop func() error, err error) {
	if address == "" {
		return func() error { return nil }, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("floor: --admin-listen: %w", err)
	}
	admin := &http.Server{Handler: web.NewAdminHandler(nil, log), ReadHeaderTimeout: adminHeadTimeout}
	ended := make(chan error, 1)
	go func() { ended <- admin.Serve(l) }()
	log.Info("admin listening", "address", l.Addr().String())
	return func() error {
		err := admin.Close()
		if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		if err != nil {
			return fmt.Errorf("floor: admin listener: %w", err)
		}
		return nil
	}, nil
}

// raiseDescriptors raises the soft limit to the hard one.
func raiseDescriptors() (limit int, err error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("floor: descriptor limit: %w", err)
	}
	l.Cur = l.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("floor: raise the descriptor limit to %d: %w", l.Max, err)
	}
	limit = int(min(l.Cur, 1<<30))
	return limit, growDescriptorTable(min(limit, mostGrown))
}

// mostGrown is where the table is half a megabyte, as in the servers.
const mostGrown = 1 << 16

// growDescriptorTable has the kernel make room for n descriptors now. When the table is full it doubles it, and lets
// all processors come by first (expand_fdtable, in fs/file.c), which takes 10 to 20 ms (seen).
func growDescriptorTable(n int) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC) // any descriptor
	if err != nil {
		return fmt.Errorf("floor: make room for descriptors: %w", err)
	}
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, n-1)
	if err == nil {
		err = unix.Close(high)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("floor: make room for descriptors: %w", err)
	}
	return nil
}
