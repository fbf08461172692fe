package main

import (
	"bytes"
	"strings"
	"testing"

	"chatmonitor/harness/probe"
)

// soundMachine has nothing in the way of the default.
func soundMachine() probe.Machine {
	m := machineWith(20000, 20<<30)
	m.Governor, m.LoadAverage, m.StealShare = "performance", probe.Known(0.1), probe.Known(0)
	m.CgroupFreeBytes = probe.Unavailable(errUnknown)
	m.Limits.DescriptorsMost, m.Limits.ListenBacklogMax, m.Limits.PortsPerAddress = probe.Known(1048576), probe.Known(4096), probe.Known(28232)
	m.Limits.SystemFilesMax, m.Limits.SystemFilesFree = probe.Known(100000), probe.Known(99000)
	m.Limits.ConntrackMax, m.Limits.ConntrackFree = probe.Known(65536), probe.Known(65000)
	return m
}

func diagnose(m probe.Machine, connections int) string {
	c := &doctorCommand{Connections: connections}
	var out bytes.Buffer
	if err := printFindings(&out, append(c.limitFindings(m, variants), processorFindings(m)...)); err != nil {
		return err.Error()
	}
	return out.String()
}

func TestDoctorOfASoundMachine(t *testing.T) {
	text := diagnose(soundMachine(), 19000)
	wantIn(t, text, "ok  descriptors          up to 19600 connections", "ok  governor             performance", "Nothing is in the way.")
	if strings.Contains(text, "!!") {
		t.Errorf("it finds\n%s", text)
	}
}

func TestDoctorNamesTheCommand(t *testing.T) {
	tests := []struct {
		name        string
		change      func(*probe.Machine)
		connections int
		want        string // the line of the finding, and the one below it
	}{
		{"descriptors", func(*probe.Machine) {}, 30000,
			"!!  descriptors          up to 19600 connections: RLIMIT_NOFILE (hard) is 20000 for each process\n      sudo prlimit --pid $$ --nofile=30613:30613\n"},
		{"beyond nr_open", func(*probe.Machine) {}, 2000000, "      sudo sysctl -w fs.nr_open=2040817 && sudo prlimit --pid $$ --nofile=2040817:2040817\n"},
		{"files", func(*probe.Machine) {}, 60000, "sudo sysctl -w fs.file-max=121000\n"},
		{"conntrack", func(*probe.Machine) {}, 60000, "sudo sysctl -w net.netfilter.nf_conntrack_max=120536\n"},
		{"memory", func(m *probe.Machine) { m.MemoryAvailableBytes = probe.Known(1 << 29) }, 19000, "      have 1.2 GiB available"},
		{"backlog", func(m *probe.Machine) { m.Limits.ListenBacklogMax = probe.Known(128) }, 1, "sudo sysctl -w net.core.somaxconn=65535\n"},
		{"governor", func(m *probe.Machine) { m.Governor = "powersave" }, 1, "!!  governor             powersave\n      sudo cpupower frequency-set -g performance\n"},
		{"load", func(m *probe.Machine) { m.LoadAverage = probe.Known(3) }, 1, "!!  load                 3.00 on 2 cores, which is busy"},
		{"steal", func(m *probe.Machine) { m.StealShare = probe.Known(0.05) }, 1, "!!  steal                the hypervisor gave 5 % of"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := soundMachine()
			test.change(&m)
			wantIn(t, diagnose(m, test.connections), test.want, "in the way, or make figures worse")
		})
	}
}

func TestDoctorWhereNothingIsKnown(t *testing.T) {
	text := diagnose(probe.Machine{Cores: 1}, 1)
	wantIn(t, text, "no limit: not known: not taken", "ports                not known: not taken", "Nothing is in the way.")
}

func TestDoctorCommand(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	c := start(t.Context(), nil, "doctor", "--connections=1000000")
	c.want(t, 0)
	wantIn(t, c.stdout.String(), "1000000 connections on one server", "!!  Docker", "/nonexistent/docker.sock; runs use the embedded broker instead", "of 12 are in the way")
	bad := start(t.Context(), nil, "doctor", "--connections=0")
	bad.want(t, 2)
}
