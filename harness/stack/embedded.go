package stack

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Embedded is a Kafka broker inside this process. One goroutine holds all of
// its state, so latencies through it are this broker's and carry its label.
type Embedded struct {
	cluster   *kfake.Cluster
	gate      *gate
	closeOnce sync.Once
}

// The broker keeps its log in memory, so the log is bounded: a demo may run for
// days. The bounds hold for a partition; a whole segment goes at a time.
const (
	retainedBytes  = 32 << 20
	segmentBytes   = 8 << 20
	retentionCheck = time.Minute
)

// StartEmbedded starts the broker; it is ready when the call returns.
func StartEmbedded(cfg BrokerConfig) (*Embedded, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("stack: embedded broker: %w", err)
	}
	gate, err := openGate(cfg.Listen, cfg.Advertise)
	if err != nil {
		return nil, fmt.Errorf("stack: start the embedded broker at %s: %w", cfg.Listen, err)
	}
	cluster, err := kfake.NewCluster(
		kfake.Ports(0), // one broker; where it listens is the ListenFn's business
		kfake.ListenFn(func(string, string) (net.Listener, error) { return gate, nil }),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms": strconv.FormatInt(retentionCheck.Milliseconds(), 10),
		}),
	)
	if err != nil {
		gate.Close()
		return nil, fmt.Errorf("stack: start the embedded broker at %s: %w", cfg.Listen, err)
	}
	e := &Embedded{cluster: cluster, gate: gate}
	// Not kfake.SeedTopics: a seeded topic has no limits, and the broker looks
	// after limits only for topics that were created with some.
	err = cluster.CreateTopic(cfg.Topic, int32(cfg.Partitions), map[string]string{
		"retention.bytes": strconv.Itoa(retainedBytes),
		"segment.bytes":   strconv.Itoa(segmentBytes),
	})
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("stack: create topic %q: %w", cfg.Topic, err)
	}
	return e, nil
}

// Addresses returns the one address.
func (e *Embedded) Addresses() []string { return []string{e.gate.advertise.String()} }

// Kind returns "embedded".
func (e *Embedded) Kind() string { return KindEmbedded }

// Detail is empty: there is only one embedded broker.
func (e *Embedded) Detail() string { return "" }

// Kill breaks all connections and refuses new ones. What the broker knows stays in
// memory, as the log of a real one stays on its disk.
func (e *Embedded) Kill(context.Context) error {
	e.gate.shut()
	return nil
}

// Restart listens again.
func (e *Embedded) Restart(context.Context) error {
	if err := e.gate.reopen(); err != nil {
		return fmt.Errorf("stack: restart the embedded broker: %w", err)
	}
	return nil
}

// Pause stops the traffic of all connections, of new ones too.
func (e *Embedded) Pause(context.Context) error {
	e.gate.pause()
	return nil
}

// Unpause lets the traffic flow again.
func (e *Embedded) Unpause(context.Context) error {
	e.gate.unpause()
	return nil
}

// Close stops the broker and forgets its records.
func (e *Embedded) Close() error {
	e.closeOnce.Do(func() {
		e.cluster.Close()
		e.gate.Close()
	})
	return nil
}
