package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Container is an Apache Kafka in KRaft mode, broker and controller in one process, in a
// Docker container. Its port is published on this machine at an address that it keeps
// when it is killed and restarted; its log is in the container.
type Container struct {
	engine  *engine
	id      string
	image   string
	version string
	address string // where the port is published
	config  BrokerConfig
	started *testcontainers.DockerContainer

	closeOnce sync.Once
	closeErr  error
}

const (
	brokerPort = "9092"
	// A container that takes longer does not come: an idle machine needs three seconds.
	usableDeadline = 3 * time.Minute
	closeDeadline  = 30 * time.Second
	portTries      = 3
)

// startContainer runs the image, which must be local, and returns when the topic can be
// written to.
func startContainer(ctx context.Context, e *engine, image string, cfg BrokerConfig) (*Container, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("stack: Kafka in a container: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, usableDeadline,
		fmt.Errorf("it was not usable after %v", usableDeadline))
	defer cancel()
	c := &Container{engine: e, image: image, config: cfg}
	err := c.run(ctx)
	for try := 1; try < portTries && isPortTaken(err) && asksForFreePort(cfg.Listen); try++ {
		err = c.run(ctx)
	}
	if err == nil {
		err = c.awaitUsable(ctx)
	}
	if err == nil {
		c.version, err = c.findVersion(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("stack: start Kafka in a container of %s: %w", image, errors.Join(err, c.remove()))
	}
	return c, nil
}

func asksForFreePort(listen string) bool { return strings.HasSuffix(listen, ":0") }

// isPortTaken tells the error of a port that somebody took after freeAddress found it.
func isPortTaken(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "port is already allocated") ||
		strings.Contains(err.Error(), "address already in use"))
}

// freeAddress puts a free port in the place of port 0. Docker could choose one, but the
// broker must know it when it starts, and Docker would choose another at every restart.
func freeAddress(listen string) (string, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func (c *Container) run(ctx context.Context) (err error) {
	if err := c.remove(); err != nil { // of the try before
		return err
	}
	if c.address, err = freeAddress(c.config.Listen); err != nil {
		return err
	}
	address, err := netip.ParseAddrPort(c.address)
	if err != nil {
		return err
	}
	self, err := thisProcess()
	if err != nil {
		return err
	}
	inside := network.MustParsePort(brokerPort + "/tcp")
	binding := network.PortBinding{HostIP: address.Addr(), HostPort: fmt.Sprint(address.Port())}
	c.started, err = testcontainers.Run(ctx, c.image,
		testcontainers.WithExposedPorts(inside.String()),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.PortBindings = network.PortMap{inside: {binding}}
		}),
		testcontainers.WithEnv(c.settings()),
		testcontainers.WithLabels(map[string]string{ownerLabel: self.String()}),
		testcontainers.WithLogger(silence{}),
	)
	if c.started != nil {
		c.id = c.started.GetContainerID()
	}
	return err
}

// settings are what the public images of Kafka are configured with.
func (c *Container) settings() map[string]string {
	advertised := c.config.Advertise
	if advertised == "" {
		advertised = c.address
	}
	return map[string]string{
		"CLUSTER_ID":          "Y2hhdG1vbml0b3Ita2Fma2",
		"KAFKA_NODE_ID":       "1",
		"KAFKA_PROCESS_ROLES": "broker,controller",
		// For transactions the broker connects to itself, which it can't do at the published address.
		"KAFKA_LISTENERS":                      "CLIENTS://0.0.0.0:" + brokerPort + ",ITSELF://127.0.0.1:9094,CONTROLLER://127.0.0.1:9093",
		"KAFKA_ADVERTISED_LISTENERS":           "CLIENTS://" + advertised + ",ITSELF://127.0.0.1:9094",
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENTS:PLAINTEXT,ITSELF:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"KAFKA_INTER_BROKER_LISTENER_NAME":     "ITSELF",
		"KAFKA_CONTROLLER_LISTENER_NAMES":      "CONTROLLER",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":       "1@127.0.0.1:9093",
		"KAFKA_LOG_DIRS":                       "/tmp/kraft-combined-logs",
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE":      "false",
		// There is one broker to keep copies on.
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":                 "1",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR":         "1",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":                    "1",
		"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
		"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR":            "1",
		// A killed broker is not let in again before its session has ended: 9 s by default.
		"KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "1000",
		"KAFKA_BROKER_SESSION_TIMEOUT_MS":    "6000",
		// For the public images, which choose for servers with many cores.
		"KAFKA_HEAP_OPTS":            "-Xmx384m",
		"KAFKA_JVM_PERFORMANCE_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
	}
}

const (
	usablePoll    = 50 * time.Millisecond
	attemptLimit  = 3 * time.Second
	diskRetained  = 256 << 20 // bytes of a partition's log
	diskSegment   = 32 << 20
	logTailLines  = 20
	logBytesLimit = 1 << 20
)

