package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

// network is one goroutine per connection as app.Network.
type network struct {
	Profile string `enum:"plain,tuned" default:"plain" help:"What a connection costs: plain, as tutorials do it, or tuned, with every saving that keeps a goroutine per connection. Default: ${default}."`
}

// Describe is app.Network's.
func (*network) Describe() app.About {
	return app.About{Program: "goroutine", Text: "chatmonitor on net/http and gorilla/websocket with a goroutine for each connection, " +
		"to compare the production server with. It pushes players' chat, as it arrives on Kafka, to the customer-service agents whose rules match it; " +
		"HTTP and WebSocket share one port."}
}

// Serve is app.Network's.
func (n *network) Serve(ctx context.Context, a *app.App, ready func()) error {
	s := newServer(n.Profile, application{
		config: a.Config, log: a.Log, stats: a.Stats, hub: a.Hub, sessions: a.Sessions, plain: a.Plain, peers: a.Peers, pace: a.Pace,
		draining: a.Draining, httpServer: a.HTTPServer,
	})
	l, err := s.listen(ctx, a.Address)
	if err != nil {
		return err
	}
	ready()
	return s.serve(ctx, l)
}

// application is what the network layer needs of app.App.
type application struct {
	config          app.Config
	log             *slog.Logger
	stats           *monitor.Stats
	hub             *monitor.Hub
	sessions, plain *app.Slots
	peers           *app.Peers
	pace            app.Pace
	draining        func() bool
	httpServer      func(upgrade http.Handler) *http.Server
}

// listen opens the port. Accepted sockets inherit the send buffer from the listening one.
func (s *server) listen(ctx context.Context, address string) (*listener, error) {
	config := net.ListenConfig{
		KeepAlive: s.profile.keepAlive,
		Control: func(_, _ string, raw syscall.RawConn) error {
			return setSendBuffer(raw, s.app.config.SocketSendBuffer)
		},
	}
	// Go listens for Multipath TCP unless told otherwise; the variants are to use the same sockets.
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("goroutine: listen on %s: %w", address, err)
	}
	return &listener{TCPListener: l.(*net.TCPListener), server: s}, nil
}

func setSendBuffer(raw syscall.RawConn, sizeBytes int) error {
	var err error
	if controlErr := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sizeBytes)
	}); controlErr != nil {
		err = controlErr
	}
	if err != nil {
		return fmt.Errorf("goroutine: send buffer of %d bytes: %w", sizeBytes, err)
	}
	return nil
}
