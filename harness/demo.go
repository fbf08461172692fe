package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"chatmonitor/harness/chatter"
	"chatmonitor/harness/stack"
)

// demoCommand shows a server at work without anything to install.
type demoCommand struct {
	Listen     string        `default:"127.0.0.1:8080" help:"Where the server listens; port 0 picks a free one."`
	Kafka      string        `default:"auto" help:"The broker: 'auto', 'container', 'embedded', or host:port[,host:port...] of one that runs."`
	KafkaImage string        `placeholder:"IMAGE" help:"Image of the container."`
	Rate       float64       `default:"20" help:"Chat lines per second."`
	Seed       uint64        `default:"1" help:"Of the chat: the same seed says the same things."`
	Duration   time.Duration `default:"0s" help:"Leave after this time. Default: on Ctrl-C."`
	Bin        string        `placeholder:"DIR" type:"path" help:"Folder with the programs. Default: the harness' own."`
}

// Help is shown with --help.
func (c *demoCommand) Help() string {
	return `Starts a Kafka broker (in a container where it can, else embedded) and a server, and lets players of several games chat, in Chinese and English,
gold sellers among them. It prints where the console is and a command that shows the chat of one game server.
Nothing outlives it. Exit codes: 0 fine; 1 something failed; 2 usage.`
}

func (c *demoCommand) validate() error {
	switch {
	case !(c.Rate > 0 && c.Rate <= maxDemoRate):
		return usageError("--rate must be above 0 and at most %d", maxDemoRate)
	case c.Duration < 0:
		return usageError("--duration must not be negative")
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return usageError("--listen: %w", err)
	}
	return validateBroker(c.choice())
}

func (c *demoCommand) choice() stack.Choice {
	return stack.Choice{
		Kafka: c.Kafka, Image: c.KafkaImage,
		Config: stack.BrokerConfig{Topic: demoTopic, Partitions: demoParts, Listen: "127.0.0.1:0"},
	}
}

const (
	maxDemoRate = 20000
	demoTopic   = "chat"
	demoParts   = 4
	heartbeat   = 10 * time.Second
)

// Run keeps the demo up until the signal, the duration or a failure.
func (c *demoCommand) Run(ctx context.Context, std streams) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	bin, err := binariesIn(c.Bin, productVariant().binary)
	if err != nil {
		return err
	}
	if err := portIsFree(c.Listen); err != nil {
		return err
	}
	if c.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Duration)
		defer cancel()
	}
	choice := c.choice()
	choice.Say = sayOn(std.stderr)
	broker, err := stack.Open(ctx, choice)
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	logs, err := os.MkdirTemp("", "chatmonitor-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the server's log: %w", err)
	}
	defer os.RemoveAll(logs)
	server, err := c.startServer(ctx, bin, broker, filepath.Join(logs, "server.log"))
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	defer func() { err = errors.Join(err, server.Stop(serverGrace)) }()
	c.invite(std, server.Address)
	return c.chat(ctx, std, broker, server)
}

// portIsFree says at once, and plainly, what the server would say in its log.
func portIsFree(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("the server can't listen on %s: %w (another --listen helps; port 0 picks a free one)", address, err)
	}
	return listener.Close()
}

func (c *demoCommand) startServer(ctx context.Context, bin binaries, broker stack.Broker, logPath string) (*stack.Server, error) {
	ctx, cancel := deadline(ctx, readyDeadline, "the server took too long to get ready")
	defer cancel()
	v := productVariant()
	return stack.StartServer(ctx, stack.Command{
		Name: v.name + " server", Path: bin.path(v.binary), LogPath: logPath,
		Args: v.serverArgs(c.Listen, broker.Addresses(), demoTopic),
	})
}

// invite says where to look.
func (c *demoCommand) invite(std streams, address string) {
	address = dialable(address)
	fmt.Fprintf(std.stdout, "console:  http://%s/\n", address)
	fmt.Fprintf(std.stdout, "watch:    %s watch --url ws://%s/ws --rule '{\"server_id\":6558}'\n", os.Args[0], address)
	fmt.Fprintf(std.stdout, "          %s watch --url ws://%s/ws --rule '{\"keywords\":[\"代练\",\"gold\"]}'\n", os.Args[0], address)
	fmt.Fprintf(std.stderr, "chat at %g lines a second, seed %d; Ctrl-C ends it\n", c.Rate, c.Seed)
}

// dialable replaces the address that means all of the machine's by one of them.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return address
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// chat produces until the context ends.
func (c *demoCommand) chat(ctx context.Context, std streams, broker stack.Broker, server *stack.Server) error {
	producer, err := newProducer(broker.Addresses(), demoTopic)
	if err != nil {
		return err
	}
	defer producer.close()
	talk := chatter.New(c.Seed)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { done <- producer.produce(ctx, talk, c.Rate) }()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case err := <-done:
			fmt.Fprintf(std.stderr, "%d lines were said\n", producer.said.Load())
			return err
		case <-server.Exited():
			cancel()
			<-done
			return server.Failure("the demo went on")
		case <-beat.C:
			fmt.Fprintf(std.stderr, "%d lines so far\n", producer.said.Load())
		}
	}
}
