package probe

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Proc reads the kernel's file systems; tests give it folders of their own.
type Proc struct {
	Root string // of proc
	Sys  string // of sysfs
}

// System is the machine's own.
var System = Proc{Root: "/proc", Sys: "/sys"}

// clockTicksPerSecond is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTicksPerSecond = 100

// Process is what one process takes.
type Process struct {
	RSSBytes         Reading `json:"rss_bytes"`
	PSSBytes         Reading `json:"pss_bytes"`          // shared pages are divided among their users
	CPUUserSeconds   Reading `json:"cpu_user_seconds"`   // since the process began
	CPUSystemSeconds Reading `json:"cpu_system_seconds"` // since the process began
	Threads          Reading `json:"threads"`
}

// Process reads a process' memory and processor time.
func (p Proc) Process(pid int) Process {
	var out Process
	out.RSSBytes, out.PSSBytes = p.memory(pid)
	stat, err := p.stat(pid)
	if err != nil {
		missing := Unavailable(err)
		out.CPUUserSeconds, out.CPUSystemSeconds, out.Threads = missing, missing, missing
		return out
	}
	out.CPUUserSeconds = Known(stat.userTicks / clockTicksPerSecond)
	out.CPUSystemSeconds = Known(stat.systemTicks / clockTicksPerSecond)
	out.Threads = Known(stat.threads)
	return out
}

func (p Proc) memory(pid int) (rss, pss Reading) {
	path := filepath.Join(p.Root, strconv.Itoa(pid), "smaps_rollup")
	fields, err := readKiB(path)
	if err != nil {
		return Unavailable(err), Unavailable(err)
	}
	return fields.reading(path, "Rss"), fields.reading(path, "Pss")
}

// kibFields are lines of the form "Name:   123 kB", in bytes.
type kibFields map[string]float64

func (f kibFields) reading(path, name string) Reading {
	if bytes, ok := f[name]; ok {
		return Known(bytes)
	}
	return Unavailable(fmt.Errorf("probe: %s has no line %q", path, name))
}

func readKiB(path string) (kibFields, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	fields := kibFields{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		number, isKiB := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		if !isKiB {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil {
			return nil, fmt.Errorf("probe: %s: line %q: %w", path, line, err)
		}
		fields[name] = kib * 1024
	}
	return fields, nil
}

type processStat struct{ userTicks, systemTicks, threads float64 }

// Places in /proc/PID/stat, counted from the field after the name.
const (
	statUserTicks   = 11
	statSystemTicks = 12
	statThreads     = 17
)

func (p Proc) stat(pid int) (processStat, error) {
	path := filepath.Join(p.Root, strconv.Itoa(pid), "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		return processStat{}, fmt.Errorf("probe: %w", err)
	}
	// The name, in parentheses, may itself hold spaces and parentheses.
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return processStat{}, fmt.Errorf("probe: %s has no process name", path)
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) <= statThreads {
		return processStat{}, fmt.Errorf("probe: %s is too short: %d fields after the name", path, len(fields))
	}
	user, userErr := strconv.ParseFloat(fields[statUserTicks], 64)
	system, systemErr := strconv.ParseFloat(fields[statSystemTicks], 64)
	threads, threadsErr := strconv.ParseFloat(fields[statThreads], 64)
	if err := errors.Join(userErr, systemErr, threadsErr); err != nil {
		return processStat{}, fmt.Errorf("probe: %s: %w", path, err)
	}
	return processStat{user, system, threads}, nil
}
