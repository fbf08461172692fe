package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Link is the guest's line to who booted it.
type Link struct {
	mu   sync.Mutex
	line *os.File // guarded by mu
}

// Send sends a value as JSON, in one frame.
func (l *Link) Send(value any) error {
	payload, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("vm: encode a message: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return WriteFrame(l.line, payload)
}

const linkPath = "/dev/ttyS1"

// ErrNotInit: the program is not the first process of a machine.
var ErrNotInit = errors.New("vm: this is for the first process of a virtual machine only")

// Init makes a bare kernel a place to work in, does the work, and switches the
// machine off; it returns only if this is not the first process. The work's error,
// or its panic, is the link's last message, as trouble puts it.
func Init(work func(*Link) error, trouble func(error) any) error {
	if os.Getpid() != 1 {
		return ErrNotInit
	}
	link, err := furnish()
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // to the console
		return powerOff()
	}
	if err := guarded(func() error { return work(link) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if err := link.Send(trouble(err)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if err := link.drain(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return powerOff()
}

func guarded(work func() error) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("vm: panic in the guest: %v\n%s", reason, debug.Stack())
		}
	}()
	return work()
}

func powerOff() error {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		return fmt.Errorf("vm: power off: %w", err)
	}
	return nil
}

// furnish mounts what programs expect, lifts the limits and opens the link.
func furnish() (*Link, error) {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return nil, fmt.Errorf("vm: mount %s: %w", m.at, err)
		}
	}
	for _, s := range Settings() {
		if err := os.WriteFile("/proc/sys/"+s.Name, []byte(s.Value), 0); err != nil {
			return nil, fmt.Errorf("vm: set %s to %s: %w", s.Name, s.Value, err)
		}
	}
	// Through package syscall: only then does os/exec hand it on.
	all := syscall.Rlimit{Cur: descriptors, Max: descriptors}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &all); err != nil {
		return nil, fmt.Errorf("vm: allow %d descriptors: %w", descriptors, err)
	}
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	return openLink()
}

// descriptors is the limit of a process.
const descriptors = 4 << 20

// Setting is one of the kernel's, below /proc/sys.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Settings are what the guest's kernel is told, so that nothing but memory bounds
// the number of connections.
func Settings() []Setting {
	const pages = "8388608" // 32 GiB
	return []Setting{
		{"fs/nr_open", strconv.Itoa(descriptors)},
		{"fs/file-max", strconv.Itoa(4 * descriptors)},
		{"net/core/somaxconn", "65535"},
		{"net/ipv4/tcp_max_syn_backlog", "65535"},
		{"net/ipv4/ip_local_port_range", "1024 65535"},
		{"net/ipv4/tcp_mem", pages + " " + pages + " " + pages},
		{"net/ipv4/tcp_max_orphans", strconv.Itoa(descriptors)},
		{"vm/max_map_count", "1048576"},
	}
}

// loopbackUp switches the loopback interface on; with that it has all of 127/8.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("vm: loopback: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("vm: loopback: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("vm: switch loopback on: %w", err)
	}
	return nil
}

// openLink opens the second serial line, without any of a terminal's ways.
func openLink() (*Link, error) {
	line, err := os.OpenFile(linkPath, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("vm: the second serial line: %w", err)
	}
	terminal, err := unix.IoctlGetTermios(int(line.Fd()), unix.TCGETS)
	if err == nil {
		terminal.Iflag, terminal.Oflag, terminal.Lflag = 0, 0, 0
		terminal.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
		err = unix.IoctlSetTermios(int(line.Fd()), unix.TCSETS, terminal)
	}
	if err != nil {
		return nil, fmt.Errorf("vm: the second serial line: %w", err)
	}
	return &Link{line: line}, nil
}

// drain waits until everything has left the line.
func (l *Link) drain() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	const waitUntilSent = 1
	if err := unix.IoctlSetInt(int(l.line.Fd()), unix.TCSBRK, waitUntilSent); err != nil {
		return fmt.Errorf("vm: drain the serial line: %w", err)
	}
	return nil
}
