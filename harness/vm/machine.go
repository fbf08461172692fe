package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Accel is what runs the guest's instructions.
type Accel string

const (
	KVM Accel = "kvm" // the processor
	TCG Accel = "tcg" // an emulation; times in the guest mean nothing
)

// QEMU is the program that is run.
const QEMU = "qemu-system-x86_64"

// Machine is a virtual machine to boot. All static.
type Machine struct {
	Accel       Accel
	Kernel      string // path of a bootable image
	Image       string // path of the initramfs
	MemoryBytes int64
	CPUs        int
	Console     string   // path of the file that the kernel's messages go to
	InitArgs    []string // command line of the first process
}

const (
	// translatedMiB bounds the emulation's cache of translated code.
	translatedMiB = 512
	// firstWordDeadline is how long a machine with KVM may take for its first frame.
	// One that works needs about a second; there is KVM that opens and never gets a
	// common kernel to run (nested, for its own guests alone).
	firstWordDeadline = 20 * time.Second
	// bootDeadline is the same for an emulated machine, on a busy host.
	bootDeadline = 3 * time.Minute
)

// ErrSilent: the machine did not say a word, in time or ever.
var ErrSilent = errors.New("vm: the machine did not come up")

// kernelArgs: the console first; an end rather than a stop on panic; the
// processor's clock, since reading any other leaves the guest; none of the guards
// against other tenants of the processor, since there are none in it.
var kernelArgs = []string{
	"console=ttyS0", "loglevel=4", "panic=-1", "clocksource=tsc", "tsc=reliable",
	"mitigations=off", "random.trust_cpu=on", "random.trust_bootloader=on",
}

func (m Machine) args() []string {
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"}
	switch m.Accel {
	case KVM:
		args = append(args, "-accel", "kvm", "-cpu", "host")
	case TCG:
		args = append(args, "-accel", "tcg,thread=multi,tb-size="+strconv.Itoa(translatedMiB))
	}
	appended := strings.Join(kernelArgs, " ") + " -- " + strings.Join(m.InitArgs, " ")
	return append(args,
		"-smp", strconv.Itoa(m.CPUs), "-m", strconv.FormatInt(m.MemoryBytes>>20, 10)+"M",
		"-kernel", m.Kernel, "-initrd", m.Image, "-append", appended,
		"-serial", "file:"+m.Console, "-serial", "stdio")
}

// Boot runs the machine until it switches itself off, and hands each frame that it
// sends to hear. It is ended, at once and whatever it does, when ctx ends or hear
// returns an error.
func (m Machine) Boot(ctx context.Context, hear func(payload []byte) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var complaint tail
	qemu := exec.CommandContext(ctx, QEMU, m.args()...)
	qemu.Stderr = &complaint
	qemu.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	line, err := qemu.StdoutPipe()
	if err == nil {
		err = qemu.Start()
	}
	if err != nil {
		return fmt.Errorf("vm: start %s: %w", QEMU, err)
	}
	volunteer(qemu.Process.Pid)
	heard, heardErr := m.listen(line, stop, hear)
	if heardErr != nil {
		stop(heardErr)
	}
	endErr := qemu.Wait()
	cause := context.Cause(ctx)
	switch {
	case cause != nil:
		return cause
	case heard == 0:
		return fmt.Errorf("%w: it ended (%s): %s", ErrSilent, qemu.ProcessState, complaint.String())
	case endErr != nil:
		return fmt.Errorf("vm: %s: %w: %s", QEMU, endErr, complaint.String())
	}
	return nil
}

// listen hears frames until the line ends, which is the machine's end.
func (m Machine) listen(line io.Reader, stop context.CancelCauseFunc, hear func([]byte) error) (heard int, err error) {
	limit := bootDeadline
	if m.Accel == KVM {
		limit = firstWordDeadline
	}
	silence := time.AfterFunc(limit, func() {
		stop(fmt.Errorf("%w within %v with -accel %s", ErrSilent, limit, m.Accel))
	})
	defer silence.Stop()
	frames := NewFrameReader(line)
	for {
		payload, err := frames.Next()
		if err != nil {
			return heard, nil // how the machine ended says more than how the line did
		}
		silence.Stop()
		heard++
		if err := hear(payload); err != nil {
			return heard, err
		}
	}
}

// volunteer has the kernel of the host, short of memory, end the machine before
// anybody else's program. Where that may not be said, nothing is lost.
func volunteer(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("700"), 0)
}

// UsableKVM says why the processor's own virtualization cannot be used; nil: it is
// worth a try.
func UsableKVM() error {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return device.Close()
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
