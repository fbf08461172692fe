package faults

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatmonitor/harness/stack"
	"chatmonitor/harness/stack/brokertest"
)

const (
	// patience is how long a test waits for what must happen.
	patience = 2 * time.Minute
	// stopGrace covers the server's --drain=1s.
	stopGrace = 15 * time.Second
	poll      = 20 * time.Millisecond
)

// Most of these tests is waiting: more run at once than there are processors.
const atOnce = "8"

// serverPath is the server that all tests run; TestMain builds it.
var serverPath string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	flag.Parse()
	folder, err := os.MkdirTemp("", "chatmonitor-faults-")
	if err == nil {
		defer os.RemoveAll(folder)
		err = flag.Set("test.parallel", atOnce)
	}
	if err == nil {
		serverPath, err = build(folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 1
	}
	return m.Run()
}

func build(folder string) (string, error) {
	path := filepath.Join(folder, "server")
	command := exec.Command("go", "build", "-o", path, "./server")
	command.Dir = "../.."
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./server: %w\n%s", err, output)
	}
	return path, nil
}

// server is a server under test.
type server struct {
	*stack.Server
	t *testing.T
}

// startServer starts a server that is ready when this returns, and stopped, which must go
// well, at the end of the test.
func startServer(ctx context.Context, t *testing.T, broker stack.Broker, topic string) *server {
	t.Helper()
	s, err := tryServer(ctx, t, broker, topic)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryServer(ctx context.Context, t *testing.T, broker stack.Broker, topic string) (*server, error) {
	log := filepath.Join(t.TempDir(), "server.log")
	running, err := stack.StartServer(ctx, stack.Command{
		Name: "server", Path: serverPath, LogPath: log, Env: serverEnvironment(),
		Args: []string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--drain=1s",
			"--kafka=" + strings.Join(broker.Addresses(), ","), "--topic=" + topic},
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := running.Stop(stopGrace); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			text, err := os.ReadFile(log)
			t.Logf("the server's log (%v):\n%s", err, text)
		}
	})
	return &server{running, t}, nil
}

// serverEnvironment is this process' without the tests' own variable, which no server knows.
func serverEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, brokertest.Variable+"=") })
}

func (s *server) get(path string) (int, string) {
	s.t.Helper()
	response, err := http.Get("http://" + s.Address + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// readiness is what these tests look at in the answer of /ready.
type readiness struct {
	Feed struct {
		Connected  bool   `json:"connected"`
		Trouble    string `json:"trouble"`
		Partitions map[string]struct {
			State string `json:"state"`
		} `json:"partitions"`
	} `json:"feed"`
}

func (r readiness) healthy() bool {
	for _, p := range r.Feed.Partitions {
		if p.State != "reading" {
			return false
		}
	}
	return r.Feed.Connected && r.Feed.Trouble == ""
}

// readiness asks /ready, which must go on to answer 200 whatever happens to Kafka.
func (s *server) readiness() (r readiness, body string) {
	s.t.Helper()
	code, body := s.get("/ready")
	if code != http.StatusOK {
		s.t.Fatalf("/ready answers %d once it has answered 200: %s", code, body)
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		s.t.Fatalf("/ready answers %s: %v", body, err)
	}
	return r, strings.TrimSpace(body)
}

// awaitHealth returns when /ready says that all is well, or that it is not.
func (s *server) awaitHealth(healthy bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(poll) {
		r, body := s.readiness()
		if r.healthy() == healthy {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("/ready is not healthy=%v after %v: %s", healthy, patience, body)
		}
	}
}

// metric sums the series of a metric whose labels contain all of those given.
func (s *server) metric(name string, labels ...string) float64 {
	s.t.Helper()
	_, text := s.get("/metrics")
	sum, found := 0.0, false
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		family, rest, _ := strings.Cut(series, "{")
		if family != "chat_monitor_"+name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			s.t.Fatalf("metric line %q: %v", line, err)
		}
		sum, found = sum+number, true
	}
	if !found && len(labels) == 0 {
		s.t.Fatalf("there is no metric %s", name)
	}
	return sum
}

// wantMore checks that a counter has risen.
func (s *server) wantMore(than float64, name string, labels ...string) {
	s.t.Helper()
	if now := s.metric(name, labels...); now <= than {
		s.t.Errorf("%s%q was %v and is %v", name, labels, than, now)
	}
}

// stopwatch measures from one moment.
type stopwatch struct{ began time.Time }

func startWatch() stopwatch { return stopwatch{time.Now()} }

func (w stopwatch) elapsed() time.Duration { return time.Since(w.began).Round(10 * time.Millisecond) }

// within fails the test if more than the limit has passed. Limits are far above what is
// seen: they tell recovery from none.
func (w stopwatch) within(t *testing.T, limit time.Duration, what string) {
	t.Helper()
	took := w.elapsed()
	t.Logf("%s: %v", what, took)
	if took > limit {
		t.Errorf("%s: %v, want at most %v", what, took, limit)
	}
}
