package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"chatmonitor/harness/stack"
)

// brokerCommand runs a Kafka broker for other programs.
type brokerCommand struct {
	Kafka      string `default:"auto" enum:"auto,container,embedded" help:"The broker: 'container' (Apache Kafka in Docker), 'embedded', or 'auto': a container where Docker and an image are to be had, else embedded."`
	KafkaImage string `placeholder:"IMAGE" help:"Image of the container. Default: what 'make kafka-image' builds if it is there, else ${publicImage}."`
	Partitions int    `default:"4" help:"Partitions of the topic."`
	Topic      string `default:"chat" help:"The topic that is created."`
	Listen     string `default:"127.0.0.1:0" help:"Address to listen on; port 0 picks a free one."`
	UntilEOF   bool   `name:"until-eof" help:"Also stop when standard input is closed: for use as a child process."`
}

// brokerReady is the line that says where the broker listens.
type brokerReady struct {
	Brokers    []string `json:"brokers"`
	Topic      string   `json:"topic"`
	Partitions int      `json:"partitions"`
	Kind       string   `json:"kind"`
}

func (c *brokerCommand) Run(ctx context.Context, std streams) error {
	choice := stack.Choice{
		Kafka: c.Kafka, Image: c.KafkaImage, Say: sayOn(std.stderr),
		Config: stack.BrokerConfig{Topic: c.Topic, Partitions: c.Partitions, Listen: c.Listen},
	}
	if err := validateBroker(choice); err != nil {
		return err
	}
	broker, err := stack.Open(ctx, choice)
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	err = c.serve(ctx, std, broker)
	return errors.Join(err, broker.Close())
}

// sayOn writes lines for people.
func sayOn(w io.Writer) func(format string, args ...any) {
	return func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
}

// serve says where the broker is and waits for the end.
func (c *brokerCommand) serve(ctx context.Context, std streams, broker stack.Broker) error {
	ready := brokerReady{broker.Addresses(), c.Topic, c.Partitions, broker.Kind()}
	if err := json.NewEncoder(std.stdout).Encode(ready); err != nil {
		return fmt.Errorf("harness: say where the broker listens: %w", err)
	}
	eof := make(chan error, 1)
	if c.UntilEOF {
		go func() {
			_, err := io.Copy(io.Discard, std.stdin)
			eof <- err
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-eof:
		return err
	}
}
