package stack

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// EmbeddedConfig says what the embedded broker offers.
type EmbeddedConfig struct {
	Topic      string // the one topic, created at the start
	Partitions int    // its partitions, 1 to 1,000
	Listen     string // host:port; port 0 picks a free one
}

// Embedded is a Kafka broker inside this process. One goroutine holds all of
// its state, so latencies through it are this broker's and carry its label.
type Embedded struct {
	cluster   *kfake.Cluster
	addresses []string
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
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("stack: embedded broker: %w", err)
	}
	cluster, err := kfake.NewCluster(
		kfake.Ports(0), // one broker; where it listens is the ListenFn's business
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			return net.Listen(network, cfg.Listen)
		}),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms": strconv.FormatInt(retentionCheck.Milliseconds(), 10),
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("stack: start the embedded broker at %s: %w", cfg.Listen, err)
	}
	// Not kfake.SeedTopics: a seeded topic has no limits, and the broker looks
	// after limits only for topics that were created with some.
	err = cluster.CreateTopic(cfg.Topic, int32(cfg.Partitions), map[string]string{
		"retention.bytes": strconv.Itoa(retainedBytes),
		"segment.bytes":   strconv.Itoa(segmentBytes),
	})
	if err != nil {
		cluster.Close()
		return nil, fmt.Errorf("stack: create topic %q: %w", cfg.Topic, err)
	}
	return &Embedded{cluster: cluster, addresses: cluster.ListenAddrs()}, nil
}

// topicName is Kafka's own rule, which kfake does not enforce.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func (cfg EmbeddedConfig) validate() error {
	if !topicName.MatchString(cfg.Topic) {
		return fmt.Errorf("topic %q: a name is 1 to 249 of letters, digits, dot, dash and underscore", cfg.Topic)
	}
	if cfg.Partitions < 1 || cfg.Partitions > 1000 {
		return fmt.Errorf("%d partitions: must be 1 to 1000", cfg.Partitions)
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", cfg.Listen, err)
	}
	// Clients are told the listening address: it must be one they can dial.
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		return fmt.Errorf("listen address %q: the host must be one IP address, such as 127.0.0.1", cfg.Listen)
	}
	return nil
}

// Addresses returns the one address.
func (e *Embedded) Addresses() []string { return e.addresses }

// Kind returns "embedded".
func (e *Embedded) Kind() string { return KindEmbedded }

// Close stops the broker and forgets its records.
func (e *Embedded) Close() error {
	e.closeOnce.Do(e.cluster.Close)
	return nil
}
