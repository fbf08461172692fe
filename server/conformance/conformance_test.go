package conformance

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	address = flag.String("address", "", "host:port of a server that is running already, with default flags; empty: build and start every variant")
	admin   = flag.String("admin", "", "host:port of that server's admin listener")
	brokers = flag.String("brokers", "", "Kafka brokers of that server, separated by commas")
	topic   = flag.String("topic", "chat", "topic of that server")
	variant = flag.String("variant", "", "what that server is called in the list of deviations")
)

// Most of a case is waiting: for Kafka, for a timeout of the server. More run at once than there are
// processors.
const atOnce = "24"

func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// variants are what is built and tried.
var variants = []struct {
	name, deviations, source string
	args                     []string
}{
	{name: "reactor", deviations: "reactor", source: "./server"},
	{name: "goroutine-plain", deviations: "goroutine", source: "./variants/goroutine", args: []string{"--profile=plain"}},
	{name: "goroutine-tuned", deviations: "goroutine", source: "./variants/goroutine", args: []string{"--profile=tuned"}},
}

func TestConformance(t *testing.T) {
	if *address != "" {
		Run(t, Target{Variant: *variant, Address: *address, Admin: *admin, Brokers: strings.Split(*brokers, ","), Topic: *topic})
		return
	}
	dependOnSources(t)
	programs := &builder{dir: t.TempDir()}
	kafka := startBroker(t, programs.build(t, "./harness"))
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			program := &Program{Path: programs.build(t, v.source), Args: v.args}
			target := Target{Variant: v.deviations, Brokers: kafka.Brokers, Topic: kafka.Topic, Program: program}
			main := program.Start(t, "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0",
				"--kafka="+strings.Join(kafka.Brokers, ","), "--topic="+kafka.Topic, "--drain=1s")
			target.Address, target.Admin = main.Address, main.Admin
			(&suite{Target: target, t: t}).newTrial(t).awaitReady()
			Run(t, target)
		})
	}
}

// moduleRoot is where this package's module begins.
const moduleRoot = "../.."

// dependOnSources looks at every source file of the programs. The go command keeps a test's result
// until a file changes that the test has looked at, and it can't see what this one builds.
func dependOnSources(t *testing.T) {
	t.Helper()
	for _, folder := range []string{"server", "variants", "harness", "go.mod", "go.sum"} {
		err := filepath.WalkDir(filepath.Join(moduleRoot, folder), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				_, err = os.Stat(path)
			}
			if errors.Is(err, fs.ErrNotExist) { // removed since it was listed
				return nil
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// builder builds programs, each once.
type builder struct {
	dir string

	mu    sync.Mutex
	built map[string]string // guarded by mu: by source
}

// build builds the program from a folder of the module, and gives its path.
func (b *builder) build(t *testing.T, source string) string {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if path := b.built[source]; path != "" {
		return path
	}
	path := filepath.Join(b.dir, filepath.Base(source))
	command := exec.Command("go", "build", "-o", path, source)
	command.Dir = moduleRoot
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", source, err, output)
	}
	if b.built == nil {
		b.built = make(map[string]string)
	}
	b.built[source] = path
	return path
}

// broker is the line in which the embedded broker says where it is.
type broker struct {
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic"`
}

// wantedBroker is a container where there can be one, unless the environment says otherwise.
func wantedBroker() string {
	if wanted := os.Getenv("CHATMONITOR_TEST_KAFKA"); wanted != "" {
		return wanted
	}
	return "auto"
}

// A container needs some seconds on an idle machine.
const brokerPatience = 2 * time.Minute

// startBroker starts a broker, which lives until its standard input is closed: at the end of t, or
// when this process is no more.
func startBroker(t *testing.T, program string) broker {
	t.Helper()
	command := exec.Command(program, "broker", "--kafka="+wantedBroker(), "--until-eof", "--partitions=4", "--topic=conformance")
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatalf("start the broker: %v", err)
	}
	t.Cleanup(func() { stopBroker(t, command, stdin) })
	line := make(chan []byte, 1)
	go func() {
		first, _ := bufio.NewReader(stdout).ReadBytes('\n') // an empty line says it, too
		line <- first
	}()
	var b broker
	select {
	case text := <-line:
		if err := json.Unmarshal(text, &b); err != nil || len(b.Brokers) == 0 {
			t.Fatalf("the broker says %q (%v), want a JSON object with brokers", text, err)
		}
	case <-time.After(brokerPatience):
		t.Fatalf("the broker says nothing within %v", brokerPatience)
	}
	return b
}

func stopBroker(t *testing.T, command *exec.Cmd, stdin io.Closer) {
	if err := stdin.Close(); err != nil {
		t.Errorf("end the broker: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the broker ended with %v", err)
		}
	case <-time.After(patience):
		t.Errorf("the broker has not ended %v after its input, and is killed", patience)
		if err := command.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
}
