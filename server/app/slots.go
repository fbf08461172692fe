package app

import "sync/atomic"

// Slots is a fixed number of places.
type Slots struct {
	max  int64
	used atomic.Int64
}

// NewSlots has n places.
func NewSlots(n int) *Slots { return &Slots{max: int64(n)} }

// Take takes a place, or reports false if there is none.
func (s *Slots) Take() bool {
	if s.used.Add(1) > s.max {
		s.used.Add(-1)
		return false
	}
	return true
}

// Give gives a place back.
func (s *Slots) Give() { s.used.Add(-1) }

// Descriptors that are neither a WebSocket's nor a plain connection's: listeners, event loops, logs,
// connections to Kafka, and those that a hand-over to net/http needs for a moment.
const reservedDescriptors = 72

// limitConnections fills in the connection limits that were left to the descriptor limit.
func (c *Config) limitConnections(descriptors int) {
	if c.MaxHTTPConnections == 0 {
		c.MaxHTTPConnections = max(1, min(256, descriptors/16))
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = max(1, descriptors-c.MaxHTTPConnections-reservedDescriptors)
	}
}
