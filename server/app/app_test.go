package app

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatmonitor/server/monitor"
)

// idleNetwork serves nothing until it is told to leave.
type idleNetwork struct {
	Profile string `default:"plain" help:"A variant's own flag."`
}

func (*idleNetwork) Describe() About {
	return About{Program: "idle", Text: "A network layer for tests."}
}

func (*idleNetwork) Serve(ctx context.Context, _ *App, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

func parse(t *testing.T, args ...string) (Config, string, error) {
	t.Helper()
	var stdout bytes.Buffer
	c, _, err := commandLine(&idleNetwork{}, args, &stdout, io.Discard)
	return c, stdout.String(), err
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	file := writeFile(t, "max_rules: 5\nmax_keywords: 5\nmax_rule_entries: 5\nkafka: [\"a:1\", \"b:2\"]\nidle_ping: 3m\nprofile: x\n")
	t.Setenv("CHATMONITOR_CONFIG", file)
	t.Setenv("CHATMONITOR_MAX_RULES", "6")
	t.Setenv("CHATMONITOR_MAX_KEYWORDS", "6")
	c, _, err := parse(t, "--max-rules=7")
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxRules != 7 || c.MaxKeywords != 6 || c.MaxRuleEntries != 5 || c.Topic != "chat" {
		t.Errorf("flag %d, environment %d, file %d, default %q", c.MaxRules, c.MaxKeywords, c.MaxRuleEntries, c.Topic)
	}
	if strings.Join(c.Kafka, " ") != "a:1 b:2" || c.IdlePing != 3*time.Minute {
		t.Errorf("from the file: %v, %v", c.Kafka, c.IdlePing)
	}
}

func TestCheckConfigIsAConfigFile(t *testing.T) {
	_, printed, err := parse(t, "--check-config", "--drain=3s", "--kafka=a:1,b:2", "--echo")
	if err != nil {
		t.Fatal(err)
	}
	c, again, err := parse(t, "--check-config", "--config="+writeFile(t, printed))
	if err != nil || again != printed {
		t.Errorf("%v; printed:\n%s\nagain:\n%s", err, printed, again)
	}
	if c.Drain != 3*time.Second || len(c.Kafka) != 2 || !c.Echo {
		t.Errorf("read back: %+v", c)
	}
}

// What a file says is read as on the command line, whatever type YAML would give it.
func TestFileValuesAreReadAsFlags(t *testing.T) {
	c, _, err := parse(t, "--config="+writeFile(t, "topic: 5\nkafka_user: &name yes\nkafka_client_id: *name\nkafka_sasl_mechanism: PLAIN\nkafka_password: 0123\n"+
		"idle_ping: 0\nmax_rules: 0x10\nmax_keywords: \"3\"\necho: true\nkafka: a:1,b:2\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Topic != "5" || c.KafkaUser != "yes" || c.KafkaClientID != "yes" || c.KafkaPassword != "0123" {
		t.Errorf("texts: %q, %q, %q, %q", c.Topic, c.KafkaUser, c.KafkaClientID, string(c.KafkaPassword))
	}
	if c.IdlePing != 0 || c.MaxRules != 16 || c.MaxKeywords != 3 || !c.Echo || strings.Join(c.Kafka, " ") != "a:1 b:2" {
		t.Errorf("others: %v, %d, %d, %t, %v", c.IdlePing, c.MaxRules, c.MaxKeywords, c.Echo, c.Kafka)
	}
}

func TestBadConfiguration(t *testing.T) {
	for _, c := range []struct {
		says string
		args []string
	}{
		{"unknown flag", []string{"--nope"}},
		{"--max-rules", []string{"--max-rules=-1"}},
		{"--drain", []string{"--drain=-1s"}},
		{"--listen", []string{"--listen=nowhere"}},
		{"--kafka", []string{"--kafka=host"}},
		{"loopback", []string{"--admin-listen=0.0.0.0:1"}},
		{"--max-record-bytes", []string{"--outbound-budget-bytes=1000"}},
		{"unknown key \"max-rules\"", []string{"--config=" + writeFile(t, "max-rules: 1\n")}},
		{"no value", []string{"--config=" + writeFile(t, "max_rules:\n")}},
		{"--max-rules", []string{"--config=" + writeFile(t, "max_rules: many\n")}},
		{"--max-rules", []string{"--config=" + writeFile(t, "max_rules: 1.5\n")}},
		{"--max-rules", []string{"--config=" + writeFile(t, "max_rules: [3]\n")}},
		{"missing unit", []string{"--config=" + writeFile(t, "drain: 5\n")}},
		{"missing unit", []string{"--config=" + writeFile(t, "idle_ping: 60\n")}},
		{"--topic", []string{"--config=" + writeFile(t, "topic: {a: 1}\n")}},
		{"cannot be read", []string{"--config=/nonexistent.yaml"}},
		{"yaml", []string{"--config=" + writeFile(t, "a: [\n")}},
	} {
		if _, _, err := parse(t, c.args...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: got %v, want %q", c.args, err, c.says)
		}
	}
	t.Setenv("CHATMONITOR_NO_SUCH", "1")
	if _, _, err := parse(t); err == nil || !strings.Contains(err.Error(), "CHATMONITOR_NO_SUCH") {
		t.Errorf("an unknown variable: got %v", err)
	}
}

func TestExitCodes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, 0, ""},
		{[]string{"--check-config"}, 0, ""},
		{[]string{"--max-rules=x"}, 2, "--help"},
		{[]string{"--listen=" + taken.Addr().String()}, 1, taken.Addr().String()},
	} {
		var stderr bytes.Buffer
		if code := run(&idleNetwork{}, c.args, io.Discard, &stderr); code != c.code || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%v: exit code %d, %s", c.args, code, stderr.String())
		}
	}
}

func TestLimitConnections(t *testing.T) {
	c := Config{}
	if err := c.limitConnections(20000); err != nil || c.MaxHTTPConnections != 256 || c.MaxConnections != 20000-256-reservedDescriptors {
		t.Errorf("%v: %+v", err, c)
	}
	c = Config{MaxConnections: 1000}
	if err := c.limitConnections(1000); err == nil || !strings.Contains(err.Error(), "1000") {
		t.Errorf("got %v", err)
	}
}

// blockedWriter is a stderr that nobody reads.
type blockedWriter struct{ release chan struct{} }

func (w blockedWriter) Write(p []byte) (int, error) { <-w.release; return 0, io.ErrClosedPipe }

func TestAFullLogStopsNobody(t *testing.T) {
	stats := monitor.NewStats(1)
	w := blockedWriter{make(chan struct{})}
	log, writer := newLog(w, stats)
	for range 3 * logQueue {
		log.Info("a line")
	}
	if stats.LogDropped.Load() < logQueue {
		t.Errorf("%d lines dropped", stats.LogDropped.Load())
	}
	writer.flush() // gives up
	close(w.release)
}

func TestHoldAddress(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", ":0", "0.0.0.0:0"} {
		address, release, err := holdAddress(listen)
		if err != nil {
			t.Fatalf("%s: %v", listen, err)
		}
		l, err := net.Listen("tcp", address) // as a network layer does
		if err != nil {
			t.Fatalf("%s: listen beside the held address: %v", listen, err)
		}
		release()
		if _, _, err := holdAddress(address); err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: a taken address: got %v", listen, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
