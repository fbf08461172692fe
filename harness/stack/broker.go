package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Kinds of broker, as they are written next to every figure.
const (
	KindContainer = "container"
	KindEmbedded  = "embedded"
	KindExternal  = "external"
)

// Broker is a Kafka that records can be sent to and read from.
type Broker interface {
	// Addresses are the bootstrap brokers, host:port each.
	Addresses() []string
	// Kind labels figures that were taken with this broker.
	Kind() string
	// Detail says more than the kind, such as "apache/kafka:4.3.0 (Apache Kafka 4.3.0)"
	// or the address; "" if there is no more to say.
	Detail() string
	// Close frees what the broker took; the second call does nothing.
	Close() error
}

// Breakable is a Broker that can be made to fail, and keeps its records and its
// address meanwhile. Container and Embedded are.
type Breakable interface {
	Broker
	// Kill ends the broker as SIGKILL does: connections break, new ones are refused.
	Kill(ctx context.Context) error
	// Restart brings a killed broker back and returns when it serves its topics.
	Restart(ctx context.Context) error
	// Pause stops the broker as SIGSTOP does: it accepts connections and never answers.
	Pause(ctx context.Context) error
	// Unpause lets a paused broker go on.
	Unpause(ctx context.Context) error
}

// BrokerConfig says what a broker of ours offers.
type BrokerConfig struct {
	Topic      string // the one topic, created at the start
	Partitions int    // its partitions, 1 to 1,000
	Listen     string // host:port; port 0 picks a free one
	// Advertise, unless empty, is the host:port that clients are told to use instead of
	// the one listened on: of a proxy between them and the broker.
	Advertise string
}

// topicName is Kafka's own rule.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func (cfg BrokerConfig) validate() error {
	if !topicName.MatchString(cfg.Topic) {
		return fmt.Errorf("topic %q: a name is 1 to 249 of letters, digits, dot, dash and underscore", cfg.Topic)
	}
	if cfg.Partitions < 1 || cfg.Partitions > 1000 {
		return fmt.Errorf("%d partitions: must be 1 to 1000", cfg.Partitions)
	}
	if err := dialableAddress(cfg.Listen); err != nil {
		return fmt.Errorf("listen address %w", err)
	}
	if cfg.Advertise == "" {
		return nil
	}
	if err := dialableAddress(cfg.Advertise); err != nil {
		return fmt.Errorf("advertised address %w", err)
	}
	return nil
}

// dialableAddress checks an address that clients are told: it must be one they can dial.
func dialableAddress(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q: %w", address, err)
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		return fmt.Errorf("%q: the host must be one IP address, such as 127.0.0.1", address)
	}
	return nil
}

// External is a Kafka that somebody else runs.
type External struct{ addresses []string }

// externalDeadline is for a broker that accepts and does not answer.
const externalDeadline = 10 * time.Second

// OpenExternal checks that one of the comma-separated addresses is of a Kafka that has the
// topic, so that a wrong address is one clear error at the start and not a server that never
// gets ready.
func OpenExternal(ctx context.Context, commaSeparated, topic string) (*External, error) {
	addresses := strings.Split(commaSeparated, ",")
	ctx, cancel := context.WithTimeoutCause(ctx, externalDeadline, fmt.Errorf("nothing came within %v", externalDeadline))
	defer cancel()
	var firstErr error
	for _, address := range addresses {
		err := askExternal(ctx, address, topic)
		if err == nil {
			return &External{addresses: addresses}, nil
		}
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil, fmt.Errorf("stack: the Kafka at %s has no topic %q: create it, or name another", commaSeparated, topic)
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return nil, fmt.Errorf("stack: no Kafka broker answers at %s: %w", commaSeparated, firstErr)
}

// askExternal asks one broker for the topic.
func askExternal(ctx context.Context, address, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err == nil {
		err = topics[topic].Err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Addresses returns the addresses as they were given.
func (e *External) Addresses() []string { return e.addresses }

// Kind returns "external".
func (e *External) Kind() string { return KindExternal }

// Detail names the addresses.
func (e *External) Detail() string { return strings.Join(e.addresses, ",") }

// Close does nothing: the broker is not ours.
func (e *External) Close() error { return nil }
