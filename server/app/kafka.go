package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"chatmonitor/server/feed"
	"chatmonitor/server/monitor"
)

// KafkaAccess is how the server and Kafka's brokers know each other.
type KafkaAccess struct {
	KafkaTLS      bool   `name:"kafka-tls" help:"Speak TLS with the brokers, and check their certificates."`
	KafkaCAFile   string `name:"kafka-ca-file" placeholder:"FILE" help:"PEM file of the authorities that may have signed the brokers' certificates. Default: the system's."`
	KafkaCertFile string `name:"kafka-cert-file" placeholder:"FILE" help:"PEM file of the server's own certificate, for brokers that want one."`
	KafkaKeyFile  string `name:"kafka-key-file" placeholder:"FILE" help:"PEM file of that certificate's key."`

	KafkaMechanism    string `name:"kafka-sasl-mechanism" placeholder:"NAME" help:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Without --kafka-tls, PLAIN shows the password to the network. Default: no SASL."`
	KafkaUser         string `name:"kafka-user" placeholder:"NAME" help:"User for SASL."`
	KafkaPassword     Secret `name:"kafka-password" placeholder:"SECRET" help:"Password for SASL. A flag is seen by everybody on the machine: better from the environment, or --kafka-password-file."`
	KafkaPasswordFile string `name:"kafka-password-file" placeholder:"FILE" help:"File of the password for SASL; a line break at its end is not part of it. It is read at the start."`

	KafkaClientID string `name:"kafka-client-id" default:"chatmonitor" placeholder:"NAME" help:"What the brokers' logs and quotas know the server by. Default: ${default}."`
	KafkaRack     string `name:"kafka-rack" placeholder:"NAME" help:"Rack, or zone, of the server: partitions are read from a replica there, where brokers allow it. Default: from the leaders."`
}

// Secret is a setting that is never shown.
type Secret string

// String hides it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides it, too.
func (s Secret) GoString() string { return s.String() }

const hidden = "(hidden)"

// problems says what is wrong, in the words of the flags.
func (k *KafkaAccess) problems() (problems []error) {
	wrong := func(is bool, format string, args ...any) {
		if is {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	wrong(!k.KafkaTLS && k.KafkaCAFile+k.KafkaCertFile+k.KafkaKeyFile != "", "--kafka-ca-file, --kafka-cert-file and --kafka-key-file need --kafka-tls")
	wrong((k.KafkaCertFile == "") != (k.KafkaKeyFile == ""), "--kafka-cert-file and --kafka-key-file need each other")
	wrong(k.KafkaPassword != "" && k.KafkaPasswordFile != "", "--kafka-password and --kafka-password-file: only one of them")
	wrong(k.KafkaPassword == hidden, "--kafka-password: %q stands for a password that --check-config has not shown", hidden)
	wrong(k.KafkaClientID == "", "--kafka-client-id: no name is given")
	if k.KafkaMechanism == "" {
		wrong(k.KafkaUser != "" || k.KafkaPassword != "" || k.KafkaPasswordFile != "", "--kafka-user and its password need --kafka-sasl-mechanism")
		return problems
	}
	wrong(!slices.Contains(feed.Mechanisms, k.KafkaMechanism), "--kafka-sasl-mechanism: %q is none of %s", k.KafkaMechanism, strings.Join(feed.Mechanisms, ", "))
	wrong(k.KafkaUser == "", "--kafka-sasl-mechanism needs --kafka-user")
	wrong(k.KafkaPassword == "" && k.KafkaPasswordFile == "", "--kafka-sasl-mechanism needs --kafka-password or --kafka-password-file")
	return problems
}

// security is what the feed is told; it reads the password's file.
func (k *KafkaAccess) security() (feed.Security, error) {
	s := feed.Security{
		TLS: k.KafkaTLS, CAFile: k.KafkaCAFile, CertFile: k.KafkaCertFile, KeyFile: k.KafkaKeyFile,
		Mechanism: k.KafkaMechanism, User: k.KafkaUser, Password: string(k.KafkaPassword),
	}
	if k.KafkaPasswordFile != "" {
		text, err := os.ReadFile(k.KafkaPasswordFile)
		if err != nil {
			return s, fmt.Errorf("app: --kafka-password-file: %w", err)
		}
		if s.Password = strings.TrimRight(string(text), "\r\n"); s.Password == "" {
			return s, errors.New("app: --kafka-password-file: it is empty")
		}
	}
	return s, nil
}

func newFeed(c *Config, hub *monitor.Hub, stats *monitor.Stats, log *slog.Logger) (*feed.Feed, error) {
	security, err := c.security()
	if err != nil {
		return nil, err
	}
	return feed.New(feed.Options{
		Brokers: c.Kafka, Topic: c.Topic, MaxRecordBytes: c.MaxRecordBytes,
		Security: security, ClientID: c.KafkaClientID, Rack: c.KafkaRack,
		Hub: hub, Stats: stats, Log: log,
	})
}
