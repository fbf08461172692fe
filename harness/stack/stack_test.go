package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatmonitor/harness/stack/stacktest"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// parentVariable makes the test binary the parent in TestChildDiesWithItsParent.
const parentVariable = "STACK_TEST_PARENT"

func TestMain(m *testing.M) {
	if folder := os.Getenv(parentVariable); folder != "" {
		os.Exit(beParent(folder))
	}
	stacktest.Main(m)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func serverCommand(bin, folder string) Command {
	return Command{
		Name: "test server", Path: filepath.Join(bin, "server"),
		Args:    []string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"},
		LogPath: filepath.Join(folder, "server.log"),
	}
}

func TestServerStartsAndStops(t *testing.T) {
	folder := t.TempDir()
	server, err := StartServer(within(t, patience), serverCommand(stacktest.Install(t), folder))
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{server.Address, server.Admin} {
		if !strings.HasPrefix(address, "127.0.0.1:") || strings.HasSuffix(address, ":0") {
			t.Errorf("address %q", address)
		}
	}
	group, err := syscall.Getpgid(server.PID())
	if err != nil || group != server.PID() {
		t.Errorf("process group %d (%v), want its own, %d", group, err, server.PID())
	}
	if err := server.Stop(patience); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if alive(server.PID()) {
		t.Error("the server outlived Stop")
	}
	if err := server.Stop(patience); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(folder, "server.log"))
	if err != nil || !strings.Contains(string(log), "msg=listening address="+server.Address) {
		t.Errorf("log %q (%v)", log, err)
	}
}

// alive reports whether the process exists; a zombie does not count.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestServerThatDoesNotGetReady(t *testing.T) {
	bin := stacktest.Install(t)
	tests := []struct {
		fault   string
		timeout time.Duration
		want    []string // in the error
	}{
		{stacktest.Crash, patience, []string{"test server", "exit status 1", "server.log", "made of cheese"}},
		{stacktest.Silent, 200 * time.Millisecond, []string{"waiting for its log line", "too slow"}},
		{stacktest.Unready, 2 * time.Second, []string{"did not get ready", "too slow", "503", "no partition is being read"}},
	}
	for _, test := range tests {
		t.Run(test.fault, func(t *testing.T) {
			stacktest.SetFault(t, "server", test.fault)
			ctx, cancel := context.WithTimeoutCause(t.Context(), test.timeout, errors.New("too slow"))
			defer cancel()
			_, err := StartServer(ctx, serverCommand(bin, t.TempDir()))
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestStopOfThoseWhoDoNotLeaveWell(t *testing.T) {
	bin := stacktest.Install(t)
	tests := []struct {
		fault string
		grace time.Duration
		want  string
	}{
		{stacktest.Stubborn, 50 * time.Millisecond, "was killed"},
		{stacktest.Sulking, patience, "leaving in anger"},
	}
	for _, test := range tests {
		t.Run(test.fault, func(t *testing.T) {
			stacktest.SetFault(t, "server", test.fault)
			server, err := StartServer(within(t, patience), serverCommand(bin, t.TempDir()))
			if err != nil {
				t.Fatal(err)
			}
			err = server.Stop(test.grace)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Stop: %v, want an error with %q", err, test.want)
			}
			if alive(server.PID()) {
				t.Error("it is still there")
			}
		})
	}
}

// beParent starts a server and waits to be killed.
func beParent(folder string) int {
	if err := os.Unsetenv(parentVariable); err != nil {
		return 1
	}
	server, err := StartServer(context.Background(), serverCommand(folder, folder))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(server.PID())
	select {}
}

func TestChildDiesWithItsParent(t *testing.T) {
	bin := stacktest.Install(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), parentVariable+"="+bin)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("the parent was not killed")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || readErr != nil {
		t.Fatalf("the parent said %q (%v, %v)", line, err, readErr)
	}
	for end := time.Now().Add(patience); alive(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("child %d outlived its parent", pid)
		}
	}
}

