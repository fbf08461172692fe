package probe

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Machine is what a run had to do with.
type Machine struct {
	OS                   string  `json:"os"`
	Arch                 string  `json:"arch"`
	Kernel               string  `json:"kernel"`
	CPUModel             string  `json:"cpu_model"`
	Cores                int     `json:"cores"`
	MemoryBytes          Reading `json:"memory_bytes"`
	MemoryAvailableBytes Reading `json:"memory_available_bytes"` // what this process may still take, its cgroup's limit included
	CgroupFreeBytes      Reading `json:"cgroup_free_bytes"`      // what its cgroups leave it; unavailable where there is no limit
	LoadAverage          Reading `json:"load_average"`           // of the last minute, before the run
	StealShare           Reading `json:"steal_share"`            // of the processors' time since boot, what the hypervisor gave to others
	Governor             string  `json:"governor"`               // of the processors' frequency; "" where the kernel does not say
	Limits               Limits  `json:"limits"`
}

// Limits bound how many connections the machine can hold.
type Limits struct {
	DescriptorsSoft  Reading `json:"descriptors_soft"` // as found, before the soft limit was raised
	DescriptorsHard  Reading `json:"descriptors_hard"`
	DescriptorsMost  Reading `json:"descriptors_most"`  // fs.nr_open: the hard limit can't be above it
	SystemFilesMax   Reading `json:"system_files_max"`  // fs.file-max
	SystemFilesFree  Reading `json:"system_files_free"` // fs.file-max less the files in use
	PortsPerAddress  Reading `json:"ports_per_address"` // net.ipv4.ip_local_port_range
	ConntrackMax     Reading `json:"conntrack_max"`     // unavailable where connections are not tracked
	ConntrackFree    Reading `json:"conntrack_free"`    // the same
	ListenBacklogMax Reading `json:"listen_backlog_max"`
}

// Machine reads what the machine is and allows.
func (p Proc) Machine() Machine {
	meminfo, err := readKiB(p.path("meminfo"))
	memory := func(name string) Reading {
		if err != nil {
			return Unavailable(err)
		}
		return meminfo.reading(p.path("meminfo"), name)
	}
	available := memory("MemAvailable")
	group := p.cgroupFree()
	if inGroup, known := group.Value(); known {
		if inMachine, known := available.Value(); known {
			available = Known(min(inGroup, inMachine))
		}
	}
	return Machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: kernelRelease(),
		CPUModel: p.cpuModel(), Cores: runtime.NumCPU(),
		MemoryBytes: memory("MemTotal"), MemoryAvailableBytes: available,
		CgroupFreeBytes: group, LoadAverage: p.loadAverage(), StealShare: p.stealShare(), Governor: p.governor(),
		Limits: p.limits(),
	}
}

func (p Proc) path(parts ...string) string {
	return filepath.Join(append([]string{p.Root}, parts...)...)
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown: " + err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}

func (p Proc) cpuModel() string {
	text, err := os.ReadFile(p.path("cpuinfo"))
	if err != nil {
		return "unknown: " + err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func (p Proc) limits() Limits {
	var out Limits
	out.DescriptorsSoft, out.DescriptorsHard = descriptorLimit()
	files := p.numbers("sys/fs/file-nr") // allocated, free, maximum
	out.SystemFilesMax, out.SystemFilesFree = files.at(2), files.at(2).Minus(files.at(0))
	out.DescriptorsMost = p.numbers("sys/fs/nr_open").at(0)
	ports := p.numbers("sys/net/ipv4/ip_local_port_range") // first, last
	if span, known := ports.at(1).Minus(ports.at(0)).Value(); known {
		out.PortsPerAddress = Known(span + 1)
	} else {
		out.PortsPerAddress = ports.at(0)
	}
	tracked := p.numbers("sys/net/netfilter/nf_conntrack_count")
	out.ConntrackMax = p.numbers("sys/net/netfilter/nf_conntrack_max").at(0)
	out.ConntrackFree = out.ConntrackMax.Minus(tracked.at(0))
	out.ListenBacklogMax = p.numbers("sys/net/core/somaxconn").at(0)
	return out
}

func descriptorLimit() (soft, hard Reading) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		missing := Unavailable(fmt.Errorf("probe: RLIMIT_NOFILE: %w", err))
		return missing, missing
	}
	return Known(float64(limit.Cur)), Known(float64(limit.Max))
}

// RaiseDescriptorLimit raises the soft limit to the hard one, for this process
// and the children that it starts.
func RaiseDescriptorLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("probe: read RLIMIT_NOFILE: %w", err)
	}
	limit.Cur = limit.Max
	// Through package syscall even if the limit is high already: only then does
	// os/exec hand it on instead of the one this process was started with.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("probe: raise RLIMIT_NOFILE to %d: %w", limit.Max, err)
	}
	return nil
}

