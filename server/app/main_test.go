package app

import (
	"fmt"
	"os"
	"testing"
)

// TestMain takes away the variable that chooses the tests' Kafka: to the configuration, which these
// tests are about, it is an unknown setting.
func TestMain(m *testing.M) {
	if err := os.Unsetenv("CHATMONITOR_TEST_KAFKA"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