func startLoadgen(t *testing.T) *Loadgen {
	t.Helper()
	l, err := StartLoadgen(Command{
		Name: "test load", Path: filepath.Join(stacktest.Install(t), "loadgen"),
		Args:    []string{"push", "--control", "--url=ws://127.0.0.1:1/ws", "--connections=7"},
		LogPath: filepath.Join(t.TempDir(), "loadgen.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(patience); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return l
}

func TestLoadgenUnderControl(t *testing.T) {
	ctx := within(t, patience)
	l := startLoadgen(t)
	held, early, err := l.AwaitHeld(ctx)
	if err != nil || early != nil || held != (Held{7, 0.5}) {
		t.Fatalf("AwaitHeld = %+v, %s, %v", held, early, err)
	}
	if l.hasExited() {
		t.Fatal("it did not wait at the gate")
	}
	if err := l.Go(); err != nil {
		t.Fatal(err)
	}
	result, err := l.AwaitResult(ctx)
	if err != nil || !strings.Contains(string(result), `"scenario":"push"`) {
		t.Fatalf("AwaitResult = %s, %v", result, err)
	}
	if code, err := l.AwaitExit(ctx); code != 0 || err != nil {
		t.Errorf("AwaitExit = %d, %v", code, err)
	}
}

func TestLoadgenThatGivesUpAtTheGate(t *testing.T) {
	stacktest.SetFault(t, "loadgen", stacktest.Gate)
	ctx := within(t, patience)
	l := startLoadgen(t)
	_, result, err := l.AwaitHeld(ctx)
	if !errors.Is(err, ErrEndedAtGate) || !strings.Contains(string(result), "no connection came up") {
		t.Errorf("AwaitHeld = %s, %v", result, err)
	}
	if code, err := l.AwaitExit(ctx); code != 2 || err != nil {
		t.Errorf("AwaitExit = %d, %v", code, err)
	}
}

func TestLoadgenThatFails(t *testing.T) {
	tests := []struct{ fault, want string }{
		{stacktest.Crash, "no address to connect from"},
		{stacktest.Garbage, "is no event"},
	}
	for _, test := range tests {
		t.Run(test.fault, func(t *testing.T) {
			stacktest.SetFault(t, "loadgen", test.fault)
			l := startLoadgen(t)
			_, _, err := l.AwaitHeld(within(t, patience))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("AwaitHeld: %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestStartOfWhatIsNotThere(t *testing.T) {
	_, err := Start(Command{Name: "ghost", Path: "/nonexistent/ghost", LogPath: filepath.Join(t.TempDir(), "log")})
	if err == nil || !strings.Contains(err.Error(), "start ghost") {
		t.Errorf("Start: %v", err)
	}
}

func TestLineNamesTheProgramFromHere(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(here, "bin", "server"): "bin/server",
		"/opt/elsewhere/server":              "/opt/elsewhere/server",
		"server":                             "server",
	} {
		if got := (Command{Path: path, Args: []string{"--echo"}}).Line(); got[0] != want || got[1] != "--echo" || len(got) != 2 {
			t.Errorf("%s is recorded as %q, want %q", path, got, want)
		}
	}
}

func TestLogAttribute(t *testing.T) {
	line := `time=2026-11-23T01:00:00Z level=INFO msg="admin listening" address=127.0.0.1:80 note="say \"msg=listening\" twice" last=1`
	tests := []struct{ line, key, want string }{
		{line, "msg", "admin listening"},
		{line, "address", "127.0.0.1:80"},
		{line, "last", "1"},
		{line, "listening", ""},
		{line, "none", ""},
		{`msg=listening address=[::]:8080`, "address", "[::]:8080"},
		{`not logfmt at all`, "msg", ""},
		{`msg="never ends`, "msg", "never ends"},
		{"", "msg", ""},
	}
	for _, test := range tests {
		if got := logAttribute(test.line, test.key); got != test.want {
			t.Errorf("logAttribute(%q, %q) = %q, want %q", test.line, test.key, got, test.want)
		}
	}
}

func TestLines(t *testing.T) {
	l := newLines()
	for _, piece := range []string{"one\ntw", "o\n\nfo", "ur"} {
		if _, err := io.WriteString(l, piece); err != nil {
			t.Fatal(err)
		}
	}
	fresh, next, _ := l.from(0)
	if got := strings.Join(fresh, "|"); got != "one|two|" || next != 3 {
		t.Errorf("lines %q, next %d", got, next)
	}
	_, _, changed := l.from(next)
	l.flush()
	select {
	case <-changed:
	default:
		t.Error("a new line did not show")
	}
	if fresh, _, _ := l.from(next); len(fresh) != 1 || fresh[0] != "four" {
		t.Errorf("after flush: %q", fresh)
	}
	for i := range keptLines {
		fmt.Fprintf(l, "%d\n", i)
	}
	if fresh, next, _ := l.from(0); len(fresh) != keptLines || next != keptLines+4 {
		t.Errorf("%d lines are kept, next %d", len(fresh), next)
	}
	if tail := l.tail(); strings.Count(tail, "\n") != lineTailSize-1 || !strings.HasSuffix(tail, fmt.Sprint(keptLines-1)) {
		t.Errorf("tail %q", tail)
	}
}
