package app

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// signals gives a context that the first SIGTERM or SIGINT ends; a second one ends the process.
// SIGHUP, and SIGPIPE from a broken stderr, end nothing.
func signals(log *slog.Logger) (ctx context.Context, stop func()) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	received := make(chan os.Signal, 2)
	signal.Notify(received, syscall.SIGTERM, syscall.SIGINT)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case s := <-received:
			log.Info("draining", "signal", s.String())
			cancel()
		case <-ctx.Done():
			return
		}
		s := <-received
		log.Error("a second signal: ending at once", "signal", s.String())
		time.Sleep(50 * time.Millisecond) // for the line above
		os.Exit(exitFailed)
	}()
	return ctx, cancel
}
