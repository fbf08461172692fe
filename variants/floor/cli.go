package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/alecthomas/kong"
)

const about = "The least that a Linux process can do under the load that chatmonitor's servers are measured with: raw epoll, no rules, no JSON. " +
	"Measured beside the servers, it is what their figures are divided by. Every record goes to the first --receivers clients that upgraded on /ws."

// config is the command line; the flags that the servers have too mean the same.
type config struct {
	Listen           string        `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address for HTTP and WebSocket. Port 0 takes a free one, which the log tells. Default: ${default}."`
	AdminListen      string        `placeholder:"HOST:PORT" help:"Loopback address for /debug/pprof/, POST /gc and /memory. Default: off."`
	Kafka            []string      `default:"127.0.0.1:9092" sep:"," placeholder:"HOST:PORT" help:"Kafka brokers to start from, separated by commas. Default: ${default}."`
	Topic            string        `default:"chat" placeholder:"NAME" help:"Kafka topic of the chat records. Default: ${default}."`
	MaxRecordBytes   int           `default:"262144" placeholder:"BYTES" help:"Longer records are skipped. Default: ${default}."`
	Receivers        int           `default:"1" placeholder:"COUNT" help:"Clients that get every record: the first so many that upgraded on /ws. Default: ${default}."`
	Loops            int           `default:"0" placeholder:"COUNT" help:"Threads that serve sockets. Default: GOMAXPROCS, which is then raised by one for the others unless it is set."`
	SocketSendBuffer int           `default:"65536" placeholder:"BYTES" help:"Kernel send buffer of a connection. Default: ${default}."`
	Drain            time.Duration `default:"10s" placeholder:"TIME" help:"Time after SIGTERM or SIGINT until the process has ended, at the latest. Clients are cut off at once. Default: ${default}."`
}

// commandLine reads the flags. done reports that they asked for something that has been printed.
func commandLine(args []string, stdout, stderr io.Writer) (c config, done bool, err error) {
	parser, err := kong.New(&c,
		kong.Name("floor"),
		kong.Description(about),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { done = true }),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100}),
	)
	if err != nil {
		return c, false, fmt.Errorf("floor: command line: %w", err)
	}
	_, err = parser.Parse(args)
	if done {
		return c, true, nil
	}
	if err != nil {
		return c, false, err
	}
	return c, false, c.validate()
}

func (c *config) validate() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	atLeast := func(flag string, value, least int) {
		if value < least {
			problem("--%s: %d is less than %d", flag, value, least)
		}
	}
	atLeast("receivers", c.Receivers, 0)
	atLeast("loops", c.Loops, 0)
	atLeast("socket-send-buffer", c.SocketSendBuffer, 1)
	atLeast("max-record-bytes", c.MaxRecordBytes, 1)
	if c.MaxRecordBytes+pushOverheadBytes > maxUnsentBytes {
		problem("--max-record-bytes: %d is more than a receiver may have waiting: at most %d", c.MaxRecordBytes, maxUnsentBytes-pushOverheadBytes)
	}
	if c.Drain < 0 {
		problem("--drain: %v is less than 0s", c.Drain)
	}
	if len(c.Kafka) == 0 || c.Topic == "" {
		problem("--kafka and --topic must not be empty")
	}
	if c.AdminListen != "" && !isLoopback(c.AdminListen) {
		problem("--admin-listen: %q is not a loopback HOST:PORT; profiles are not for the network", c.AdminListen)
	}
	return errors.Join(problems...)
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}
