package vm

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"chatmonitor/harness/probe"
)

// Needs is what a machine is to be made of.
type Needs struct {
	Programs     []string // paths; they must run without a C library
	Kernel       string   // path; "" is Debian's
	Cache        string   // folder for Debian's kernel
	MemoryAsked  int64    // bytes; 0 is UsualMemory, or less where there is less
	MemoryNeeded int64    // bytes that the work takes at least
}

// Problem is something that is missing, and what mends it.
type Problem struct{ What, Mend string }

func (p Problem) String() string { return p.What + "\n    " + p.Mend }

// Supplies is what was found to make a machine of.
type Supplies struct {
	Kernel      string // path; "" is yet to be fetched
	MemoryBytes int64
}

// Find looks for everything, which takes less than a second, and names all that is
// missing at once.
func Find(ctx context.Context, n Needs) (Supplies, []Problem) {
	return n.find(surroundings{
		architecture: runtime.GOARCH,
		available:    probe.System.Machine().MemoryAvailableBytes,
		lookPath: func(program string) error {
			_, err := exec.LookPath(program)
			return err
		},
		kernelPackage: func() (string, error) { return currentKernelPackage(ctx) },
	})
}

// surroundings are what Find asks of the system.
type surroundings struct {
	architecture  string
	available     probe.Reading // bytes of memory
	lookPath      func(program string) error
	kernelPackage func() (string, error)
}

func (n Needs) find(s surroundings) (found Supplies, missing []Problem) {
	note := func(what, mend string) { missing = append(missing, Problem{what, mend}) }
	if s.architecture != "amd64" {
		note("the machine is made for x86-64, and this is "+s.architecture, "run it on an x86-64 machine")
		return found, missing
	}
	if err := s.lookPath(QEMU); err != nil {
		note(QEMU+" is not installed", "apt-get install --no-install-recommends qemu-system-x86")
	}
	for _, program := range n.Programs {
		if err := checkStatic(program); err != nil {
			note(err.Error(), "make build")
		}
	}
	kernel, problem := n.findKernel(s)
	if problem != nil {
		missing = append(missing, *problem)
	}
	memory, problem := n.findMemory(s.available)
	if problem != nil {
		missing = append(missing, *problem)
	}
	return Supplies{Kernel: kernel, MemoryBytes: memory}, missing
}

func (n Needs) findKernel(s surroundings) (string, *Problem) {
	if n.Kernel != "" {
		if err := checkKernel(n.Kernel); err != nil {
			return "", &Problem{err.Error(), "name another with --kernel=FILE, or leave it out for Debian's"}
		}
		return n.Kernel, nil
	}
	cached, err := cachedKernel(n.Cache)
	if err == nil && cached != "" && checkKernel(cached) == nil {
		return cached, nil
	}
	const otherwise = "name a kernel's image with --kernel=FILE, such as a readable /boot/vmlinuz-*"
	for _, program := range []string{"apt-cache", "apt-get", "dpkg-deb"} {
		if s.lookPath(program) != nil {
			return "", &Problem{"there is no kernel in " + n.Cache + ", and without " + program + " none can be fetched from Debian", otherwise}
		}
	}
	if _, err := s.kernelPackage(); err != nil {
		return "", &Problem{"there is no kernel in " + n.Cache + ", and apt knows no " + KernelPackage + " to fetch one from",
			"apt-get update (on Debian), or " + otherwise}
	}
	return "", nil
}

const (
	// UsualMemory is what a machine has if nobody says otherwise.
	UsualMemory = 19 << 30
	// hostRoom is what QEMU takes besides the guest's memory, and a rest for others.
	hostRoom = 1536 << 20
	mebibyte = 1 << 20
)

// findMemory decides how much the machine gets.
func (n Needs) findMemory(available probe.Reading) (int64, *Problem) {
	free, known := available.Value()
	most := int64(free) - hostRoom
	memory := n.MemoryAsked
	switch {
	case !known && memory == 0:
		return 0, &Problem{"how much memory is free is not known: " + available.Reason(), "say how much the machine gets: --memory=12GiB"}
	case !known:
	case memory == 0:
		memory = min(UsualMemory, most)
	case memory > most:
		return 0, &Problem{
			fmt.Sprintf("%s were asked for the machine, and of the %s that are free it can have %s",
				gibibytes(memory), gibibytes(int64(free)), gibibytes(most)),
			"free some, or ask for less with --memory",
		}
	}
	if memory < n.MemoryNeeded {
		return 0, &Problem{
			fmt.Sprintf("the machine gets %s, and so many connections take at least %s", gibibytes(memory), gibibytes(n.MemoryNeeded)),
			"free memory, or ask for fewer with --connections",
		}
	}
	return memory / mebibyte * mebibyte, nil
}

func gibibytes(bytes int64) string {
	return fmt.Sprintf("%.1f GiB", float64(max(bytes, 0))/(1<<30))
}

// Explain lists problems for people.
func Explain(missing []Problem) string {
	lines := []string{"the virtual machine cannot be made:"}
	for _, p := range missing {
		lines = append(lines, "  "+p.String())
	}
	return strings.Join(lines, "\n")
}
