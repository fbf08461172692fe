package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Kernel is what the kernel holds, for the whole machine: only differences
// between two snapshots say something about connections, and only while nothing
// else opens or closes any.
type Kernel struct {
	SlabBytes      Reading            `json:"slab_bytes"`
	SlabSource     string             `json:"slab_source"`           // the file, and what was counted
	SlabCaches     map[string]float64 `json:"slab_caches,omitempty"` // bytes in the larger caches
	TCPInUse       Reading            `json:"tcp_in_use"`            // sockets, both ends of a loopback connection
	TCPTimeWait    Reading            `json:"tcp_time_wait"`
	TCPBufferBytes Reading            `json:"tcp_buffer_bytes"`
}

// largeCache is the least size at which a cache is named in a snapshot.
const largeCache = 512 << 10

// Kernel reads the kernel's share. Without the right to read /proc/slabinfo it
// falls back on the sum in /proc/meminfo, which counts file caches too.
func (p Proc) Kernel() Kernel {
	var out Kernel
	caches, err := p.slabCaches()
	if err == nil {
		out.SlabSource = "/proc/slabinfo: live objects, file caches left out"
		out.SlabBytes, out.SlabCaches = sumCaches(caches)
	} else {
		out.SlabBytes, out.SlabSource = p.slabTotal(err)
	}
	out.TCPInUse, out.TCPTimeWait, out.TCPBufferBytes = p.sockets()
	return out
}

func sumCaches(caches map[string]float64) (Reading, map[string]float64) {
	sum, large := 0.0, map[string]float64{}
	for name, bytes := range caches {
		if isFileCache(name) {
			continue
		}
		sum += bytes
		if bytes >= largeCache {
			large[name] = bytes
		}
	}
	return Known(sum), large
}

// isFileCache tells caches that grow and shrink with files that anybody on the
// machine reads.
func isFileCache(name string) bool {
	switch name {
	case "sock_inode_cache", "lsm_inode_cache": // a socket has one of each
		return false
	case "inode_cache", "buffer_head", "radix_tree_node", "extent_status":
		return true
	}
	if strings.HasSuffix(name, "inode_cache") || strings.HasSuffix(name, "_inode") {
		return true
	}
	for _, fileSystem := range []string{"ext4_", "btrfs_", "xfs_", "jbd2_", "fuse_", "ovl_", "nfs_", "squashfs_"} {
		if strings.HasPrefix(name, fileSystem) {
			return true
		}
	}
	return false
}

// slabCaches returns the bytes that each cache's live objects take, the waste in
// their slabs included. Whole slabs would also count what the last load left
// half empty.
func (p Proc) slabCaches() (map[string]float64, error) {
	path := filepath.Join(p.Root, "slabinfo")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	caches := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "slabinfo") || strings.HasPrefix(line, "#") {
			continue
		}
		name, bytes, err := parseSlab(line)
		if err != nil {
			return nil, fmt.Errorf("probe: %s: %w", path, err)
		}
		caches[name] = bytes
	}
	return caches, nil
}

// parseSlab reads "name active objects size objects-per-slab pages-per-slab : ...".
func parseSlab(line string) (name string, bytes float64, err error) {
	fields := strings.Fields(line)
	if len(fields) < 6 {
		return "", 0, fmt.Errorf("line %q is too short", line)
	}
	var numbers [5]float64
	for i := range numbers {
		if numbers[i], err = strconv.ParseFloat(fields[1+i], 64); err != nil {
			return "", 0, fmt.Errorf("line %q: %w", line, err)
		}
	}
	active, perSlab, pages := numbers[0], numbers[3], numbers[4]
	if perSlab == 0 {
		return "", 0, fmt.Errorf("line %q: no objects in a slab", line)
	}
	return fields[0], active / perSlab * pages * float64(os.Getpagesize()), nil
}

func (p Proc) slabTotal(because error) (Reading, string) {
	path := filepath.Join(p.Root, "meminfo")
	fields, err := readKiB(path)
	if err != nil {
		return Unavailable(fmt.Errorf("%w; %w", because, err)), ""
	}
	return fields.reading(path, "Slab"), "/proc/meminfo: all slabs, file caches included (" + because.Error() + ")"
}

// sockets reads the line "TCP: inuse 5 orphan 0 tw 2 alloc 9 mem 1".
func (p Proc) sockets() (inUse, timeWait, bufferBytes Reading) {
	path := filepath.Join(p.Root, "net", "sockstat")
	text, err := os.ReadFile(path)
	if err != nil {
		missing := Unavailable(fmt.Errorf("probe: %w", err))
		return missing, missing, missing
	}
	counts := map[string]Reading{}
	for line := range strings.Lines(string(text)) {
		rest, isTCP := strings.CutPrefix(line, "TCP:")
		if !isTCP {
			continue
		}
		fields := strings.Fields(rest)
		for i := 0; i+1 < len(fields); i += 2 {
			if n, err := strconv.ParseFloat(fields[i+1], 64); err == nil {
				counts[fields[i]] = Known(n)
			}
		}
	}
	count := func(name string, unit float64) Reading {
		n, known := counts[name].Value()
		if !known {
			return Unavailable(fmt.Errorf("probe: %s has no number %q for TCP", path, name))
		}
		return Known(n * unit)
	}
	return count("inuse", 1), count("tw", 1), count("mem", float64(os.Getpagesize()))
}
