package report

import (
	"encoding/json"
	"time"

	"chatmonitor/harness/probe"
)

// Million is what a run has that took servers up to very many connections, each
// process growing from step to step. What was read at a step is a measurement of the
// run, of scenario idle.
type Million struct {
	Plan ClimbPlan `json:"plan"`
	// TimesComparable: the processor was no emulation.
	TimesComparable bool            `json:"times_comparable"`
	Machine         *VirtualMachine `json:"virtual_machine,omitempty"` // none: it was this machine itself
	Climbs          []Climb         `json:"climbs"`
}

// ClimbPlan is a ladder to climb.
type ClimbPlan struct {
	Steps  []int       `json:"steps"` // connections, rising
	Sample ClimbSample `json:"sample"`
	// Patience is how long no further connection may come up while some are to.
	Patience time.Duration `json:"patience_ns"`
	// Settle is the wait before memory is read, for what is still under way.
	Settle time.Duration `json:"settle_ns"`
}

// Top is where the ladder ends.
func (p ClimbPlan) Top() int { return p.Steps[len(p.Steps)-1] }

// ClimbSample is the sessions that are pushed to at each step; they are part of its
// connections.
type ClimbSample struct {
	Connections int           `json:"connections"`
	Receivers   int           `json:"receivers"` // of each record
	Rate        float64       `json:"rate_per_second"`
	Duration    time.Duration `json:"duration_ns"`
}

// VirtualMachine is where the climbs took place, if it was one.
type VirtualMachine struct {
	Host              probe.Machine `json:"host"`
	Accel             string        `json:"accel"`  // kvm, or tcg: an emulation
	Kernel            string        `json:"kernel"` // file name
	MemoryBytes       int64         `json:"memory_bytes"`
	CPUs              int           `json:"cpus"`
	Settings          []Setting     `json:"settings"` // of its kernel
	HugePages         string        `json:"transparent_hugepages"`
	QEMU              string        `json:"qemu"`
	KernelCommandLine string        `json:"kernel_command_line"`
}

// Setting is a kernel's, with its name below /proc/sys.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Climb is one variant's. The snapshots of its steps are in the run's measurements.
type Climb struct {
	Variant string      `json:"variant"`
	Seconds float64     `json:"seconds"`
	Steps   []ClimbStep `json:"steps"`
	End     *ClimbEnd   `json:"end"` // nil: the run was interrupted before
}

// ClimbStep is a step that was reached.
type ClimbStep struct {
	Connections    int     `json:"connections"`
	ConnectSeconds float64 `json:"connect_seconds"`
	AvailableBytes int64   `json:"available_bytes"` // of the machine's memory
	// Push is the load generator's result of the pushes to the sample.
	Push json.RawMessage `json:"push"`
}

// Outcome is how a climb ended.
type Outcome string

// The outcomes.
const (
	Complete    Outcome = "complete"      // all steps, and every connection answered
	OutOfMemory Outcome = "out of memory" // the kernel or its own runtime ended the server
	ServerEnded Outcome = "server ended"
	Stopped     Outcome = "stopped"      // the server lives, and it went no further
	Strayed     Outcome = "wrong"        // pushes were lost or changed, or connections did not answer at the end
	MachineDied Outcome = "machine died" // the virtual machine
)

// ClimbEnd is the end of a climb.
type ClimbEnd struct {
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"`
	Last    Vital   `json:"last"`             // the last that was seen of the server
	Most    int     `json:"most_connections"` // that were seen
	// Kernel is what the kernel said about memory, its last lines.
	Kernel []string `json:"kernel,omitempty"`
	// Answered of Asked connections answered a ping at the end; nil: it did not
	// come to that.
	Answered *Answered `json:"answered,omitempty"`
	// Left is what the server holds when everybody has left, after a collection.
	Left *probe.Snapshot `json:"left,omitempty"`
}

// Vital is how things are at a moment of the climb.
type Vital struct {
	Seconds        float64 `json:"seconds"` // since the server was started
	Doing          string  `json:"doing"`
	Target         int     `json:"target"` // of the current step
	Connections    int     `json:"connections"`
	ServerBytes    int64   `json:"server_bytes"`    // resident
	AvailableBytes int64   `json:"available_bytes"` // of the machine's memory
}

// Answered is the account of the last ping.
type Answered struct {
	Asked    int `json:"asked"`
	Answered int `json:"answered"`
}
