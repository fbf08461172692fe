package app

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Config is the whole configuration of a server, whatever its network layer. A value comes from the
// flag, else from the environment (CHATMONITOR_ and the flag's name in capitals with underscores),
// else from the YAML file (the flag's name with underscores), else it is the default.
type Config struct {
	File        string `name:"config" placeholder:"FILE" help:"YAML file with these settings; its keys are the flags' names with underscores."`
	CheckConfig bool   `help:"Print the effective configuration as YAML, and exit."`

	Listen      string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address for HTTP and WebSocket. Port 0 takes a free one, which the log tells. Default: ${default}."`
	AdminListen string `placeholder:"HOST:PORT" help:"Loopback address for /debug/pprof/, POST /gc, /memory and /ledger. Default: off."`

	Kafka []string `default:"127.0.0.1:9092" sep:"," placeholder:"HOST:PORT" help:"Kafka brokers to start from, separated by commas. Default: ${default}."`
	Topic string   `default:"chat" placeholder:"NAME" help:"Kafka topic of the chat records. Default: ${default}."`
	KafkaAccess
	MaxRecordBytes    int `default:"262144" placeholder:"BYTES" help:"Longer records are counted and skipped. It must stay below the outbound budget. Default: ${default}."`
	MaxRecordsInShard int `name:"max-records-in-flight" default:"1024" placeholder:"COUNT" help:"Records that may wait for one shard; when it is full, the feed waits and Kafka holds the backlog. Default: ${default}."`

	MaxConnections      int           `default:"0" placeholder:"COUNT" help:"Open WebSockets and handshakes under way; more get 503. Default: what the descriptor limit allows, less a reserve."`
	MaxHTTPConnections  int           `name:"max-http-connections" default:"0" placeholder:"COUNT" help:"Open plain HTTP connections; more get 503. Default: 256, or a sixteenth of a small descriptor limit."`
	MaxPerAddress       int           `name:"max-connections-per-address" default:"0" placeholder:"COUNT" help:"Open connections of one IP address, of any kind; more get 503. Behind a proxy all clients have one address. Default: 0, no limit."`
	MaxHeadBytes        int           `default:"16384" placeholder:"BYTES" help:"A longer request head gets 431; at least 8192. Default: ${default}."`
	HandshakeTimeout    time.Duration `default:"10s" placeholder:"TIME" help:"Time from accept to the complete request head. Default: ${default}."`
	IdlePing            time.Duration `default:"60s" placeholder:"TIME" help:"Silence after which a client is pinged; three times that ends it. 0 is never. Default: ${default}."`
	Drain               time.Duration `default:"10s" placeholder:"TIME" help:"Time for clients to leave after SIGTERM or SIGINT. Default: ${default}."`
	MaxMessageBytes     int           `default:"65536" placeholder:"BYTES" help:"A client's longer message closes its connection with 1009. Default: ${default}."`
	MaxMessageRate      int           `name:"max-messages-per-second" default:"0" placeholder:"COUNT" help:"Messages and pings of one client, with a second's worth at once; more close its connection with 1008. Give it room: a network that stalled delivers several seconds' messages together. Default: 0, no limit."`
	OutboundBudgetBytes int           `default:"1048576" placeholder:"BYTES" help:"What may wait for a client besides the message being written; more closes its connection with 1013. Default: ${default}."`
	SocketSendBuffer    int           `default:"65536" placeholder:"BYTES" help:"Kernel send buffer of a connection; left to itself the kernel swallows megabytes for a client that does not read. Default: ${default}."`

	MaxRules         int `default:"1000" placeholder:"COUNT" help:"Rules of a session. All of them together take at most --outbound-budget-bytes, as /rules answers with all at once. Default: ${default}."`
	MaxRuleEntries   int `default:"256" placeholder:"COUNT" help:"Product of the lengths of a rule's lists. Default: ${default}."`
	MaxKeywords      int `default:"64" placeholder:"COUNT" help:"Keywords of a rule. Default: ${default}."`
	MetricsMaxSeries int `default:"10000" placeholder:"COUNT" help:"Series of each metric whose labels come from records; what comes after is labelled other. Default: ${default}."`

	Shards      int  `default:"0" placeholder:"COUNT" help:"Goroutines that own sessions: event loops in the reactor. Default: GOMAXPROCS."`
	SlowWorkers int  `default:"16" placeholder:"COUNT" help:"Goroutines for requests whose work may be slow. Default: ${default}."`
	SlowQueue   int  `default:"256" placeholder:"COUNT" help:"Such requests that may wait; more are refused with busy. Default: ${default}."`
	GCPercent   int  `name:"gc-percent" default:"25" placeholder:"PERCENT" help:"Heap growth, in percent of what is alive, that starts a garbage collection: less costs processor time, more costs memory. GOGC in the environment goes before it. Default: ${default}."`
	Echo        bool `help:"Serve /echo: a WebSocket that returns every message, and a POST that returns its body."`
}

