package feed

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// Security is how the feed and the brokers know each other. The zero value is neither TLS nor SASL.
type Security struct {
	TLS      bool
	CAFile   string // PEM; empty: the system's authorities
	CertFile string // PEM; the server's own certificate, if the brokers want one
	KeyFile  string // PEM; of CertFile

	Mechanism string // one of Mechanisms; empty: no SASL
	User      string
	Password  string
}

// Mechanisms are those of SASL that can be had.
var Mechanisms = []string{sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512}

func (s *Security) tlsConfig() (*tls.Config, error) {
	if !s.TLS {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		text, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("feed: certificates of Kafka's authority: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("feed: there is no certificate in %s", s.CAFile)
		}
	}
	if s.CertFile != "" {
		own, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("feed: certificate for Kafka: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

// saramaConfig leaves TLS to the dialer.
func saramaConfig(o *Options, d *dialer) (*sarama.Config, error) {
	c := sarama.NewConfig()
	c.ClientID = o.ClientID
	if c.ClientID == "" {
		c.ClientID = "chatmonitor"
	}
	c.RackID = o.Rack
	c.Version = sarama.V2_8_0_0
	c.Metadata.AllowAutoTopicCreation = false
	c.Metadata.Full = false         // other topics are none of the feed's business
	c.Metadata.RefreshFrequency = 0 // the lister refreshes
	c.Metadata.Retry.Max = 0        // and has its own patience
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = dialTimeout, readTimeout, writeTimeout
	c.Net.Proxy.Enable = true
	c.Net.Proxy.Dialer = d
	c.Consumer.Return.Errors = true
	// Chat is shown as it is appended: with ReadCommitted a transaction that stays open would hold back
	// every record behind it. So records of transactions that are aborted are shown, too.
	c.Consumer.IsolationLevel = sarama.ReadUncommitted
	// What sarama retries by itself is a partition that has moved to another leader.
	c.Consumer.Retry.BackoffFunc = func(attempt int) time.Duration {
		return (&backoff{attempts: attempt - 1}).next()
	}
	o.Security.sasl(c)
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	return c, nil
}

func (s *Security) sasl(c *sarama.Config) {
	if s.Mechanism == "" {
		return
	}
	c.Net.SASL.Enable = true
	c.Net.SASL.Mechanism = sarama.SASLMechanism(s.Mechanism)
	c.Net.SASL.User, c.Net.SASL.Password = s.User, s.Password
	hash := scram.SHA256
	if s.Mechanism == sarama.SASLTypeSCRAMSHA512 {
		hash = scram.SHA512
	}
	c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: hash} }
}

// scramClient is a conversation as sarama wants it.
type scramClient struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

// Begin is sarama.SCRAMClient's.
func (c *scramClient) Begin(user, password, authorization string) error {
	client, err := c.hash.NewClient(user, password, authorization)
	if err != nil {
		return fmt.Errorf("feed: SCRAM: %w", err)
	}
	c.ClientConversation = client.NewConversation()
	return nil
}

// plain is an error on one line: sarama lists causes on lines of their own.
func plain(err error) error { return oneLine{err} }

type oneLine struct{ error }

func (e oneLine) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }
func (e oneLine) Unwrap() error { return e.error }
