package main

import (
	"fmt"
	"io"
	"math"
	"strconv"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
)

// defaultConnections is the same on every machine that can hold them, so that
// runs can be compared, and few enough for a run of some minutes.
const defaultConnections = 19000

const (
	// Kernel memory of a loopback connection, both ends, and what the load
	// generator keeps of it; generously.
	kernelRoomBytes  = 12 << 10
	loadgenRoomBytes = 2 << 10
	// memoryShare of what is available may be used.
	memoryShare = 0.8
	// busyLoad is the load average of a core from which on people are warned.
	busyLoad = 0.4
	// Of a process' descriptors, those that are not connections: a share, since
	// servers keep a reserve for plain HTTP, but never less than some hundreds.
	reservedShare   = 0.02
	reservedAtLeast = 400
)

// bounds are what the machine allows, each with what was read and, for so many
// connections as are wanted, how to lift it.
func bounds(m probe.Machine, chosen []variant, wanted int) []report.Bound {
	room := roomBytes(chosen)
	return []report.Bound{
		bound("descriptors", m.Limits.DescriptorsHard, withoutReserve,
			counted("RLIMIT_NOFILE (hard) is %.0f for each process"), liftDescriptors(m.Limits, wanted)),
		bound("system files", m.Limits.SystemFilesFree, func(free float64) float64 { return free / 2 },
			counted("fs.file-max leaves room for %.0f files, and a connection takes two"),
			"sudo sysctl -w fs.file-max="+withRoom(m.Limits.SystemFilesMax, m.Limits.SystemFilesFree, wanted)),
		bound("memory", m.MemoryAvailableBytes, func(free float64) float64 { return free * memoryShare / room },
			func(free float64) string {
				return fmt.Sprintf("%.1f GiB are available, and a connection may take %.0f KiB", free/(1<<30), room/(1<<10))
			},
			fmt.Sprintf("have %.1f GiB available (the cgroup's limit counts: docker run --memory, MemoryMax= of systemd), or run --variants=reactor", float64(wanted)*room/memoryShare/(1<<30))),
		bound("connection tracking", m.Limits.ConntrackFree, func(free float64) float64 { return free / 2 },
			counted("the kernel can track %.0f more connections, and keeps closed ones for a while"),
			"sudo sysctl -w net.netfilter.nf_conntrack_max="+withRoom(m.Limits.ConntrackMax, m.Limits.ConntrackFree, wanted)),
	}
}

// liftDescriptors is for the shell that then runs the harness.
func liftDescriptors(l probe.Limits, wanted int) string {
	descriptors := math.Ceil(max(float64(wanted)/(1-reservedShare), float64(wanted)+reservedAtLeast))
	command := fmt.Sprintf("sudo prlimit --pid $$ --nofile=%.0f:%.0f", descriptors, descriptors)
	if most, known := l.DescriptorsMost.Value(); known && descriptors > most {
		command = fmt.Sprintf("sudo sysctl -w fs.nr_open=%.0f && %s", descriptors, command)
	}
	return command
}

// withRoom is a limit that has room for so many connections, of which each takes two.
func withRoom(limit, free probe.Reading, connections int) string {
	used, known := limit.Minus(free).Value()
	if !known {
		used = 0
	}
	return strconv.FormatFloat(math.Ceil(used+2*float64(connections)), 'f', 0, 64)
}

func counted(format string) func(float64) string {
	return func(value float64) string { return fmt.Sprintf(format, value) }
}

func bound(name string, read probe.Reading, allows func(float64) float64, found func(float64) string, lift string) report.Bound {
	value, known := read.Value()
	if !known {
		return report.Bound{Name: name, Connections: unbounded, Found: "not known: " + read.Reason()}
	}
	connections := min(max(allows(value), 0), unbounded)
	return report.Bound{
		Name: name, Connections: int(connections),
		Found: found(value), Lift: lift,
	}
}

// unbounded is what a bound allows that is not known to be one.
const unbounded = math.MaxInt32

func withoutReserve(descriptors float64) float64 {
	return descriptors - max(descriptors*reservedShare, reservedAtLeast)
}

