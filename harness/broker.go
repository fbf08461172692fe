package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"chatmonitor/harness/stack"
)

// brokerCommand runs the embedded Kafka broker for other programs.
type brokerCommand struct {
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
	broker, err := stack.StartEmbedded(stack.EmbeddedConfig{
		Topic: c.Topic, Partitions: c.Partitions, Listen: c.Listen,
	})
	if err != nil {
		return err
	}
	defer broker.Close()
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
