package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
)

// crew is the copies of this program that share a run. Each goes through the same steps; at each step the leader
// waits for all and answers all:
//
//	each:    [first] -----> held ------------> produced --------------> outcome
//	leader:         go on         start, to all          refused, to all        merge
type crew struct {
	workers []*worker
	told    chan told // steps, not counts
	gate    gate

	// guarded by mu
	mu     sync.Mutex
	latest []counts // by worker
}

// worker is one copy.
type worker struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	orders  *json.Encoder
}

// told is what a worker told, or the error that ended its talk.
type told struct {
	from    int
	message message
	err     error
}

// runCrew starts the copies, leads them through the run and merges what they found.
func runCrew(ctx context.Context, p *program, sc scenario, args []string, processes int, g gate) (out *outcome, err error) {
	c := &crew{told: make(chan told), gate: g, latest: make([]counts, processes)}
	reading, stopReading := context.WithCancel(ctx)
	defer func() {
		stopReading()
		err = c.end(err)
	}()
	for i := range processes {
		if err := c.start(reading, p, args, part{i, processes}); err != nil {
			return nil, err
		}
	}
	shown := startProgress(g.teller(p.stderr, sc.output.Quiet))
	defer shown.end()
	shown.relay(c.counts)
	return c.lead(ctx)
}

func (c *crew) start(ctx context.Context, p *program, args []string, which part) error {
	text, err := which.MarshalText()
	if err != nil {
		return err
	}
	command := exec.Command(p.executable, append(append([]string{}, args...), "--part="+string(text))...)
	command.Stderr = p.stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		return fmt.Errorf("start process %d of %d: %w", which.index, which.of, err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start process %d of %d: %w", which.index, which.of, err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start process %d of %d: %w", which.index, which.of, err)
	}
	c.workers = append(c.workers, &worker{command: command, stdin: stdin, orders: json.NewEncoder(stdin)})
	go c.read(ctx, which.index, json.NewDecoder(stdout))
	return nil
}

func (c *crew) read(ctx context.Context, from int, stdout *json.Decoder) {
	for {
		t := told{from: from}
		t.err = stdout.Decode(&t.message)
		if t.message.Event == eventCounts {
			c.note(from, *t.message.Counts)
			continue
		}
		select {
		case c.told <- t:
		case <-ctx.Done():
			return
		}
		if t.err != nil {
			return
		}
	}
}

// end has all workers leave, by the end of their stdin, and waits for them. Of a run that has failed, their exit codes
// tell only whether that was the server's fault.
func (c *crew) end(failure error) error {
	var ends []error
	isWrong := false
	for i, w := range c.workers {
		_ = w.stdin.Close() // fails if the worker has gone, which is what it is for
		if err := w.command.Wait(); err != nil {
			ends = append(ends, fmt.Errorf("process %d of %d: %w", i, len(c.workers), err))
		}
		isWrong = isWrong || w.command.ProcessState.ExitCode() == exitWrong
	}
	switch {
	case failure == nil:
		return errors.Join(ends...)
	case isWrong:
		return wrongError{failure}
	default:
		return failure
	}
}

// lead takes the crew from step to step until all outcomes are there.
func (c *crew) lead(ctx context.Context) (*outcome, error) {
	for {
		messages, err := c.collect(ctx)
		if err != nil {
			return nil, err
		}
		var answer order
		switch event := messages[0].Event; event {
		case eventFirst:
			// to have come is all there is to it
		case eventHeld:
			answer, err = c.open(ctx, messages)
		case eventProduced:
			answer = unite(messages)
		case eventOutcome:
			return mergeOutcomes(messages)
		default:
			err = fmt.Errorf("process 0 told of %q, which this version does not know", event)
		}
		if err != nil {
			return nil, err
		}
		if err := c.order(answer); err != nil {
			return nil, err
		}
	}
}

// collect waits until every worker has come to the next step.
func (c *crew) collect(ctx context.Context) ([]message, error) {
	messages := make([]message, len(c.workers))
	for missing := len(messages); missing > 0; {
		select {
		case t := <-c.told:
			if t.err != nil && messages[t.from].Event == eventOutcome {
				continue // it has said all there was to say
			}
			if t.err != nil {
				return nil, fmt.Errorf("process %d of %d ended early; it may have said why above", t.from, len(c.workers))
			}
			messages[t.from] = t.message
			missing--
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	for i, m := range messages {
		if m.Event != messages[0].Event {
			return nil, fmt.Errorf("process %d is at %q, process 0 at %q", i, m.Event, messages[0].Event)
		}
	}
	return messages, nil
}

// open passes the gate for all.
func (c *crew) open(ctx context.Context, messages []message) (order, error) {
	var all connections
	for _, m := range messages {
		all.merge(*m.Held)
	}
	if _, err := c.gate.held(ctx, all); err != nil {
		return order{}, err
	}
	at := startIn(crewLead)
	return order{Start: &at}, nil
}

func unite(messages []message) (answer order) {
	for _, m := range messages {
		answer.Refused = append(answer.Refused, m.Refused...)
	}
	return answer
}

func (c *crew) order(answer order) error {
	for i, w := range c.workers {
		if err := w.orders.Encode(answer); err != nil {
			return fmt.Errorf("give an order to process %d of %d: %w", i, len(c.workers), err)
		}
	}
	return nil
}

func mergeOutcomes(messages []message) (*outcome, error) {
	all := messages[0].Outcome
	for _, m := range messages[1:] {
		if err := all.merge(m.Outcome); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (c *crew) note(from int, latest counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest[from] = latest
}

func (c *crew) counts() (sum counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum.Doing = "starting"
	for _, latest := range c.latest {
		if latest.Doing != "" {
			sum = sum.add(latest)
		}
	}
	return sum
}
