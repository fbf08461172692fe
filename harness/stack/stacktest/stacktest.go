// Package stacktest has stand-ins for the programs that the harness runs, for
// tests: a server that answers what the harness asks of one, and a load generator
// that speaks --control. Neither opens a WebSocket or knows a record.
//
// The programs are the test's own binary under another name: Main, called by
// TestMain, sees by which name it was started.
//
//	func TestMain(m *testing.M) { stacktest.Main(m) }
//
// What a stand-in does wrong is said by an environment variable with its name, such
// as STAND_IN_SERVER=crash.
package stacktest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Faults of a server.
const (
	Crash    = "crash"    // ends at once, with a message
	Silent   = "silent"   // never says that it listens
	Unready  = "unready"  // is never ready
	Stubborn = "stubborn" // does not end on SIGTERM
	Sulking  = "sulking"  // ends on SIGTERM with code 7
	Dying    = "dying"    // ends when it is asked for a second collection
)

// Faults of a load generator.
const (
	Wrong   = "wrong"   // found lost records
	Invalid = "invalid" // could not keep its schedule
	Garbage = "garbage" // writes no events
	Gate    = "gate"    // gives a result before its connections are up
	Hang    = "hang"    // never gets its connections up
)

// Names of the stand-ins.
var programs = map[string]func(ctx context.Context, fault string, args []string) int{
	"server":    serve,
	"goroutine": serve,
	"floor":     serve,
	"loadgen":   generate,
}

// Main runs the tests, or a stand-in if that is by which name it was started.
func Main(m *testing.M) {
	name := filepath.Base(os.Args[0])
	program, isStandIn := programs[name]
	if !isStandIn {
		os.Exit(m.Run())
	}
	fault := os.Getenv(variable(name))
	ctx := context.Background()
	if fault == Stubborn {
		signal.Ignore(syscall.SIGTERM)
	} else {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
	}
	os.Exit(program(ctx, fault, os.Args[1:]))
}

func variable(program string) string { return "STAND_IN_" + strings.ToUpper(program) }

// Install makes a folder with all stand-ins.
func Install(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name := range programs {
		if err := os.Symlink(self, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// SetFault makes a program do something wrong for the rest of the test.
func SetFault(t *testing.T, program, fault string) {
	t.Helper()
	t.Setenv(variable(program), fault)
}

// flagValue returns the value of --name=value, "" if there is none.
func flagValue(args []string, name string) string {
	for _, arg := range args {
		if value, found := strings.CutPrefix(arg, "--"+name+"="); found {
			return value
		}
	}
	return ""
}

func fail(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	return 1
}
