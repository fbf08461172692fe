package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

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

// finish completes what was measured while the connections were held.
func (u *usage) finish() error {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return fmt.Errorf("read own processor time: %w", err)
	}
	u.CPUSeconds = float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
	u.Goroutines = runtime.NumGoroutine()
	return nil
}

// hold notes the memory that held connections take, given what was resident before the first of them.
func (u *usage) hold(beforeBytes int64, held int) error {
	resident, err := residentBytes()
	if err != nil {
		return err
	}
	u.RSSBytes = resident
	if held > 0 {
		u.BytesPerConnection = max(0, resident-beforeBytes) / int64(held)
	}
	return nil
}
