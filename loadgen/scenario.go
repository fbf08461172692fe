package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// scenario is one kind of load as the command line describes it: data, and what makes the load.
type scenario struct {
	name       string
	target     targetFlags
	output     outputFlags
	files      fileFlags
	receivers  int  // members of a group; 0 counts as 1
	groups     int  // get records, and come up before the others; 0 is all
	firstGroup int  // number of the first group of all processes
	oneGroup   bool // all connections are in one group
	passersBy  int  // connections besides those that are held, in all processes together
	echoes     bool // the server returns what it gets
	coldStart  bool // the load itself brings the connections up
	newLoad    func(ctx context.Context, p *program, held share) (load, error)
}

// load is what a scenario does with its connections, in one process.
type load interface {
	// hears tells what the load wants to hear; called once, before there is any connection.
	hears() listener
	// run does it. It begins when the gate opens.
	run(ctx context.Context, s *session) error
	// conclude writes the account, when the loop has ended.
	conclude(out *outcome) error
	// close gives back what newLoad took, however the run ended.
	close() error
}

// session is one scenario under way in one process.
type session struct {
	fleet    *fleet
	faults   *faults
	gate     gate
	progress *progress
	outcome  *outcome
	files    fileFlags
	before   footprint // before the first connection
}

// run carries a scenario out, in this process or in several, and prints its result.
func (sc scenario) run(ctx context.Context, p *program, args []string) (exitCode int, err error) {
	ctx, dismiss := context.WithCancelCause(ctx)
	defer dismiss(nil)
	g := newGate(sc, p, dismiss)
	if err := sc.files.prepare(); err != nil {
		return exitFailed, err
	}
	out, err := sc.measure(ctx, p, args, g)
	if err != nil {
		return exitFailed, g.ended(ctx, err)
	}
	if !sc.target.Part.isWhole() {
		return exitFine, g.tell(message{Event: eventOutcome, Outcome: out})
	}
	result, err := out.result()
	if err != nil {
		return exitFailed, err
	}
	if err := p.print(result, sc.output); err != nil {
		return exitFailed, err
	}
	return result.exitCode(), out.writeFiles(sc.files) // last: a full disk must not cost the result
}

func (sc scenario) measure(ctx context.Context, p *program, args []string, g gate) (*outcome, error) {
	if sc.target.Part.isWhole() {
		processes, err := sc.target.Processes.resolve(sc.target.Connections + sc.passersBy)
		if err != nil {
			return nil, err
		}
		if processes > 1 {
			return runCrew(ctx, p, sc, args, processes, g)
		}
	}
	return runSession(ctx, p, sc, g)
}

// share gives what this process holds.
func (sc scenario) share() share {
	held := sc.target.Part.share(sc.target.Connections, max(sc.receivers, 1), sc.groups)
	if sc.oneGroup {
		held = sc.target.Part.shareOfOne(sc.target.Connections)
	}
	held.fed.firstGroup += sc.firstGroup
	held.rest.firstGroup += sc.firstGroup
	if sc.passersBy > 0 {
		from, to := sc.target.Part.cut(sc.passersBy + 2*sc.target.Part.of) // so that each has one more than it has turns
		held.passersBy = to - from
	}
	return held
}

// runSession brings connections up, lets the load run, and closes everything, whatever happens.
func runSession(ctx context.Context, p *program, sc scenario, g gate) (out *outcome, err error) {
	held := sc.share()
	if held.members() == 0 {
		return nil, fmt.Errorf("process %d of %d has no connections: use fewer --processes", held.part.index, held.part.of)
	}
	work, err := sc.newLoad(ctx, p, held)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, work.close()) }()
	s := &session{gate: g, faults: newFaults(), files: sc.files.of(held.part), outcome: &outcome{Scenario: sc.name, URL: strings.Join(sc.target.URL, ","), Processes: 1}}
	s.progress = startProgress(g.teller(p.stderr, sc.output.Quiet))
	defer s.progress.end()
	if s.before, err = ownFootprint(); err != nil {
		return nil, err
	}
	if s.fleet, err = newFleet(ctx, sc.target, held, sc.echoes, work.hears(), s.faults); err != nil {
		return nil, err
	}
	err = s.drive(ctx, sc, work)
	if err := errors.Join(err, s.fleet.close()); err != nil {
		return nil, err
	}
	s.outcome.Connections = s.fleet.tally
	s.outcome.Connections.PingsAnswered = int(s.fleet.loop.PingsAnswered())
	if err := work.conclude(s.outcome); err != nil {
		return nil, err
	}
	s.outcome.Faults = s.faults.counts
	return s.outcome, s.outcome.Self.finish(s.before)
}

func (s *session) drive(ctx context.Context, sc scenario, work load) error {
	if !sc.coldStart {
		s.progress.now(func() counts { return s.fleet.counts("connecting") })
		if err := s.fleet.connect(ctx, func() error { return s.passFirst(ctx, sc.groups) }); err != nil {
			return err
		}
		if err := s.measureMemory(); err != nil {
			return err
		}
	}
	return work.run(ctx, s)
}

// passFirst waits, if some groups are to come up before the others, until they have in every process.
func (s *session) passFirst(ctx context.Context, groups int) error {
	if groups == 0 {
		return nil
	}
	return s.gate.first(ctx)
}

// measureMemory notes what the held connections take.
func (s *session) measureMemory() error {
	return s.outcome.Self.hold(s.before, int(s.fleet.up.Load()))
}

// open passes the gate.
func (s *session) open(ctx context.Context) (start, error) {
	var held connections
	if err := s.fleet.ask(ctx, func() error { held = s.fleet.tally; return nil }); err != nil {
		return start{}, err
	}
	return s.gate.held(ctx, held)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// writeFiles leaves files for HdrHistogram's plotter, and tells what is missing from those of the samples.
func (o *outcome) writeFiles(to fileFlags) error {
	var failures []error
	for _, why := range o.Unwritten {
		failures = append(failures, errors.New(why))
	}
	if to.HGRM == "" {
		return errors.Join(failures...)
	}
	for name, histogram := range o.allHistograms() {
		failures = append(failures, histogram.WritePercentiles(to.HGRM, o.Scenario+"-"+name))
	}
	return errors.Join(failures...)
}