// awaitUsable returns when the topic is there and every partition has a leader.
func (c *Container) awaitUsable(ctx context.Context) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(c.address),
		kgo.MetadataMinAge(usablePoll), // or it answers from its cache
		kgo.RequestRetries(0),          // that is done here
		kgo.RetryBackoffFn(func(int) time.Duration { return usablePoll }),
		// Always to the broker itself, whatever it advertises.
		kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.address)
		}),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptLimit)
		err := c.offerTopic(attempt, admin)
		cancel()
		if err == nil {
			return nil
		}
		if state, stateErr := c.state(ctx); stateErr == nil && !state.Running {
			return fmt.Errorf("it ended with code %d; the end of its log:\n%s", state.ExitCode, c.logTail(ctx))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w; the end of its log:\n%s", context.Cause(ctx), err, c.logTail(context.WithoutCancel(ctx)))
		case <-time.After(usablePoll):
		}
	}
}

// offerTopic creates the topic, if it is not there, and looks for its leaders.
func (c *Container) offerTopic(ctx context.Context, admin *kadm.Client) error {
	topic := c.config.Topic
	details, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	if err := details[topic].Err; errors.Is(err, kerr.UnknownTopicOrPartition) {
		configs := map[string]*string{
			"retention.bytes": kadm.StringPtr(fmt.Sprint(diskRetained)),
			"segment.bytes":   kadm.StringPtr(fmt.Sprint(diskSegment)),
		}
		_, err := admin.CreateTopic(ctx, int32(c.config.Partitions), 1, configs, topic)
		if err == nil {
			err = errors.New("the topic has no leaders yet")
		}
		return err
	} else if err != nil {
		return err
	}
	for _, p := range details[topic].Partitions {
		if p.Err != nil || p.Leader < 0 {
			return fmt.Errorf("partition %d has no leader: %w", p.Partition, p.Err)
		}
	}
	return nil
}

func (c *Container) state(ctx context.Context) (*container.State, error) {
	inspected, err := c.engine.client.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
	if err != nil {
		return nil, err
	}
	return inspected.Container.State, nil
}

// versionLine is what every Kafka writes when it starts.
var versionLine = regexp.MustCompile(`Kafka version: (\S+)`)

func (c *Container) findVersion(ctx context.Context) (string, error) {
	text, err := c.log(ctx)
	if err != nil {
		return "", fmt.Errorf("read its log: %w", err)
	}
	if found := versionLine.FindStringSubmatch(text); found != nil {
		return found[1], nil
	}
	return "of a version that its log does not say", nil
}

func (c *Container) log(ctx context.Context) (string, error) {
	reader, err := c.started.Logs(ctx)
	if err != nil {
		return "", err
	}
	defer reader.Close()
	text, err := io.ReadAll(io.LimitReader(reader, logBytesLimit))
	return string(text), err
}

// logTail is the end of the broker's log, indented, for an error message.
func (c *Container) logTail(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	text, err := c.log(ctx)
	if err != nil {
		return "    (it can't be read: " + err.Error() + ")"
	}
	all := strings.Split(strings.TrimSpace(text), "\n")
	return "    " + strings.Join(all[max(0, len(all)-logTailLines):], "\n    ")
}

// Addresses returns the one address.
func (c *Container) Addresses() []string {
	if c.config.Advertise != "" {
		return []string{c.config.Advertise}
	}
	return []string{c.address}
}

// Kind returns "container".
func (c *Container) Kind() string { return KindContainer }

// Detail names the image and the version that runs.
func (c *Container) Detail() string { return fmt.Sprintf("%s (Apache Kafka %s)", c.image, c.version) }

// Kill sends SIGKILL and returns when the broker is gone.
func (c *Container) Kill(ctx context.Context) error {
	exited := c.engine.client.ContainerWait(ctx, c.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	err := c.signal(ctx, "KILL")
	if err == nil {
		select {
		case <-exited.Result:
		case err = <-exited.Error:
		}
	}
	return c.wrap("kill", err)
}

// Restart starts the killed broker and returns when the topic is served.
func (c *Container) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, usableDeadline, fmt.Errorf("it was not usable after %v", usableDeadline))
	defer cancel()
	_, err := c.engine.client.ContainerStart(ctx, c.id, client.ContainerStartOptions{})
	if err == nil {
		err = c.awaitUsable(ctx)
	}
	return c.wrap("restart", err)
}

// Pause sends SIGSTOP: Docker's own pause fails now and then on a busy machine, where the
// kernel does not freeze the threads of a cgroup in time.
func (c *Container) Pause(ctx context.Context) error { return c.wrap("pause", c.signal(ctx, "STOP")) }

// Unpause sends SIGCONT.
func (c *Container) Unpause(ctx context.Context) error {
	return c.wrap("unpause", c.signal(ctx, "CONT"))
}

// signal reaches the container's first process, which is the broker.
func (c *Container) signal(ctx context.Context, name string) error {
	_, err := c.engine.client.ContainerKill(ctx, c.id, client.ContainerKillOptions{Signal: name})
	return err
}

func (c *Container) wrap(doing string, err error) error {
	if err != nil {
		return fmt.Errorf("stack: %s the broker's container: %w", doing, err)
	}
	return nil
}

// Close removes the container and its log.
func (c *Container) Close() error {
	c.closeOnce.Do(func() {
		c.closeErr = c.wrap("remove", c.remove())
		c.engine.close()
	})
	return c.closeErr
}

// remove is done even when whoever started the container is being interrupted.
func (c *Container) remove() error {
	if c.id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeDeadline)
	defer cancel()
	err := c.engine.remove(ctx, c.id)
	if err == nil {
		c.id = ""
	}
	return err
}
