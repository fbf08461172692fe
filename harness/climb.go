package main

import (
	"context"
	"errors"
	"time"

	"chatmonitor/harness/ladder"
	"chatmonitor/harness/report"
	"chatmonitor/harness/stack"
)

// The embedded broker's topic.
const (
	climbTopic      = "chat"
	climbPartitions = 4
)

// climbJob is one variant's climb, on the machine that the harness runs on. All
// static.
type climbJob struct {
	variant  variant
	plan     report.ClimbPlan
	bin      binaries
	logs     string // folder
	sources  *sourceRange
	emulated bool // the processor
	abandon  bool // the machine is thrown away afterwards
	tell     func(ladder.Event) error
}

// run starts a broker and climbs.
func (j climbJob) run(ctx context.Context) (err error) {
	broker, err := stack.StartEmbedded(stack.BrokerConfig{Topic: climbTopic, Partitions: climbPartitions, Listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	return ladder.Climb(ctx, j.config(broker.Addresses()))
}

func (j climbJob) config(kafka []string) ladder.Config {
	v := j.variant
	plan := planFor(j.plan, v)
	args := append(v.serverArgs("127.0.0.1:0", kafka, climbTopic), v.receiverArgs(plan.Sample.Receivers)...)
	c := ladder.Config{
		Variant: v.name,
		Server:  stack.Command{Name: v.name + " server", Path: j.bin.path(v.binary), Args: args, Env: childEnvironment()},
		Loadgen: j.bin.path(loadgenBinary), Env: childEnvironment(),
		Kafka: kafka, Topic: climbTopic, Plan: plan, Sources: j.sources.take,
		Folder: j.logs, Abandon: j.abandon, Tell: j.tell,
	}
	if j.emulated {
		c.LoadFlags, c.PushFlags = patientLoad, patientPush
		c.Plan.Patience = max(c.Plan.Patience, patientTimeout)
		if !v.fixedReceivers {
			c.Server.Args = append(c.Server.Args, patientServer...)
		}
	}
	return c
}

// Flags for an emulated processor, where everything takes some thirty times as long:
// nobody is given up for that, and a million idle connections are not pinged every
// minute. What would serve those pings is there all the same.
var (
	patientTimeout = 5 * time.Minute
	// More at a time: fewer changes from process to process, which cost most of all.
	patientLoad   = []string{"--connect-timeout=" + patientTimeout.String(), "--connect-concurrency=1000"}
	patientPush   = []string{"--settle=1m"}
	patientServer = []string{"--idle-ping=24h", "--handshake-timeout=" + patientTimeout.String()}
)
