package ladder

import (
	"encoding/json"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
)

// Event is something that happened; exactly one field is set.
type Event struct {
	Vital *Vital `json:"vital,omitempty"`
	Step  *Step  `json:"step,omitempty"`
	End   *End   `json:"end,omitempty"`
}

// Vital is how things are at a moment of the climb.
type Vital struct {
	Seconds        float64 `json:"seconds"` // since the server was started
	Doing          string  `json:"doing"`
	Target         int     `json:"target"` // of the current step
	Connections    int     `json:"connections"`
	ServerBytes    int64   `json:"server_bytes"`    // resident
	AvailableBytes int64   `json:"available_bytes"` // of the machine's memory
}

// Step is a step that was reached.
type Step struct {
	Connections    int     `json:"connections"` // held
	ConnectSeconds float64 `json:"connect_seconds"`
	AvailableBytes int64   `json:"available_bytes"` // of the machine's memory, as left
	// Measurement has the snapshots: of the server before any connection, as the
	// load left it, and after a collection.
	Measurement report.Measurement `json:"measurement"`
	// Push is the load generator's result of the pushes to the sample.
	Push json.RawMessage `json:"push"`
}

// Outcome is how a climb ended.
type Outcome string

const (
	Complete    Outcome = "complete"      // all steps, and every connection answered
	OutOfMemory Outcome = "out of memory" // the kernel or its own runtime ended the server
	ServerEnded Outcome = "server ended"
	Stopped     Outcome = "stopped" // the server lives, and it went no further
	Wrong       Outcome = "wrong"   // pushes were lost or changed, or connections did not answer at the end
	MachineDied Outcome = "machine died"
)

// End is the end of a climb.
type End struct {
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"`
	Last    Vital   `json:"last"`             // the last that was seen of the server
	Most    int     `json:"most_connections"` // that were seen
	// Kernel is what the kernel said about memory, its last lines.
	Kernel []string `json:"kernel,omitempty"`
	// Answered of Asked connections answered a ping at the end; nil: it did not
	// come to that.
	Answered *Answered `json:"answered,omitempty"`
	// Left is what the server holds when everybody has left, after a collection.
	Left *probe.Snapshot `json:"left,omitempty"`
}

// Answered is the account of the last ping.
type Answered struct {
	Asked    int `json:"asked"`
	Answered int `json:"answered"`
}
