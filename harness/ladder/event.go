package ladder

import (
	"encoding/json"

	"chatmonitor/harness/report"
)

// Event is something that happened; exactly one field is set.
type Event struct {
	Vital *report.Vital    `json:"vital,omitempty"`
	Step  *Step            `json:"step,omitempty"`
	End   *report.ClimbEnd `json:"end,omitempty"`
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
