// Package web is what the server says over plain HTTP: metrics, health, the console page, and the
// answer to every upgrade that is refused. It is the same on every network layer, which brings its
// own way to turn a good upgrade request into a WebSocket.
package web

import (
	_ "embed"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// Paths of the WebSocket endpoints.
const (
	PathWS   = "/ws"
	PathEcho = "/echo"
)

// A request's body must have arrived after this time.
const bodyTimeout = 10 * time.Second

//go:embed console.html
var console []byte

// Readiness is what /ready answers.
type Readiness struct {
	Ready    bool   `json:"ready"`
	Draining bool   `json:"draining"`
	Feed     any    `json:"feed"`
	Reason   string `json:"reason,omitempty"` // why it is not ready
}

// Options configure the public handler. Every field is needed.
type Options struct {
	Metrics      http.Handler
	Ready        func() Readiness
	Upgrade      http.Handler // gets requests for which CheckUpgrade found nothing wrong
	Refused      func(status int)
	Echo         bool  // serve /echo
	MaxBodyBytes int64 // of a POST to /echo
	Log          *slog.Logger
}

// NewHandler is everything on the public port.
func NewHandler(o Options) http.Handler {
	s := &site{o}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", o.Metrics)
	mux.HandleFunc("GET /live", text("alive\n"))
	mux.HandleFunc("GET /hello", text("Hello, world!\n"))
	mux.HandleFunc("GET /ready", s.ready)
	mux.HandleFunc("GET /{$}", s.console)
	mux.HandleFunc(PathWS, upgradeRequired)
	if o.Echo {
		mux.HandleFunc("POST "+PathEcho, s.echo)
		mux.HandleFunc("GET "+PathEcho, upgradeRequired)
	}
	return s.front(mux)
}

type site struct{ Options }

// front takes the upgrades, and limits the time of the bodies.
func (s *site) front(plain http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 { // net/http reads a body to its end before the answer, also that of a refusal
			err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
			if err != nil {
				s.Log.Error("no time limit for a request's body", "err", err)
			}
		}
		if wantsUpgrade(r) {
			s.upgrade(w, r)
			return
		}
		plain.ServeHTTP(w, r)
	})
}

func (s *site) upgrade(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != PathWS && (r.URL.Path != PathEcho || !s.Echo) {
		http.Error(w, "404: the WebSocket endpoint is "+PathWS, http.StatusNotFound)
		return
	}
	if refusal := CheckUpgrade(r); refusal != nil {
		s.Refused(refusal.Status)
		refusal.write(w)
		return
	}
	s.Upgrade.ServeHTTP(w, r)
}

func (s *site) ready(w http.ResponseWriter, _ *http.Request) {
	state := s.Ready()
	status := http.StatusOK
	if !state.Ready {
		status = http.StatusServiceUnavailable
	}
	body, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	s.write(w, append(body, '\n'))
}

func (s *site) console(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'")
	s.write(w, console)
}

func (s *site) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.MaxBodyBytes))
	if err != nil {
		status := http.StatusBadRequest
		if _, tooLong := err.(*http.MaxBytesError); tooLong {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, err.Error(), status)
		return
	}
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	w.Header().Set("Content-Type", contentType)
	s.write(w, body)
}

// write ends an answer. A client that has gone away is nobody's error.
func (s *site) write(w http.ResponseWriter, body []byte) {
	if _, err := w.Write(body); err != nil {
		s.Log.Debug("an answer was not read", "err", err)
	}
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, body) // the client has gone away: nobody is left to tell
	}
}
