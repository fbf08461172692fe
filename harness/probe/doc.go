// Package probe reads what a process costs, from outside it and from its Go
// runtime: resident memory, processor time, the kernel's share, and what the
// machine is.
//
//	/proc/PID/smaps_rollup, stat   resident memory, processor time
//	/proc/slabinfo, net/sockstat   the kernel's share, of the whole machine
//	GET admin /memory, POST /gc    Go's own account
//
// What can't be read is a Reading with the reason, never 0. Package probe keeps
// nothing and computes no differences; that is for who compares two snapshots.
package probe
