package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// residentBytes tells what this process occupies, after giving back what it does not need.
func residentBytes() (int64, error) {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("read own memory: %w", err)
	}
	var sizePages, residentPages int64
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &sizePages, &residentPages); err != nil {
		return 0, fmt.Errorf("read own memory: %w", err)
	}
	return residentPages * int64(os.Getpagesize()), nil
}

// cpuTime tells for how long this process has had a processor.
func cpuTime() (time.Duration, error) {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("read own processor time: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}

// footprint is what this process takes at some moment. It may have run other scenarios by then.
type footprint struct {
	residentBytes int64
	cpu           time.Duration
}

func ownFootprint() (f footprint, err error) {
	if f.residentBytes, err = residentBytes(); err != nil {
		return footprint{}, err
	}
	f.cpu, err = cpuTime()
	return f, err
}

// finish completes what was measured while the connections were held.
func (u *usage) finish(before footprint) error {
	cpu, err := cpuTime()
	if err != nil {
		return err
	}
	u.CPUSeconds = (cpu - before.cpu).Seconds()
	u.Goroutines = runtime.NumGoroutine()
	return nil
}

// hold notes the memory that held connections take.
func (u *usage) hold(before footprint, held int) error {
	resident, err := residentBytes()
	if err != nil {
		return err
	}
	u.RSSBytes = resident
	if held > 0 {
		u.BytesPerConnection = max(0, resident-before.residentBytes) / int64(held)
	}
	return nil
}
