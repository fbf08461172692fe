package app

import (
	"fmt"
	"sync/atomic"
)

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

const (
	// ExcessConnections may linger beyond all places, until they have read that they are refused.
	ExcessConnections = 32
	// Descriptors that are neither a WebSocket's nor a plain connection's: those above, listeners, event
	// loops, logs, connections to Kafka, and those that a hand-over to net/http needs for a moment.
	reservedDescriptors = ExcessConnections + 96
)

// limitConnections fills in the connection limits that were left to the descriptor limit, and refuses
// those that it does not allow.
func (c *Config) limitConnections(descriptors int) error {
	if c.MaxHTTPConnections == 0 {
		c.MaxHTTPConnections = max(1, min(256, descriptors/16))
	}
	rest := descriptors - c.MaxHTTPConnections - reservedDescriptors
	if c.MaxConnections == 0 {
		c.MaxConnections = rest
	}
	if c.MaxConnections > rest || rest < 1 {
		return fmt.Errorf("app: --max-connections=%d and --max-http-connections=%d need %d descriptors, and the limit is %d: raise it (ulimit -n, LimitNOFILE) or lower them",
			c.MaxConnections, c.MaxHTTPConnections, c.MaxConnections+c.MaxHTTPConnections+reservedDescriptors, descriptors)
	}
	return nil
}
