package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"chatmonitor/server/app"
)

// server is a network layer that runs.
type server struct {
	// Static after construction.
	app     application
	profile profile
	shards  []*shard
	guests  *guests
	excess  *app.Slots
	// idleTicks is the silence after which a peer is pinged; 0: never.
	idleTicks uint32
	stop      chan struct{} // closed when the shards may end
	running   sync.WaitGroup
	writers   sync.WaitGroup

	opened atomic.Uint64 // WebSockets so far: the shards take turns
}

func newServer(profileName string, a application) *server {
	s := &server{app: a, profile: profiles[profileName](), guests: newGuests(), excess: app.NewSlots(app.ExcessConnections), stop: make(chan struct{})}
	if a.config.IdlePing > 0 {
		s.idleTicks = ticks(a.config.IdlePing)
	}
	for number, core := range a.hub.Shards() {
		s.shards = append(s.shards, newShard(s, number, core))
	}
	return s
}

// When everybody has been sent away or cut off, this is how long their goroutines may take to end.
const endWithin = time.Second

// serve serves until ctx ends and everybody has left.
func (s *server) serve(ctx context.Context, l *listener) error {
	for _, sh := range s.shards {
		s.running.Go(sh.run)
	}
	web := s.app.httpServer(http.HandlerFunc(s.upgrade))
	web.Handler = s.admit(web.Handler)
	web.ConnContext = withSocket
	web.ConnState = changed
	webEnded := make(chan error, 1)
	go func() { webEnded <- web.Serve(l) }()

	select {
	case err := <-webEnded:
		return errors.Join(fmt.Errorf("goroutine: HTTP ended by itself: %w", err), web.Close(), s.end())
	case <-ctx.Done():
	}
	s.drain()
	err := web.Close()
	if webErr := <-webEnded; !errors.Is(webErr, http.ErrServerClosed) {
		err = errors.Join(err, webErr)
	}
	if err != nil {
		err = fmt.Errorf("goroutine: HTTP: %w", err)
	}
	return errors.Join(err, s.end())
}

// end ends who is still there, and then the shards: a connection needs its shard to the last.
func (s *server) end() error {
	for _, sh := range s.shards {
		sh.do(nil, sh.endAll)
	}
	patience, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	if !s.guests.shutWhenGone(patience) {
		return fmt.Errorf("goroutine: %d connections have not ended %v after they were cut off", s.guests.present(), endWithin)
	}
	s.writers.Wait()
	close(s.stop)
	s.running.Wait()
	return nil
}

// panicked records a panic, which ends its connection and nothing else.
func (s *server) panicked(where string, cause any) {
	s.app.stats.AppErrors.Add(1)
	s.app.log.Error("panic; its connection is closed", "in", where, "cause", cause, "stack", string(debug.Stack()))
}