// validate says what is wrong with the configuration, all of it at once, in the words of the flags.
func (c *Config) validate() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if err := validAddress(c.Listen, 0); err != nil {
		problem("--listen: %w", err)
	}
	if c.AdminListen != "" {
		if err := validLoopback(c.AdminListen); err != nil {
			problem("--admin-listen: %w", err)
		}
	}
	if len(c.Kafka) == 0 {
		problem("--kafka: no broker is named")
	}
	for _, broker := range c.Kafka {
		if err := validAddress(broker, 1); err != nil {
			problem("--kafka: %w", err)
		}
	}
	if c.Topic == "" {
		problem("--topic: no topic is named")
	}
	problems = append(problems, c.KafkaAccess.problems()...)
	for _, n := range c.numbers() {
		if n.value < n.least {
			problem("--%s: %d is less than %d", n.flag, n.value, n.least)
		}
	}
	for _, d := range c.durations() {
		if d.value < d.least {
			problem("--%s: %v is less than %v", d.flag, d.value, d.least)
		}
	}
	if c.MaxRecordBytes+pushOverheadBytes > c.OutboundBudgetBytes {
		problem("--max-record-bytes: %d and its envelope of %d do not fit --outbound-budget-bytes, which is %d", c.MaxRecordBytes, pushOverheadBytes, c.OutboundBudgetBytes)
	}
	return errors.Join(problems...)
}

// pushOverheadBytes is what a push adds to its record at most: the envelope and the frame's header.
const pushOverheadBytes = 128

// leastHeadBytes has room for a browser's cookies, and is more than net/http adds to any limit.
const leastHeadBytes = 8 << 10

type bound[T any] struct {
	flag         string
	value, least T
}

func (c *Config) numbers() []bound[int] {
	return []bound[int]{
		{"max-record-bytes", c.MaxRecordBytes, 1},
		{"max-records-in-flight", c.MaxRecordsInShard, 1},
		{"max-connections", c.MaxConnections, 0},
		{"max-http-connections", c.MaxHTTPConnections, 0},
		{"max-connections-per-address", c.MaxPerAddress, 0},
		{"max-head-bytes", c.MaxHeadBytes, leastHeadBytes},
		{"max-message-bytes", c.MaxMessageBytes, 1},
		{"max-messages-per-second", c.MaxMessageRate, 0},
		{"outbound-budget-bytes", c.OutboundBudgetBytes, 1},
		{"socket-send-buffer", c.SocketSendBuffer, 1},
		{"max-rules", c.MaxRules, 1},
		{"max-rule-entries", c.MaxRuleEntries, 1},
		{"max-keywords", c.MaxKeywords, 1},
		{"metrics-max-series", c.MetricsMaxSeries, 1},
		{"shards", c.Shards, 0},
		{"slow-workers", c.SlowWorkers, 1},
		{"slow-queue", c.SlowQueue, 0},
		{"gc-percent", c.GCPercent, 1},
	}
}

func (c *Config) durations() []bound[time.Duration] {
	return []bound[time.Duration]{
		{"handshake-timeout", c.HandshakeTimeout, time.Millisecond},
		{"idle-ping", c.IdlePing, 0},
		{"drain", c.Drain, 0},
	}
}

func validAddress(address string, leastPort int) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT: %w", address, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < leastPort || n > 65535 {
		return fmt.Errorf("%q has no port from %d to 65535", address, leastPort)
	}
	return nil
}

func validLoopback(address string) error {
	if err := validAddress(address, 0); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(address) // it was split above
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q is not a loopback address; profiles are not for the network", address)
	}
	return nil
}