// roomBytes is what a connection may take with the hungriest of the variants.
func roomBytes(chosen []variant) float64 {
	most := 0.0
	for _, v := range chosen {
		most = max(most, v.roomBytes)
	}
	return most + kernelRoomBytes + loadgenRoomBytes
}

// decideConnections returns how many connections there will be, and why: as many
// as asked for, or the default, less if the machine allows less. It marks the
// bound that decides. Asking for more than the machine allows is an error, since
// fewer would be another measurement than the one asked for.
func decideConnections(asked int, all []report.Bound) (connections int, why string, err error) {
	tightest := &all[0]
	for i := range all {
		if all[i].Connections < tightest.Connections {
			tightest = &all[i]
		}
	}
	most := tightest.Connections
	switch {
	case asked > most:
		return 0, "", fmt.Errorf("%d connections are more than this machine can hold, which is %d: %s; to lift it, %s",
			asked, most, tightest.Found, tightest.Lift)
	case most < 1:
		return 0, "", fmt.Errorf("this machine can't hold a single connection: %s; to lift it, %s", tightest.Found, tightest.Lift)
	case asked > 0:
		return asked, "as asked for", nil
	case most >= defaultConnections:
		return defaultConnections, fmt.Sprintf("the default; --connections may ask for up to %d", most), nil
	}
	tightest.Decides = true
	return most, fmt.Sprintf("limited by %s; to lift it, %s", tightest.Name, tightest.Lift), nil
}

// describeSizing tells people what was found and what it means; what does not bear on
// this run is the doctor's to tell.
func describeSizing(w io.Writer, m probe.Machine, all []report.Bound, connections int, why string) {
	memory := "unknown memory"
	if bytes, known := m.MemoryAvailableBytes.Value(); known {
		memory = fmt.Sprintf("%.1f GiB of memory available", bytes/(1<<30))
	}
	fmt.Fprintf(w, "machine: %d cores, %s, Linux %s\n", m.Cores, memory, m.Kernel)
	for _, f := range processorFindings(m) {
		if !f.ok {
			fmt.Fprintf(w, "  %s: %s\n", f.name, f.found)
		}
	}
	for _, b := range all {
		fmt.Fprintf(w, "  %-20s %s%s\n", b.Name, allows(b.Connections), b.Found)
	}
	fmt.Fprintf(w, "connections: %d, %s; harness doctor says more\n", connections, why)
}

// allows is what a limit means in connections.
func allows(connections int) string {
	if connections == unbounded {
		return "no limit: "
	}
	return fmt.Sprintf("up to %d connections: ", connections)
}

// sourceRange hands out loopback addresses to connect from. Every measurement
// gets its own, and so does every run for a quarter of an hour: a closed
// connection blocks its pair of addresses and ports for a minute.
type sourceRange struct {
	next       int     // number of the next block of addresses
	perAddress float64 // connections
}

const (
	sourceBlocks    = 254 * 256 // 127.1.0.0 to 127.254.255.0
	blocksPerSecond = 64        // more than a second has measurements
	hostsPerBlock   = 253       // .2 to .254
	portsUnknown    = 28232     // Linux' default range
	// portShare of an address' ports are used. connect(2) tries every second port
	// first: beyond half of them each call searches thousands. (Seen: 19,000
	// connections take 5.6 s from one address, 1.5 s from three.)
	portShare      = 0.3
	mostPerAddress = 20000
)

func newSourceRange(startedUnixSeconds int64, ports probe.Reading) *sourceRange {
	number, known := ports.Value()
	if !known {
		number = portsUnknown
	}
	return &sourceRange{
		next:       int(startedUnixSeconds * blocksPerSecond % sourceBlocks),
		perAddress: number * portShare,
	}
}

// take returns enough addresses for the connections.
func (s *sourceRange) take(connections int) []string {
	wanted := max(1, int(math.Ceil(float64(connections)/s.perAddress)))
	var addresses []string
	for len(addresses) < wanted {
		block := s.next % sourceBlocks
		s.next++
		for host := 2; host < 2+hostsPerBlock && len(addresses) < wanted; host++ {
			addresses = append(addresses, fmt.Sprintf("127.%d.%d.%d", 1+block/256, block%256, host))
		}
	}
	return addresses
}
