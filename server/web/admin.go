package web

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"runtime/metrics"
)

// NewAdminHandler is the second, loopback listener: profiles, the ledger of records and deliveries, and
// whatever changes the process. ledger gives what is shown as JSON; nil: there is none.
func NewAdminHandler(ledger func() any, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("POST /gc", func(w http.ResponseWriter, _ *http.Request) {
		debug.FreeOSMemory() // collects first, then returns what is free to the kernel
		w.WriteHeader(http.StatusOK)
	})
	mux.HandleFunc("GET /memory", asJSON(func() any { return memory() }, log))
	if ledger != nil {
		mux.HandleFunc("GET /ledger", asJSON(ledger, log))
	}
	return mux
}

func asJSON(value func() any, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(value()); err != nil {
			log.Debug("an answer was not read", "err", err)
		}
	}
}

// memory is every single-valued metric of the Go runtime, by its name in runtime/metrics.
func memory() map[string]float64 {
	var samples []metrics.Sample
	for _, d := range metrics.All() {
		if d.Kind == metrics.KindUint64 || d.Kind == metrics.KindFloat64 {
			samples = append(samples, metrics.Sample{Name: d.Name})
		}
	}
	metrics.Read(samples)
	values := make(map[string]float64, len(samples))
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			values[s.Name] = float64(s.Value.Uint64())
		} else {
			values[s.Name] = s.Value.Float64()
		}
	}
	return values
}
