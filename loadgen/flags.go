package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"chatmonitor/loadgen/pace"
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
  loadgen broadcast --connections 1000 --json > result.json
  loadgen request --echo --url ws://127.0.0.1:8080/echo --rate 2000
  loadgen --plan plan.yaml`

// targetFlags say what to connect to, and how. All static.
type targetFlags struct {
	URL                []string      `name:"url" default:"ws://127.0.0.1:8080/ws" placeholder:"ws://HOST:PORT/PATH" help:"Server to load, ws only (${default}). Several, comma-separated or repeated, share the connections evenly: connection i goes to server i modulo their number."`
	Connections        int           `default:"1000" help:"Connections to hold, in all processes together."`
	Sources            string        `default:"auto" help:"Addresses to connect from: a comma-separated list, a CIDR such as 127.0.1.0/28, or auto: as many of 127.0.0.2, 127.0.0.3 ... as a loopback target needs, else the kernel's choice."`
	ConnectConcurrency int           `default:"128" help:"Connections (of each process) under way at any time while connecting, unless --connect-rate says when."`
	ConnectTimeout     time.Duration `default:"10s" help:"Time for a connection to be up and answering; also for an answer to a later ping."`
	Seed               uint64        `default:"1" help:"Of texts, of the order of groups, and of frame masks."`
	Processes          processCount  `default:"1" help:"Copies of this program that share the work, or auto: as many as the limit of open files makes necessary."`
	Part               part          `hidden:"" default:"0/1" help:"Which of the copies this is."`
}

// groupFlags say who listens for the same records.
type groupFlags struct {
	Receivers  int `default:"${receivers}" help:"Connections that share one rule, and so get the same records."`
	FirstGroup int `default:"0" help:"Number of the first group: runs against one server at the same time keep apart with ranges of their own."`
}

// fedFlags say which groups records go to.
type fedFlags struct {
	Groups int `default:"0" help:"Groups that get records, the first so many; their connections are up before any other begins. 0: all groups."`
}

// echoFlags say what the server speaks.
type echoFlags struct {
	Echo bool `help:"The server returns every message as it came; nothing of the chat protocol is used."`
}

// outputFlags say who reads the result.
type outputFlags struct {
	JSON    bool `name:"json" help:"Print the result as one line of JSON."`
	Control bool `help:"Be driven by another program: print events as JSON lines, wait for a line \"go\" on stdin when all connections are up, leave when stdin ends."`
	Quiet   bool `help:"No progress on stderr."`
}

// fileFlags say what to leave besides the result.
type fileFlags struct {
	Raw  string `placeholder:"FILE" help:"Write every sample to a CSV file: intended, sent, received (FILE.0, FILE.1 ... with more processes)."`
	HGRM string `name:"hgrm" placeholder:"DIR" help:"Write each histogram to DIR in HdrHistogram's .hgrm form."`
}

// paceFlags say how much, and for how long.
type paceFlags struct {
	Rate     float64       `default:"${rate}" help:"Events (records, requests) per second."`
	Duration time.Duration `default:"10s" help:"Time that is measured."`
	Warmup   time.Duration `default:"2s" help:"Time before that, whose events are checked but not measured."`
	Settle   time.Duration `default:"10s" help:"Silence after which what is missing is given up as lost."`
}

// feedFlags say where records go.
type feedFlags struct {
	Kafka     []string `default:"127.0.0.1:9092" placeholder:"HOST:PORT" help:"Kafka brokers, comma-separated (${default})."`
	Topic     string   `default:"chat" help:"Topic to produce to."`
	TextBytes int      `default:"0" help:"Least length of a record's text; 0: as people write."`
}

func (f targetFlags) validate() error {
	switch {
	case len(f.URL) == 0:
		return errors.New("--url must not be empty")
	case f.Connections < 1:
		return errors.New("--connections must be at least 1")
	case f.ConnectConcurrency < 1:
		return errors.New("--connect-concurrency must be at least 1")
	case f.ConnectTimeout <= 0:
		return errors.New("--connect-timeout must be above zero")
	case int(f.Processes) > f.Connections:
		return errors.New("--processes must not be more than --connections")
	}
	return nil
}

func (f groupFlags) validate() error {
	switch {
	case f.Receivers < 1:
		return errors.New("--receivers must be at least 1")
	case f.FirstGroup < 0:
		return errors.New("--first-group must not be negative")
	}
	return nil
}

func (f fedFlags) validate(connections, receivers int) error {
	if groups := (connections + receivers - 1) / max(receivers, 1); f.Groups < 0 || receivers > 0 && f.Groups > groups {
		return fmt.Errorf("--groups must be between 0 and %d, the number of groups of --receivers", groups)
	}
	return nil
}

const (
	maxRate      = 1_000_000
	maxEvents    = 100_000_000 // some 5 GB of accounts
	maxTextBytes = 900_000     // brokers refuse a megabyte
)

func (f paceFlags) validate() error {
	switch {
	case !(f.Rate > 0 && f.Rate <= maxRate):
		return fmt.Errorf("--rate must be above 0 and at most %d", maxRate)
	case f.Duration <= 0:
		return errors.New("--duration must be above zero")
	case f.Warmup < 0:
		return errors.New("--warmup must not be negative")
	case f.Settle <= 0:
		return errors.New("--settle must be above zero")
	case f.Rate*(f.Duration+f.Warmup).Seconds() > maxEvents:
		return fmt.Errorf("more than %d events: lower --rate or --duration", maxEvents)
	case pace.Count(f.Warmup+f.Duration, f.Rate) == pace.Count(f.Warmup, f.Rate):
		return fmt.Errorf("no event at %g per second is due in the %v that are measured: raise --rate or --duration", f.Rate, f.Duration)
	}
	return nil
}

func (f feedFlags) validate() error {
	switch {
	case len(f.Kafka) == 0 || f.Topic == "":
		return errors.New("--kafka and --topic must not be empty")
	case f.TextBytes < 0 || f.TextBytes > maxTextBytes:
		return fmt.Errorf("--text-bytes must be between 0 and %d", maxTextBytes)
	}
	return nil
}

func (f outputFlags) validate() error {
	if f.Control && f.JSON {
		return errors.New("--control prints JSON already: leave out --json")
	}
	return nil
}

// of gives each process a file of its own.
func (f fileFlags) of(p part) fileFlags {
	if f.Raw != "" && !p.isWhole() {
		f.Raw = fmt.Sprintf("%s.%d", f.Raw, p.index)
	}
	return f
}

// prepare makes the directory before the run rather than fail after it.
func (f fileFlags) prepare() error {
	if f.HGRM == "" {
		return nil
	}
	if err := os.MkdirAll(f.HGRM, 0o755); err != nil {
		return fmt.Errorf("--hgrm: %w", err)
	}
	return nil
}
