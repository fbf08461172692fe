// Package brokertest gives tests a Kafka broker of their own: Apache Kafka in a container
// where this machine can run one, else the embedded broker.
//
// The environment variable CHATMONITOR_TEST_KAFKA chooses: auto, the default, container or
// embedded. With container a machine that can't run one fails the test.
package brokertest

import (
	"os"
	"testing"
	"time"

	"chatmonitor/harness/stack"
)

// Variable names what CHATMONITOR_TEST_KAFKA may be.
const Variable = "CHATMONITOR_TEST_KAFKA"

// Wanted is the broker that tests are to use.
func Wanted(t testing.TB) string {
	t.Helper()
	switch wanted := os.Getenv(Variable); wanted {
	case "":
		return stack.KindAuto
	case stack.KindAuto, stack.KindContainer, stack.KindEmbedded:
		return wanted
	default:
		t.Fatalf("%s=%s: it may be auto, container or embedded", Variable, wanted)
		return ""
	}
}

// Open starts a broker that is closed at the end of the test.
func Open(t testing.TB, cfg stack.BrokerConfig) stack.Breakable {
	t.Helper()
	began := time.Now()
	broker, err := stack.Open(t.Context(), stack.Choice{Kafka: Wanted(t), Config: cfg, Say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("the broker was usable after %v", time.Since(began).Round(10*time.Millisecond))
	return broker.(stack.Breakable)
}
