package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"
)

// program is a run of the whole program.
type program struct {
	address, admin string
	cancel         context.CancelFunc
	exit           chan int
}

func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	reader, writer := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	p := &program{cancel: cancel, exit: make(chan int, 1)}
	go func() {
		p.exit <- run(ctx, append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--drain=5s"}, args...), io.Discard, writer)
		_ = writer.Close() // a pipe's never fails
	}()
	t.Cleanup(func() {
		cancel()
		_, _ = io.Copy(io.Discard, reader) // until the program has ended
	})
	lines := bufio.NewReader(reader)
	p.admin = awaitAddress(t, lines, `msg="admin listening" address=(127\.0\.0\.1:\d+)`)
	p.address = awaitAddress(t, lines, `msg=listening address=(127\.0\.0\.1:\d+)`)
	go func() { _, _ = io.Copy(io.Discard, lines) }() // ends with the program
	return p
}

func awaitAddress(t *testing.T, lines *bufio.Reader, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("no line %s: %v", pattern, err)
		}
		if match := wanted.FindStringSubmatch(line); match != nil {
			return match[1]
		}
	}
}

func (p *program) wantExit(t *testing.T, want int) {
	t.Helper()
	select {
	case got := <-p.exit:
		if got != want {
			t.Errorf("exit code %d, want %d", got, want)
		}
	case <-time.After(patience):
		t.Error("the program does not end")
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestFromKafkaToTheSocket(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "lines"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	p := startProgram(t, "--kafka="+cluster.ListenAddrs()[0], "--topic=lines")
	eventually(t, "ready", func() bool {
		status, _ := get(t, "http://"+p.address+"/ready")
		return status == http.StatusOK
	})
	client := open(t, &server{address: p.address}, "/ws")
	producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()[0]), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("lines"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for _, value := range []string{"no record", `{"text":"gg"}`} {
		if err := producer.ProduceSync(context.Background(), &kgo.Record{Partition: 1, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := client.message(), `{"path":"/chat","params":{"cursor":{"partition":1,"offset":1},"record":{"text":"gg"}}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	checkMemory(t, p)
	p.cancel()
	client.wantEnd()
	p.wantExit(t, exitOK)
}

func checkMemory(t *testing.T, p *program) {
	t.Helper()
	_, body := get(t, "http://"+p.admin+"/memory")
	var memory map[string]float64
	if err := json.Unmarshal([]byte(body), &memory); err != nil || memory["/memory/classes/total:bytes"] == 0 {
		t.Errorf("/memory: %v: %.200s", err, body)
	}
}

// TestRoomBesidesTheLoops has more threads than loops, for the feed, unless the environment says how many.
func TestRoomBesidesTheLoops(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	for _, test := range []struct {
		environment string
		want        int
	}{{"1", 1}, {"", 3 + spareProcs}} {
		runtime.GOMAXPROCS(1)
		t.Setenv("GOMAXPROCS", test.environment)
		p := startProgram(t, "--kafka=127.0.0.1:1", "--loops=3")
		if got := runtime.GOMAXPROCS(0); got != test.want {
			t.Errorf("GOMAXPROCS=%q in the environment: %d, want %d", test.environment, got, test.want)
		}
		p.cancel()
		p.wantExit(t, exitOK)
	}
}

// TestWithoutKafka serves what it can, is not ready, and ends with a signal.
func TestWithoutKafka(t *testing.T) {
	p := startProgram(t, "--kafka=127.0.0.1:1")
	if status, _ := get(t, "http://"+p.address+"/ready"); status != http.StatusServiceUnavailable {
		t.Errorf("ready: %d", status)
	}
	client := open(t, &server{address: p.address}, "/ws")
	client.sync()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	client.wantEnd()
	p.wantExit(t, exitOK)
}

func TestATakenPortAndARestart(t *testing.T) {
	p := startProgram(t, "--kafka=127.0.0.1:1")
	var stderr strings.Builder
	if code := run(context.Background(), []string{"--listen=" + p.address, "--kafka=127.0.0.1:1"}, io.Discard, &stderr); code != exitFailed {
		t.Errorf("exit code %d on a port that is taken", code)
	}
	if !strings.Contains(stderr.String(), p.address+" is taken") {
		t.Errorf("a taken port is told as %s", &stderr)
	}
	client := open(t, &server{address: p.address}, "/ws")
	p.cancel()
	p.wantExit(t, exitOK)
	client.wantEnd() // the server closed first: its end lingers in TIME_WAIT
	again := startProgram(t, "--kafka=127.0.0.1:1", "--listen="+p.address)
	if again.address != p.address {
		t.Errorf("restarted at %s, not %s", again.address, p.address)
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		args string
		code int
		want string // in what is printed
	}{
		{"--help", exitOK, "--receivers=COUNT"},
		{"--nonsense", exitUsage, "--nonsense"},
		{"--receivers=-1", exitUsage, "--receivers: -1 is less than 0"},
		{"--drain=-1s", exitUsage, "--drain"},
		{"--max-record-bytes=1048576", exitUsage, "--max-record-bytes"},
		{"--admin-listen=0.0.0.0:1", exitUsage, "not a loopback"},
		{"--topic=", exitUsage, "must not be empty"},
		{"--listen=nowhere", exitFailed, "--listen"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			var printed strings.Builder
			if code := run(context.Background(), []string{test.args}, &printed, &printed); code != test.code || !strings.Contains(printed.String(), test.want) {
				t.Errorf("exit code %d, want %d with %q; printed:\n%s", code, test.code, test.want, &printed)
			}
		})
	}
}

// TestOutOfDescriptors lets accept fail for want of descriptors: the loop waits, and serves when there are some.
func TestOutOfDescriptors(t *testing.T) {
	s := start(t, config{Loops: 1})
	fillers := exhaustDescriptors(t)
	// The last descriptor is the client's.
	if err := fillers[len(fillers)-1].Close(); err != nil {
		t.Fatal(err)
	}
	p := dial(t, s)
	p.write(upgradeRequest("/ws"))
	l := s.loops[0]
	began := time.Now()
	eventually(t, "several failures", func() bool { return l.failures.Load() >= 3 })
	if failures, most := l.failures.Load(), int64(time.Since(began)/acceptRest)+2; failures > most {
		t.Errorf("accept failed %d times in %v", failures, time.Since(began))
	}
	for _, file := range fillers[:len(fillers)-1] {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
	p.wantBytes(upgradeAnswer)
	p.sync()
}

// exhaustDescriptors opens files until there is no descriptor left, under a limit that makes it few.
func exhaustDescriptors(t *testing.T) (fillers []*os.File) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: 200, Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
	for {
		file, err := os.Open(os.DevNull)
		if errors.Is(err, unix.EMFILE) {
			return fillers
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() }) // those that the test has not closed
		fillers = append(fillers, file)
	}
}

// TestTheTableIsFull refuses whoever comes when the descriptors for clients are in use, and nobody else.
func TestTheTableIsFull(t *testing.T) {
	const descriptors = 2*reservedDescriptors + 1
	s := newTestServer(t, config{Loops: 1}, descriptors)
	startServer(t, s)
	var served []*peer
	for {
		p := dial(t, s)
		p.write(upgradeRequest("/ws"))
		if first, err := p.reader.Peek(len("HTTP/1.1 503")); err != nil || string(first) == "HTTP/1.1 503" {
			break // the refusal may be lost to a reset, for nobody read the request
		}
		p.wantBytes(upgradeAnswer)
		if served = append(served, p); len(served) > descriptors {
			t.Fatal("nobody is refused")
		}
	}
	for _, p := range served {
		p.sync()
	}
	if err := served[0].Close(); err != nil {
		t.Fatal(err)
	}
	awaitConnections(t, s, len(served)-1)
	open(t, s, "/ws").sync()
}
