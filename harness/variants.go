package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// variant is a server that can be measured: a binary and what makes it this
// variant.
type variant struct {
	name   string
	binary string
	flags  []string
	// roomBytes is what one connection may take in the process, generously: it
	// sizes runs and is no claim.
	roomBytes float64
	// fixedReceivers: it has no rules, and writes every record to the clients that
	// came first, as many as its flag --receivers says.
	fixedReceivers bool
	echoes         bool   // on /echo, without being told to
	note           string // what must be known to compare it with the others
}

var variants = []variant{
	{name: floorName, binary: "floor", roomBytes: 256, fixedReceivers: true, echoes: true, note: floorNote},
	{name: "reactor", binary: "server", roomBytes: 2 << 10},
	{name: "goroutine-plain", binary: "goroutine", flags: []string{"--profile=plain"}, roomBytes: 40 << 10},
	{name: "goroutine-tuned", binary: "goroutine", flags: []string{"--profile=tuned"}, roomBytes: 16 << 10},
}

const floorName = "floor"

const floorNote = "raw epoll without an application: the least that a process can do, and what ratios divide by; it has no rules, " +
	"so in push its records all go to the first connection, where the others' go to all in turn"

const loadgenBinary = "loadgen"

// productVariant is the server that is shown when nobody compares.
func productVariant() variant {
	return variants[slices.IndexFunc(variants, func(v variant) bool { return v.name == "reactor" })]
}

func variantNames() []string {
	var names []string
	for _, v := range variants {
		names = append(names, v.name)
	}
	return names
}

// chooseVariants returns the named variants in the order given.
func chooseVariants(names []string) ([]variant, error) {
	var chosen []variant
	for _, name := range names {
		at := slices.IndexFunc(variants, func(v variant) bool { return v.name == name })
		if at < 0 {
			return nil, usageError("there is no variant %q; there are %s", name, strings.Join(variantNames(), ", "))
		}
		if slices.ContainsFunc(chosen, func(v variant) bool { return v.name == name }) {
			return nil, usageError("variant %q is named twice", name)
		}
		chosen = append(chosen, variants[at])
	}
	if len(chosen) == 0 {
		return nil, usageError("no variant is named; there are %s", strings.Join(variantNames(), ", "))
	}
	return chosen, nil
}

// serverArgs is the command line of a variant's server. Ports are the system's
// choice, so runs never collide.
func (v variant) serverArgs(listen string, kafka []string, topic string) []string {
	return append(slices.Clone(v.flags),
		"--listen="+listen,
		"--admin-listen=127.0.0.1:0",
		"--kafka="+strings.Join(kafka, ","),
		"--topic="+topic,
		"--drain=1s",
	)
}

// receiverArgs tells a server that has no rules how many connections get each record.
func (v variant) receiverArgs(receivers int) []string {
	if !v.fixedReceivers {
		return nil
	}
	return []string{fmt.Sprintf("--receivers=%d", receivers)}
}

// binaries is the folder with the programs that the harness runs.
type binaries struct{ folder string }

// binariesIn takes the folder, or the harness' own if none is given, and checks
// that the programs are there.
func binariesIn(folder string, names ...string) (binaries, error) {
	if folder == "" {
		self, err := os.Executable()
		if err != nil {
			return binaries{}, fmt.Errorf("find the harness' own folder: %w (name it with --bin)", err)
		}
		folder = filepath.Dir(self)
	}
	b := binaries{folder}
	for _, name := range names {
		if info, err := os.Stat(b.path(name)); err != nil || info.IsDir() {
			return binaries{}, usageError("there is no program %s: build all of them into one folder,\n"+
				"  mkdir -p bin && CGO_ENABLED=0 go build -o bin/ ./server ./variants/goroutine ./variants/floor ./loadgen ./harness\n"+
				"or name the folder with --bin", b.path(name))
		}
	}
	return b, nil
}

func (b binaries) path(name string) string { return filepath.Join(b.folder, name) }

// childEnvironment is the harness' own without the servers' settings: a run is
// described by the command lines that it records.
func childEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool {
		return strings.HasPrefix(pair, "CHATMONITOR_")
	})
}
