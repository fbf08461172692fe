package probe

import (
	"context"
	"time"
)

// Snapshot is everything that was read at one moment.
type Snapshot struct {
	At            string             `json:"at"` // the moment's name
	Connections   int                `json:"connections"`
	AfterGC       bool               `json:"after_gc"`
	GCFailed      string             `json:"gc_failed,omitempty"` // why there was no collection before it
	Time          time.Time          `json:"time"`
	Process       Process            `json:"process"`
	Kernel        Kernel             `json:"kernel"`
	Go            map[string]float64 `json:"go,omitempty"`
	GoUnavailable string             `json:"go_unavailable,omitempty"`
}

// Target is what a snapshot is taken of.
type Target struct {
	Proc  Proc
	PID   int
	Admin Admin
}

// Take reads everything. With gc, a full collection comes first; if that fails
// the process' memory is unavailable with that reason, since as it is it would
// pass for a figure after a collection.
func (t Target) Take(ctx context.Context, at string, connections int, gc bool) Snapshot {
	s := Snapshot{At: at, Connections: connections, AfterGC: gc}
	var gcErr error
	if gc {
		gcErr = t.Admin.CollectGarbage(ctx)
	}
	s.Time = time.Now().UTC()
	s.Process = t.Proc.Process(t.PID)
	s.Kernel = t.Proc.Kernel()
	if gcErr != nil {
		s.GCFailed = gcErr.Error()
		s.Process.RSSBytes, s.Process.PSSBytes = Unavailable(gcErr), Unavailable(gcErr)
	}
	// Last: answering takes memory in the server.
	classes, err := t.Admin.GoMemory(ctx)
	if err != nil {
		s.GoUnavailable = err.Error()
	}
	s.Go = classes
	return s
}
