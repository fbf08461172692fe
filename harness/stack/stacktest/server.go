package stacktest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
)

// serve is the stand-in for a server.
func serve(ctx context.Context, fault string, args []string) int {
	if fault == Crash {
		return fail("stand-in: could not begin: the disk is made of cheese")
	}
	public, err := net.Listen("tcp", flagValue(args, "listen"))
	if err != nil {
		return fail("stand-in: %v", err)
	}
	admin, err := net.Listen("tcp", flagValue(args, "admin-listen"))
	if err != nil {
		return fail("stand-in: %v", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if fault != Silent {
		log.Info("admin listening", "address", admin.Addr())
		log.Info("listening", "address", public.Addr())
	}
	ended := make(chan error, 2)
	go func() { ended <- http.Serve(public, ready(fault)) }()
	go func() { ended <- http.Serve(admin, account(fault)) }()
	select {
	case <-ctx.Done():
		if fault == Sulking {
			log.Error("leaving in anger")
			return 7
		}
		return 0
	case err := <-ended:
		return fail("stand-in: %v", err)
	}
}

func ready(fault string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if fault == Unready {
			http.Error(w, `{"reason":"no partition is being read"}`, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, `{"ready":true}`)
	})
	return mux
}

func account(fault string) http.Handler {
	var collections atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /gc", func(http.ResponseWriter, *http.Request) {
		if collections.Add(1) == 2 && fault == Dying {
			fmt.Fprintln(os.Stderr, "stand-in: out of breath")
			os.Exit(5)
		}
	})
	mux.HandleFunc("GET /memory", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"/memory/classes/heap/objects:bytes":%d,"/memory/classes/heap/stacks:bytes":4096}`,
			1000+collections.Load())
	})
	return mux
}
