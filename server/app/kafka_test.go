package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKafkaAccess(t *testing.T) {
	t.Setenv("CHATMONITOR_KAFKA_PASSWORD", "s3cret")
	c, printed, err := parse(t, "--check-config", "--kafka-sasl-mechanism=SCRAM-SHA-512", "--kafka-user=reader", "--kafka-tls", "--kafka-ca-file=ca.pem", "--kafka-rack=a")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.security()
	if err != nil || s.Password != "s3cret" || s.User != "reader" || s.Mechanism != "SCRAM-SHA-512" || !s.TLS || s.CAFile != "ca.pem" || c.KafkaRack != "a" || c.KafkaClientID != "chatmonitor" {
		t.Errorf("%v: %+v", err, s)
	}
	for _, text := range []string{printed, fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c)} {
		if strings.Contains(text, "s3cret") {
			t.Errorf("the password is shown:\n%s", text)
		}
	}
	if !strings.Contains(printed, "kafka_password: (hidden)\n") || !strings.Contains(printed, "kafka_user: reader\n") {
		t.Errorf("printed:\n%s", printed)
	}
}

func TestPasswordFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	login := []string{"--kafka-sasl-mechanism=PLAIN", "--kafka-user=reader", "--kafka-password-file=" + file}
	for _, row := range []struct{ text, password, says string }{
		{"s3cret\n", "s3cret", ""}, {" two words ", " two words ", ""}, {"\n", "", "empty"},
	} {
		if err := os.WriteFile(file, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := parse(t, login...)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.security()
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) || err == nil && s.Password != row.password {
			t.Errorf("%q: got %q, %v", row.text, s.Password, err)
		}
	}
	c, _, err := parse(t, append(login[:2:2], "--kafka-password-file=/nonexistent")...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.security(); err == nil || !strings.Contains(err.Error(), "--kafka-password-file") {
		t.Errorf("got %v", err)
	}
}

func TestBadKafkaAccess(t *testing.T) {
	for _, row := range []struct {
		says string
		args []string
	}{
		{"need --kafka-tls", []string{"--kafka-ca-file=x"}},
		{"need each other", []string{"--kafka-tls", "--kafka-cert-file=x"}},
		{"only one of them", []string{"--kafka-sasl-mechanism=PLAIN", "--kafka-user=u", "--kafka-password=x", "--kafka-password-file=x"}},
		{"need --kafka-sasl-mechanism", []string{"--kafka-user=x"}},
		{"is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", []string{"--kafka-sasl-mechanism=GSSAPI", "--kafka-user=x", "--kafka-password=x"}},
		{"needs --kafka-user", []string{"--kafka-sasl-mechanism=PLAIN", "--kafka-password=x"}},
		{"needs --kafka-password", []string{"--kafka-sasl-mechanism=PLAIN", "--kafka-user=x"}},
		{"has not shown", []string{"--kafka-sasl-mechanism=PLAIN", "--kafka-user=x", "--kafka-password=(hidden)"}},
		{"--kafka-client-id", []string{"--kafka-client-id="}},
	} {
		if _, _, err := parse(t, row.args...); err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%v: got %v, want %q", row.args, err, row.says)
		}
	}
}
