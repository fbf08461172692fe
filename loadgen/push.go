package main

import (
	"context"
	"errors"

	"chatmonitor/loadgen/sample"
)

// pushCommand produces records and accounts for every push.
type pushCommand struct {
	targetFlags
	groupFlags
	fedFlags
	paceFlags
	feedFlags
	outputFlags
	fileFlags
}

func (c *pushCommand) validate() error {
	return errors.Join(c.targetFlags.validate(), c.groupFlags.validate(), c.fedFlags.validate(c.Connections, c.Receivers), c.paceFlags.validate(), c.feedFlags.validate(), c.outputFlags.validate())
}

func (c *pushCommand) run(ctx context.Context, p *program, args []string) (int, error) {
	return scenario{
		name: "push", target: c.targetFlags, output: c.outputFlags, files: c.fileFlags, receivers: c.Receivers, groups: c.Groups, firstGroup: c.FirstGroup,
		newLoad: func(ctx context.Context, p *program, held share) (load, error) {
			return openPush(ctx, p, c.paceFlags, c.feedFlags, c.Seed, held)
		},
	}.run(ctx, p, args)
}

// pushLoad is a feed and nothing else.
type pushLoad struct{ *feed }

func openPush(ctx context.Context, p *program, flags paceFlags, to feedFlags, seed uint64, held share) (load, error) {
	f, err := openFeed(ctx, p, flags, to, seed, held)
	if err != nil {
		return nil, err
	}
	return pushLoad{f}, nil
}

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
