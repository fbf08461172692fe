package main

import (
	"errors"
	"fmt"
	"time"
)

const description = `Open-loop load generator for WebSocket servers.

Everything is sent when it is due, whether or not earlier answers have come, and latency counts from the due time: a
server that stalls is seen to stall. Connection i belongs to group i/receivers and listens for that group's records.

Results go to stdout, progress and errors to stderr.
Exit codes: 0 fine; 1 the tool failed; 2 the run is invalid (the tool or the machine could not keep the schedule,
or connections were lost); 3 the server was wrong (lost, duplicated, changed or reordered pushes, broken frames).

Examples:
  loadgen idle --connections 19500 --hold 1m
  loadgen push --connections 5000 --rate 500 --duration 30s --kafka 127.0.0.1:9092
  loadgen push --connections 1000 --receivers 100 --json > result.json`

// targetFlags say what to connect to, and how. All static.
type targetFlags struct {
	URL                string        `default:"ws://127.0.0.1:8080/ws" help:"Server to load (ws only)."`
	Connections        int           `default:"1000" help:"Connections to hold."`
	Receivers          int           `default:"1" help:"Connections that share one rule, and so get the same records."`
	Sources            string        `default:"auto" help:"Addresses to connect from: a comma-separated list, a CIDR such as 127.0.1.0/28, or auto: as many of 127.0.0.2, 127.0.0.3 ... as a loopback target needs, else the kernel's choice."`
	ConnectConcurrency int           `default:"128" help:"Connections under way at any time while connecting."`
	ConnectTimeout     time.Duration `default:"10s" help:"Time for a connection to be up and answering; also for an answer to a later ping."`
	Seed               uint64        `default:"1" help:"Of texts, of the order of groups, and of frame masks."`
}

// outputFlags say who reads the result.
type outputFlags struct {
	JSON    bool `name:"json" help:"Print the result as one line of JSON."`
	Control bool `help:"Be driven by another program: print events as JSON lines, wait for a line \"go\" on stdin when all connections are up, leave when stdin ends."`
	Quiet   bool `help:"No progress on stderr."`
}

// feedFlags say what to produce.
type feedFlags struct {
	Kafka    []string      `default:"127.0.0.1:9092" help:"Kafka brokers, comma-separated."`
	Topic    string        `default:"chat" help:"Topic to produce to."`
	Rate     float64       `default:"200" help:"Records per second."`
	Duration time.Duration `default:"10s" help:"Time that is measured."`
	Warmup   time.Duration `default:"2s" help:"Time before that, whose records are checked but not measured."`
	Settle   time.Duration `default:"10s" help:"Silence after which a missing delivery is given up as lost."`
}

func (f targetFlags) validate() error {
	switch {
	case f.Connections < 1:
		return errors.New("--connections must be at least 1")
	case f.Receivers < 1:
		return errors.New("--receivers must be at least 1")
	case f.ConnectConcurrency < 1:
		return errors.New("--connect-concurrency must be at least 1")
	case f.ConnectTimeout <= 0:
		return errors.New("--connect-timeout must be above zero")
	}
	return nil
}

func (f feedFlags) validate() error {
	switch {
	case !(f.Rate > 0 && f.Rate <= maxRate):
		return fmt.Errorf("--rate must be above 0 and at most %d", maxRate)
	case f.Duration <= 0:
		return errors.New("--duration must be above zero")
	case f.Warmup < 0:
		return errors.New("--warmup must not be negative")
	case f.Settle <= 0:
		return errors.New("--settle must be above zero")
	case f.Rate*(f.Duration+f.Warmup).Seconds() > maxRecords:
		return fmt.Errorf("more than %d records: lower --rate or --duration", maxRecords)
	case len(f.Kafka) == 0 || f.Topic == "":
		return errors.New("--kafka and --topic must not be empty")
	}
	return nil
}

const (
	maxRate    = 1_000_000
	maxRecords = 100_000_000 // some 5 GB of accounts
)
