package main

import (
	"context"
	"errors"

	"chatmonitor/loadgen/sample"
)

// pushFlags are those of a push, and of what happens beside one.
type pushFlags struct {
	targetFlags
	groupFlags
	fedFlags
	paceFlags
	feedFlags
	outputFlags
	fileFlags
}

func (f pushFlags) validate() error {
	return errors.Join(f.targetFlags.validate(), f.groupFlags.validate(), f.fedFlags.validate(f.Connections, f.Receivers),
		f.paceFlags.validate(), f.feedFlags.validate(), f.outputFlags.validate())
}

// scenario has everything but what makes the load.
func (f pushFlags) scenario(name string) scenario {
	return scenario{name: name, target: f.targetFlags, output: f.outputFlags, files: f.fileFlags, receivers: f.Receivers, groups: f.Groups, firstGroup: f.FirstGroup}
}

func (f pushFlags) open(ctx context.Context, p *program, held share) (*feed, error) {
	return openFeed(ctx, p, f.paceFlags, f.feedFlags, f.Seed, held)
}

// pushCommand produces records and accounts for every push.
type pushCommand struct{ pushFlags }

func (c *pushCommand) run(ctx context.Context, p *program, args []string) (int, error) {
	sc := c.scenario("push")
	sc.newLoad = func(ctx context.Context, p *program, held share) (load, error) {
		f, err := c.open(ctx, p, held)
		if err != nil {
			return nil, err
		}
		return pushLoad{f}, nil
	}
	return sc.run(ctx, p, args)
}

// pushLoad is a feed and nothing else.
type pushLoad struct{ *feed }

func (l pushLoad) hears() listener { return listener{push: l.receive} }

// broadcastCommand has one group of all.
type broadcastCommand struct {
	targetFlags
	Pace paceFlags `embed:"" set:"rate=5"`
	feedFlags
	outputFlags
	fileFlags
}

func (c *broadcastCommand) validate() error {
	return errors.Join(c.targetFlags.validate(), c.Pace.validate(), c.feedFlags.validate(), c.outputFlags.validate())
}

func (c *broadcastCommand) run(ctx context.Context, p *program, args []string) (int, error) {
	return scenario{
		name: "broadcast", target: c.targetFlags, output: c.outputFlags, files: c.fileFlags, oneGroup: true,
		newLoad: func(ctx context.Context, p *program, held share) (load, error) {
			f, err := openFeed(ctx, p, c.Pace, c.feedFlags, c.Seed, held)
			if err != nil {
				return nil, err
			}
			f.oneGroup = true
			f.spans = &sample.Spans{}
			return pushLoad{f}, nil
		},
	}.run(ctx, p, args)
}
