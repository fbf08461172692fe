// Package app is the application on whatever network layer: its configuration, its wiring and its
// life. A variant brings a Network, and is nothing but that network.
//
//	main --Main--> Config --> Stats, Router, Hub, Feed, HTTP handler --App--> Network.Serve
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"chatmonitor/server/chat"
	"chatmonitor/server/feed"
	"chatmonitor/server/metrics"
	"chatmonitor/server/monitor"
	"chatmonitor/server/web"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// About is what a variant says of itself.
type About struct {
	Program string // name in usage and errors
	Text    string // one paragraph for --help
}

// Network is a network layer: what makes a variant. Its exported fields, if it has any, are further
// flags, in the manner of the kong library.
type Network interface {
	Describe() About
	// Serve listens on app's address and serves until ctx ends. Then it refuses upgrades, sends every
	// WebSocket a notice and Close 1012 spread over at least half of Config.Drain, and returns when
	// nobody is left, at the latest after Config.Drain. It calls ready once the port is open.
	Serve(ctx context.Context, app *App, ready func()) error
}

// App is what a network layer serves.
type App struct {
	Config   Config
	Address  string // to listen on; its port is never 0
	Log      *slog.Logger
	Stats    *monitor.Stats
	Hub      *monitor.Hub
	Sessions *Slots // one for each open WebSocket or handshake under way
	Plain    *Slots // one for each open plain HTTP connection
	Peers    *Peers // one for each open connection of an address
	Pace     Pace   // of each client's messages

	serving context.Context // ends when draining begins
	feed    *feed.Feed
	handler func(upgrade http.Handler) http.Handler
}

// Paths of the WebSocket endpoints.
const (
	PathWS   = web.PathWS
	PathEcho = web.PathEcho
)

// Draining reports that the server is leaving.
func (a *App) Draining() bool { return a.serving.Err() != nil }

// HTTPServer serves every plain request, the same on each network layer. upgrade gets the requests
// that are good upgrades of /ws, or of /echo where that is served; it takes their connection over.
// The caller sets Addr or hands Serve a listener.
func (a *App) HTTPServer(upgrade http.Handler) *http.Server {
	return &http.Server{
		Handler:           a.handler(upgrade),
		ReadHeaderTimeout: a.Config.HandshakeTimeout,
		IdleTimeout:       httpIdle,
		WriteTimeout:      httpWrite,
		MaxHeaderBytes:    a.Config.MaxHeadBytes - headSlopBytes,
		ErrorLog:          slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug), // what peers do wrong
	}
}

const (
	// net/http reads this much beyond its MaxHeaderBytes before it refuses a head.
	headSlopBytes = 4096

	httpIdle  = 60 * time.Second // a kept-alive connection between requests
	httpWrite = 60 * time.Second // an answer that is not read
)

// Main runs a server on the network layer until a signal ends it, and exits.
func Main(n Network) {
	os.Exit(run(n, os.Args[1:], os.Stdout, os.Stderr))
}

func run(n Network, args []string, stdout, stderr io.Writer) int {
	config, done, err := commandLine(n, args, stdout, stderr)
	program := n.Describe().Program
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "%s: %v\nTry %s --help.\n", program, err, program)
		return exitUsage
	case done:
		return exitOK
	}
	stats := monitor.NewStats(config.MetricsMaxSeries)
	log, logWriter := newLog(stderr, stats)
	if err := serve(n, config, stats, log); err != nil {
		log.Error("the server ended", "err", err)
		logWriter.flush()
		return exitFailed
	}
	logWriter.flush()
	return exitOK
}

func serve(n Network, config Config, stats *monitor.Stats, log *slog.Logger) error {
	ctx, stop := signals(log)
	defer stop()
	if err := raiseDescriptors(&config, log); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(config.GCPercent)
	}
	address, release, err := holdAddress(config.Listen)
	if err != nil {
		return err
	}
	defer release()
	stopAdmin, err := startAdmin(config, stats, log)
	if err != nil {
		return err
	}
	defer stopAdmin()
	pool := monitor.NewPool(config.SlowWorkers, config.SlowQueue)
	defer pool.Close()
	a, err := New(ctx, config, address, stats, log, pool)
	if err != nil {
		return err
	}

	var reading sync.WaitGroup
	feedCtx, stopFeed := context.WithCancel(context.Background())
	err = n.Serve(ctx, a, func() {
		log.Info("listening", "address", address)
		reading.Go(func() { a.feed.Run(feedCtx) })
	})
	stopFeed() // only now: pushes go on while the clients leave
	reading.Wait()
	return err
}

// New wires an application that is to listen on the address, and that leaves when ctx ends. It does
// nothing by itself: a network layer serves it, and Main has it fed.
func New(ctx context.Context, config Config, address string, stats *monitor.Stats, log *slog.Logger, pool *monitor.Pool) (*App, error) {
	if config.Shards == 0 {
		config.Shards = runtime.GOMAXPROCS(0)
	}
	hub := monitor.NewHub(monitor.Options{
		Shards:   config.Shards,
		InFlight: config.MaxRecordsInShard,
		Limits: monitor.Limits{
			MaxRules: config.MaxRules, MaxRulesBytes: config.OutboundBudgetBytes,
			Rule: chat.RuleLimits{MaxEntries: config.MaxRuleEntries, MaxKeywords: config.MaxKeywords},
		},
		Router: monitor.NewRouter(), Pool: pool, Stats: stats, Log: log, Now: time.Now,
	})
	reading, err := newFeed(&config, hub, stats, log)
	if err != nil {
		return nil, err
	}
	a := &App{
		Config: config, Address: address, Log: log, Stats: stats, Hub: hub, serving: ctx,
		Sessions: NewSlots(config.MaxConnections),
		Plain:    NewSlots(config.MaxHTTPConnections),
		Peers:    NewPeers(config.MaxPerAddress),
		Pace:     NewPace(config.MaxMessageRate),
		feed:     reading,
	}
	figures := metrics.NewHandler(metrics.NewRegistry(stats, time.Now()), log)
	a.handler = func(upgrade http.Handler) http.Handler {
		return web.NewHandler(web.Options{
			Metrics: figures, Ready: a.ready, Upgrade: upgrade, Log: log,
			Refused: func(int) { stats.Refused(monitor.BadHandshake).Add(1) },
			Echo:    config.Echo, MaxBodyBytes: int64(config.MaxMessageBytes),
		})
	}
	return a, nil
}

func (a *App) ready() web.Readiness {
	status := a.feed.Status()
	r := web.Readiness{Ready: status.CaughtUp, Feed: status}
	if !r.Ready {
		r.Reason = "not every partition of the topic is being read yet"
	}
	if a.Draining() {
		r.Ready, r.Draining, r.Reason = false, true, "the server is leaving"
	}
	return r
}

func startAdmin(c Config, stats *monitor.Stats, log *slog.Logger) (stop func(), err error) {
	if c.AdminListen == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", c.AdminListen)
	if err != nil {
		return nil, fmt.Errorf("app: --admin-listen: %w", err)
	}
	server := &http.Server{Handler: web.NewAdminHandler(func() any { return stats.Ledger() }, log), ReadHeaderTimeout: c.HandshakeTimeout}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin listener ended", "err", err)
		}
	}()
	log.Info("admin listening", "address", l.Addr().String())
	return func() {
		if err := server.Close(); err != nil {
			log.Error("closing the admin listener", "err", err)
		}
		<-ended
	}, nil
}
