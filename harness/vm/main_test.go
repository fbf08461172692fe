package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// modeVariable says what the stand-in for QEMU does.
const modeVariable = "STAND_IN_QEMU"

// TestMain runs the tests, or the stand-in for QEMU if that is the name by which the
// test's own binary was started.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == QEMU {
		os.Exit(standIn(os.Getenv(modeVariable)))
	}
	os.Exit(m.Run())
}

func standIn(mode string) int {
	frame := func(text string) {
		if err := WriteFrame(os.Stdout, []byte(text)); err != nil {
			panic(err)
		}
	}
	switch mode {
	case "well":
		fmt.Print("firmware says hello\r\n")
		frame("one")
		frame("two")
	case "mute":
	case "broken":
		fmt.Fprintln(os.Stderr, "no such accelerator")
		return 1
	case "endless":
		frame("one")
		time.Sleep(time.Hour)
	case "dying":
		frame("one")
		fmt.Fprintln(os.Stderr, "memory is exhausted")
		return 9
	case "arguments":
		frame(strings.Join(os.Args[1:], " "))
	}
	return 0
}

// withQEMU puts the stand-in where QEMU is looked for.
func withQEMU(t *testing.T, mode string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Symlink(self, filepath.Join(folder, QEMU)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder)
	t.Setenv(modeVariable, mode)
}

func TestBoot(t *testing.T) {
	tests := []struct {
		mode  string
		heard string
		want  string // in the error; "" is none
	}{
		{"well", "one two", ""},
		{"mute", "", "did not come up: it ended (exit status 0)"},
		{"broken", "", "no such accelerator"},
		{"dying", "one", "exit status 9: memory is exhausted"},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			withQEMU(t, test.mode)
			var heard []string
			err := Machine{Accel: TCG}.Boot(t.Context(), func(payload []byte) error {
				heard = append(heard, string(payload))
				return nil
			})
			if got := strings.Join(heard, " "); got != test.heard {
				t.Errorf("heard %q, want %q", got, test.heard)
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if silent := test.heard == ""; errors.Is(err, ErrSilent) != silent {
				t.Errorf("ErrSilent: %v", err)
			}
		})
	}
}

func TestBootEndsTheMachine(t *testing.T) {
	errEnough := errors.New("enough")
	t.Run("when its listener has had enough", func(t *testing.T) {
		withQEMU(t, "endless")
		err := Machine{Accel: KVM}.Boot(t.Context(), func([]byte) error { return errEnough })
		if !errors.Is(err, errEnough) {
			t.Errorf("Boot: %v", err)
		}
	})
	t.Run("when the context ends", func(t *testing.T) {
		withQEMU(t, "endless")
		ctx, cancel := context.WithCancelCause(t.Context())
		err := Machine{Accel: TCG}.Boot(ctx, func([]byte) error { cancel(errEnough); return nil })
		if !errors.Is(err, errEnough) {
			t.Errorf("Boot: %v", err)
		}
	})
	t.Run("there is none", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if err := (Machine{}).Boot(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "start "+QEMU) {
			t.Errorf("Boot: %v", err)
		}
	})
}

func TestArguments(t *testing.T) {
	withQEMU(t, "arguments")
	m := Machine{Accel: TCG, Kernel: "/k", Image: "/i", MemoryBytes: 3 << 30, CPUs: 5, Console: "/c", InitArgs: []string{"guest", "now"}}
	err := m.Boot(t.Context(), func(payload []byte) error {
		for _, want := range []string{"-accel tcg,thread=multi", "-kernel /k", "-initrd /i", "-m 3072M", "-smp 5", "-no-reboot",
			"-- guest now -serial file:/c -serial stdio", "panic=-1"} {
			if !strings.Contains(string(payload), want) {
				t.Errorf("%q is missing in %s", want, payload)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestInitIsForTheFirstProcessOnly(t *testing.T) {
	err := Init(func(*Link) error { t.Error("it works"); return nil }, func(error) any { return nil })
	if !errors.Is(err, ErrNotInit) {
		t.Errorf("Init: %v", err)
	}
}

func TestPanicsOfTheGuestAreErrors(t *testing.T) {
	err := guarded(func() error { panic("oh") })
	if err == nil || !strings.Contains(err.Error(), "oh") || !strings.Contains(err.Error(), "main_test.go") {
		t.Errorf("guarded: %v", err)
	}
	if err := guarded(func() error { return nil }); err != nil {
		t.Errorf("guarded: %v", err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var kept tail
	for range 3 {
		fmt.Fprint(&kept, strings.Repeat("x", tailBytes))
	}
	fmt.Fprint(&kept, "the end\n")
	if got := kept.String(); len(got) != tailBytes-1 || !strings.HasSuffix(got, "xthe end") {
		t.Errorf("%d bytes, end %q", len(got), got[len(got)-20:])
	}
}
