package stack

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// Kinds of broker, as they are written next to every figure.
const (
	KindEmbedded = "embedded"
	KindExternal = "external"
)

// Broker is a Kafka that records can be sent to and read from.
type Broker interface {
	// Addresses are the bootstrap brokers, host:port each.
	Addresses() []string
	// Kind labels figures that were taken with this broker.
	Kind() string
	// Close frees what the broker took; the second call does nothing.
	Close() error
}

// External is a Kafka that somebody else runs.
type External struct{ addresses []string }

// OpenExternal checks that one of the comma-separated addresses accepts a
// connection, so that a wrong address is one clear error at the start and not
// a server that never gets ready.
func OpenExternal(ctx context.Context, commaSeparated string) (*External, error) {
	addresses := strings.Split(commaSeparated, ",")
	var firstErr error
	for _, address := range addresses {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			return &External{addresses: addresses}, conn.Close()
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return nil, fmt.Errorf("stack: no Kafka broker answers at %s: %w", commaSeparated, firstErr)
}

// Addresses returns the addresses as they were given.
func (e *External) Addresses() []string { return e.addresses }

// Kind returns "external".
func (e *External) Kind() string { return KindExternal }

// Close does nothing: the broker is not ours.
func (e *External) Close() error { return nil }
