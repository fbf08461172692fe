package feed

import (
	"context"
	"fmt"
	"slices"
	"time"

	"chatmonitor/server/chat"
)

const (
	// Time is counted in ticks that the process has lived through: while it stands still, none passes, and
	// its own pause is not held against Kafka.
	tickEvery = time.Second
	// A partition that fails for so many ticks is stalled.
	stalledTicks = 4
)

// watch looks once a second at how the readers fare. What it finds goes to the metrics, the log and, when
// it lasts, to the clients.
func (f *Feed) watch(ctx context.Context) {
	clock := time.NewTicker(tickEvery)
	defer clock.Stop()
	w := watcher{feed: f}
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
			w.tick(ctx, time.Now())
		}
	}
}

// watcher belongs to the goroutine of watch.
type watcher struct {
	feed     *Feed
	lost     int       // ticks for which the topic could not be looked up
	since    time.Time // of the stall
	affected []int32   // partitions that the clients have been told of
	flapping flapping
}

func (w *watcher) tick(ctx context.Context, now time.Time) {
	f := w.feed
	var stalled []int32
	var changed changes
	healthy := true
	since := now
	worst := 0 // ticks
	for _, p := range f.all() {
		f.examine(p, now)
		changed.note(p)
		if p.badTicks == 0 {
			continue
		}
		healthy = false
		worst = max(worst, p.badTicks)
		if p.badTicks >= stalledTicks {
			stalled = append(stalled, p.number)
		}
		if p.badSince.Before(since) {
			since = p.badSince
		}
	}
	changed.log(f)
	if !healthy {
		f.kick()
	}
	if f.lookedUp() {
		w.lost = 0
	} else {
		w.lost++
		healthy = false
		if from := now.Add(-time.Duration(w.lost) * tickEvery); from.Before(since) {
			since = from
		}
	}
	w.flapping.tick(f.isStalled())
	w.tell(ctx, healthy, max(worst, w.lost) >= w.flapping.patience(), stalled, since)
}

// tell sends a notice when the state of the feed has changed.
func (w *watcher) tell(ctx context.Context, healthy, stalled bool, partitions []int32, since time.Time) {
	kind := chat.FeedStalled
	switch was := w.feed.isStalled(); {
	case !was && stalled:
		w.affected, w.since = partitions, since
	case was && healthy:
		kind = chat.FeedResumed
		w.flapping.resumed()
	default:
		if was {
			w.affected = union(w.affected, partitions)
		}
		return
	}
	w.feed.setStalled(kind == chat.FeedStalled)
	w.feed.log.Info("feed: clients are told", "kind", string(kind), "partitions", w.affected, "since", w.since)
	notice := chat.AppendFeedNotice(nil, kind, w.affected, w.since.UnixMilli())
	if err := w.feed.options.Hub.Notify(ctx, notice); err != nil {
		w.feed.log.Debug("feed: a notice was not sent", "err", err) // the server is leaving
	}
}

func union(a, b []int32) []int32 {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// examine finds out whether a partition is being read: it is open, and its broker has answered since the
// last look, or there is no room for what has come.
func (f *Feed) examine(p *partition, now time.Time) {
	state, sources, _ := p.look()
	answered := f.dialer.answered(sources)
	fresh := answered.After(p.heard) || p.waiting.Load() > 0
	if state == Silent && fresh {
		p.turn(Reading, nil)
		state = Reading
	}
	if state == Reading && answered.After(p.heard) {
		f.options.Stats.Partition(p.number).LastFetch.Store(answered.UnixNano())
	}
	p.heard = answered
	if state == Reading && fresh {
		p.badTicks = 0
		return
	}
	if p.badTicks == 0 {
		p.badSince = now
	}
	p.badTicks++
	if state == Reading && p.badTicks >= stalledTicks {
		p.turn(Silent, errSilent{sources})
	}
}

func (f *Feed) lookedUp() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connected && f.trouble == "" && f.listed
}

func (f *Feed) isStalled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stalled
}

func (f *Feed) setStalled(stalled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stalled = stalled
}

// changes are the partitions whose state is another than at the last tick.
type changes struct {
	failing, reading []int32
	err              string // of one of those that fail
}

func (c *changes) note(p *partition) {
	state, _, lastError := p.look()
	if state == p.told {
		return
	}
	switch {
	case state == Reading:
		c.reading = append(c.reading, p.number)
	case p.told == Failing || p.told == Silent: // one trouble is as good as the other
		return
	case state == Failing || state == Silent:
		c.failing = append(c.failing, p.number)
		c.err = lastError
	}
	p.told = state
}

// log writes one line for all partitions that share a change.
func (c *changes) log(f *Feed) {
	if c.failing != nil {
		f.log.Warn("feed: partitions are not read; they are tried again", "partitions", c.failing, "err", c.err)
	}
	if c.reading != nil {
		f.log.Info("feed: partitions are read", "partitions", c.reading)
	}
}

// errSilent is a broker that has been asked and says nothing.
type errSilent struct{ brokers []string }

func (e errSilent) Error() string {
	return fmt.Sprintf("no answer to fetches from %v for %v", e.brokers, stalledTicks*tickEvery)
}
