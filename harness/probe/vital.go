package probe

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Vital is what can be read often: reading it costs next to nothing, however large
// the process and however many the sockets.
type Vital struct {
	RSSBytes             Reading // unavailable, too, of a process that has ended
	TCPInUse             Reading
	MemoryAvailableBytes Reading // of the machine; limits of a cgroup left out
}

// Vital reads it.
func (p Proc) Vital(pid int) Vital {
	inUse, _, _ := p.sockets()
	v := Vital{RSSBytes: p.residentBytes(pid), TCPInUse: inUse}
	meminfo, err := readKiB(p.path("meminfo"))
	if err != nil {
		v.MemoryAvailableBytes = Unavailable(err)
	} else {
		v.MemoryAvailableBytes = meminfo.reading(p.path("meminfo"), "MemAvailable")
	}
	return v
}

// residentBytes reads the second number of "size resident shared ...", in pages.
// Unlike smaps_rollup nobody counts pages for it.
func (p Proc) residentBytes(pid int) Reading {
	path := p.path(strconv.Itoa(pid), "statm")
	text, err := os.ReadFile(path)
	if err != nil {
		return Unavailable(fmt.Errorf("probe: %w", err))
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return Unavailable(fmt.Errorf("probe: %s is too short: %q", path, text))
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return Unavailable(fmt.Errorf("probe: %s: %w", path, err))
	}
	if pages == 0 {
		return Unavailable(fmt.Errorf("probe: process %d has ended", pid))
	}
	return Known(pages * float64(os.Getpagesize()))
}