// numberFile is a file of whole numbers, or why it could not be read.
type numberFile struct {
	path    string
	numbers []float64
	err     error
}

func (p Proc) numbers(name string) numberFile {
	path := p.path(name)
	text, err := os.ReadFile(path)
	out := numberFile{path: path, err: err}
	for field := range strings.FieldsSeq(string(text)) {
		n, err := strconv.ParseFloat(field, 64)
		out.err = cmp.Or(out.err, err)
		out.numbers = append(out.numbers, n)
	}
	return out
}

func (f numberFile) at(i int) Reading {
	if f.err == nil && i >= len(f.numbers) {
		f.err = errors.New(f.path + " is too short")
	}
	if f.err != nil {
		return Unavailable(fmt.Errorf("probe: %w", f.err))
	}
	return Known(f.numbers[i])
}

// loadAverage reads "0.52 0.58 0.59 1/389 12345".
func (p Proc) loadAverage() Reading {
	text, err := os.ReadFile(p.path("loadavg"))
	if err != nil {
		return Unavailable(fmt.Errorf("probe: %w", err))
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return Unavailable(fmt.Errorf("probe: %s: %w", p.path("loadavg"), err))
	}
	return Known(load)
}

// Places in the line "cpu" of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
const (
	stealField = 7
	cpuFields  = 8 // what comes after is in user and nice already
)

// stealShare reads the first line of /proc/stat.
func (p Proc) stealShare() Reading {
	text, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return Unavailable(fmt.Errorf("probe: %w", err))
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) <= cpuFields || fields[0] != "cpu" {
		return Unavailable(fmt.Errorf("probe: %s does not begin with the processors' times", p.path("stat")))
	}
	sum, steal := 0.0, 0.0
	for i, field := range fields[1 : 1+cpuFields] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return Unavailable(fmt.Errorf("probe: %s: %w", p.path("stat"), err))
		}
		if sum += ticks; i == stealField {
			steal = ticks
		}
	}
	if sum == 0 {
		return Unavailable(fmt.Errorf("probe: %s: no time has passed", p.path("stat")))
	}
	return Known(steal / sum)
}

// governor names the first processor's; "" in machines that don't set their frequency.
func (p Proc) governor() string {
	text, err := os.ReadFile(filepath.Join(p.Sys, "devices/system/cpu/cpu0/cpufreq/scaling_governor"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// cgroupFree is what the cgroup of this process may still take; unavailable when
// there is no limit.
func (p Proc) cgroupFree() Reading {
	paths, err := p.cgroupFolders()
	if err != nil {
		return Unavailable(err)
	}
	free := math.Inf(1)
	for _, folder := range paths {
		for _, files := range [][2]string{{"memory.max", "memory.current"}, {"memory.limit_in_bytes", "memory.usage_in_bytes"}} {
			limit, used := fileNumber(folder, files[0]), fileNumber(folder, files[1])
			if bytes, known := limit.Value(); !known || bytes >= noLimit {
				continue
			}
			if room, known := limit.Minus(used).Value(); known {
				free = min(free, room)
			}
		}
	}
	if math.IsInf(free, 1) {
		return Unavailable(errors.New("no cgroup has one"))
	}
	return Known(free)
}

func fileNumber(folder, name string) Reading { return Proc{Root: folder}.numbers(name).at(0) }

// noLimit is from where on a limit of version 1 says that there is none; version 2
// says "max", which is no number.
const noLimit = 1 << 62

const cgroupRoot = "/sys/fs/cgroup"

// cgroupFolders are where limits for this process may be found: its groups and
// all above them, in the unified tree and in version 1's tree for memory.
func (p Proc) cgroupFolders() ([]string, error) {
	text, err := os.ReadFile(p.path("self", "cgroup"))
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	var folders []string
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, path
		if len(parts) != 3 {
			continue
		}
		tree := cgroupRoot
		switch {
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			tree = filepath.Join(cgroupRoot, "memory")
		case parts[1] != "":
			continue
		}
		for path := parts[2]; ; path = filepath.Dir(path) {
			folders = append(folders, filepath.Join(tree, path))
			if path == "/" || path == "." {
				break
			}
		}
	}
	return folders, nil
}
