package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/stack"
)

// doctorCommand says what this machine allows and how to lift it.
type doctorCommand struct {
	Connections int      `default:"19000" placeholder:"N" help:"Connections that one server is to hold."`
	Variants    []string `default:"${variants}" help:"Variants that are to be run: memory is reckoned for the hungriest."`
	KafkaImage  string   `placeholder:"IMAGE" help:"Image of Kafka to look for. Default: what 'make kafka-image' builds, else ${publicImage}."`
}

// Help is shown with --help.
func (c *doctorCommand) Help() string {
	return `Changes nothing. A line with !! is not enough for so many connections, or makes figures worse; the command below it
lifts that. It ends with 0 whatever it finds.

Examples:
  harness doctor
  harness doctor --connections=1000000 --variants=reactor`
}

// finding is one thing that was looked at.
type finding struct {
	name  string
	found string
	ok    bool
	lift  string // the command, or what to do
}

// Run prints what was found.
func (c *doctorCommand) Run(ctx context.Context, std streams) error {
	if c.Connections < 1 {
		return usageError("--connections must be at least 1")
	}
	chosen, err := chooseVariants(c.Variants)
	if err != nil {
		return err
	}
	machine := probe.System.Machine()
	findings := append(c.limitFindings(machine, chosen), processorFindings(machine)...)
	findings = append(findings, c.brokerFindings(ctx)...)
	fmt.Fprintf(std.stdout, "%d connections on one server of this machine, with variants %s\n\n", c.Connections, strings.Join(c.Variants, ", "))
	return printFindings(std.stdout, findings)
}

func printFindings(w io.Writer, findings []finding) error {
	bad := 0
	for _, f := range findings {
		mark := "ok"
		if !f.ok {
			mark, bad = "!!", bad+1
		}
		if _, err := fmt.Fprintf(w, "%s  %-20s %s\n", mark, f.name, f.found); err != nil {
			return err
		}
		if !f.ok && f.lift != "" {
			fmt.Fprintf(w, "      %s\n", f.lift)
		}
	}
	if bad == 0 {
		_, err := fmt.Fprintln(w, "\nNothing is in the way.")
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d of %d are in the way, or make figures worse.\n", bad, len(findings))
	return err
}

// limitFindings are the kernel's limits.
func (c *doctorCommand) limitFindings(m probe.Machine, chosen []variant) []finding {
	var out []finding
	for _, b := range bounds(m, chosen, c.Connections) {
		out = append(out, finding{b.Name, allows(b.Connections) + b.Found, b.Connections >= c.Connections, b.Lift})
	}
	return append(out, softDescriptors(m.Limits), cgroupFinding(m), portFinding(m.Limits), backlogFinding(m.Limits))
}

func softDescriptors(l probe.Limits) finding {
	return finding{name: "descriptors, soft", ok: true,
		found: fmt.Sprintf("%s; every program here raises it to the hard limit itself; fs.nr_open allows a hard limit up to %s", number(l.DescriptorsSoft), number(l.DescriptorsMost))}
}

func cgroupFinding(m probe.Machine) finding {
	if _, known := m.CgroupFreeBytes.Value(); !known {
		return finding{name: "cgroup", found: "no limit on memory: " + m.CgroupFreeBytes.Reason(), ok: true}
	}
	return finding{name: "cgroup", found: number(m.CgroupFreeBytes) + " bytes are left to this process' groups; it is counted under memory", ok: true}
}

// portFinding: on loopback the harness takes as many source addresses as it needs.
func portFinding(l probe.Limits) finding {
	ports, known := l.PortsPerAddress.Value()
	if !known {
		return finding{name: "ports", found: "not known: " + l.PortsPerAddress.Reason(), ok: true}
	}
	return finding{name: "ports", ok: true,
		found: fmt.Sprintf("%.0f for each source address, of which %.0f are used; the harness connects from as many of 127.0.0.0/8 as it needs", ports, ports*portShare)}
}

// enoughBacklog is more than load generators have under way: 128 for each process.
const enoughBacklog = 1024

func backlogFinding(l probe.Limits) finding {
	backlog, known := l.ListenBacklogMax.Value()
	return finding{name: "listen backlog", ok: !known || backlog >= enoughBacklog,
		found: "net.core.somaxconn is " + number(l.ListenBacklogMax) + ": connects that wait beyond it stall for seconds",
		lift:  "sudo sysctl -w net.core.somaxconn=65535"}
}

const (
	tolerableSteal  = 0.01
	steadyFrequency = "performance"
)

// processorFindings are what makes figures scatter.
func processorFindings(m probe.Machine) []finding {
	load, loadKnown := m.LoadAverage.Value()
	steal, stealKnown := m.StealShare.Value()
	busy := loadKnown && load > float64(m.Cores)*busyLoad
	loadText := fmt.Sprintf("%d cores, load %s", m.Cores, number(m.LoadAverage))
	if busy {
		loadText = fmt.Sprintf("%.2f on %d cores, which is busy: expect wide spreads and invalid rounds", load, m.Cores)
	}
	findings := []finding{
		{"load", loadText, !busy, "stop what else runs: ps aux --sort=-%cpu | head"},
		{"steal", "not known: " + m.StealShare.Reason(), true, ""},
		{"governor", m.Governor, m.Governor == steadyFrequency, "sudo cpupower frequency-set -g " + steadyFrequency},
	}
	if stealKnown {
		findings[1] = finding{"steal", fmt.Sprintf("the hypervisor gave %.2g %% of the processors' time since boot to others", 100*steal), steal <= tolerableSteal,
			"measure on a machine of your own"}
	}
	if m.Governor == "" {
		findings[2] = finding{"governor", "the kernel does not set the processors' frequency", true, ""}
	}
	return findings
}

// brokerFindings are about Kafka in a container; without it a run has the embedded broker.
func (c *doctorCommand) brokerFindings(ctx context.Context) []finding {
	const instead = "; runs use the embedded broker instead"
	image, engine, err := stack.ContainerPossible(ctx, c.KafkaImage)
	switch {
	case err == nil:
		return []finding{{"Docker", "an engine answers", true, ""}, {"Kafka image", image, true, ""}}
	case !engine:
		return []finding{{"Docker", printable(err.Error()) + instead, false, "sudo systemctl start docker"}}
	}
	return []finding{{"Docker", "an engine answers", true, ""}, {"Kafka image", printable(err.Error()) + instead, false, "make kafka-image, or docker pull " + stack.PublicImage}}
}

// number is a reading for people.
func number(r probe.Reading) string {
	v, known := r.Value()
	if !known {
		return "not known (" + r.Reason() + ")"
	}
	if v == float64(int64(v)) {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
