package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"chatmonitor/loadgen/pace"
	"chatmonitor/loadgen/sample"
)

const (
	// lead is the time between the decision to start and the first due time, so that the first event is not late.
	lead = 5 * time.Millisecond
	// lookInterval is how often the end of a run looks whether everything has arrived.
	lookInterval = 10 * time.Millisecond
)

// start is the moment at which a stream begins, on both clocks.
type start struct {
	Ns     int64 `json:"ns"` // CLOCK_MONOTONIC, which all processes share
	UnixMs int64 `json:"unix_ms"`
}

func startIn(d time.Duration) start {
	return start{Ns: pace.Now() + d.Nanoseconds(), UnixMs: time.Now().Add(d).UnixMilli()}
}

// stream is numbered events on a schedule: when each was due, sent and received, and the histograms of that. Which
// events this process sends is its part; it may receive those of others too.
type stream struct {
	// static once begun
	part      part
	perSecond float64
	total     int
	warmup    int // events that are not measured
	startNs   int64

	// owned by the goroutine that paces
	pacer  pace.Pacer
	lag    *sample.Histogram
	lateNs int64 // by which the last event sent was late

	// owned by the loop's goroutine
	response, service *sample.Histogram
	series            *sample.Series
	raw               *sample.Raw

	// atomics
	sentNs  []int64 // by event
	sent    atomic.Int64
	heardNs atomic.Int64 // when anything last arrived
}

func newStream(p part, perSecond float64, warmup, total int) *stream {
	return &stream{
		part:      p,
		perSecond: perSecond,
		total:     total,
		warmup:    warmup,
		lag:       sample.NewHistogram(),
		response:  sample.NewHistogram(),
		service:   sample.NewHistogram(),
		sentNs:    make([]int64, total),
	}
}

func (f paceFlags) stream(p part) *stream {
	return newStream(p, f.Rate, pace.Count(f.Warmup, f.Rate), pace.Count(f.Warmup+f.Duration, f.Rate))
}

// begin fixes the due times. To be called on the loop's goroutine; followed by end.
func (s *stream) begin(at start, files fileFlags) error {
	s.startNs = at.Ns
	if files.Raw != "" {
		raw, err := sample.CreateRaw(files.Raw)
		if err != nil {
			return err
		}
		s.raw = raw
	}
	s.series = sample.NewSeries(s.dueNs(s.warmup))
	return nil
}

func (s *stream) dueNs(n int) int64 { return pace.Due(s.startNs, n, s.perSecond) }

func (s *stream) isMeasured(n int) bool { return n >= s.warmup }

// run calls send for each event of this process when it is due. It returns when the last was sent.
func (s *stream) run(ctx context.Context, send func(n int)) error {
	schedule := pace.Schedule{
		StartNs: s.startNs, PerSecond: s.perSecond,
		First: s.part.index, Step: s.part.of, Count: s.part.events(s.total),
	}
	ended := make(chan error, 1)
	go func() {
		ended <- s.pacer.Run(ctx, schedule, func(i int, dueNs int64) {
			n, nowNs := schedule.Number(i), pace.Now()
			atomic.StoreInt64(&s.sentNs[n], nowNs)
			send(n)
			s.sent.Add(1)
			s.lateNs = nowNs - dueNs
			if s.isMeasured(n) {
				s.lag.Record(nowNs - dueNs)
			}
		})
	}()
	return <-ended
}

// wasSent tells whether this process has sent event n, and when.
func (s *stream) wasSent(n int) (atNs int64, ok bool) {
	atNs = atomic.LoadInt64(&s.sentNs[n])
	return atNs, atNs != 0
}

// receive counts the receipt of event n, on the loop's goroutine.
func (s *stream) receive(n int, nowNs int64) {
	s.heardNs.Store(nowNs)
	if !s.isMeasured(n) {
		return
	}
	dueNs := s.dueNs(n)
	sentNs, isOurs := s.wasSent(n)
	s.response.Record(nowNs - dueNs)
	if s.series != nil {
		s.series.Record(nowNs, nowNs-dueNs)
	}
	if isOurs {
		s.service.Record(nowNs - sentNs)
	}
	if s.raw != nil {
		s.raw.Add(dueNs, sentNs, nowNs)
	}
}

// settle waits until done, or until nothing has arrived for so long that nothing more seems to come.
func (s *stream) settle(ctx context.Context, patience time.Duration, done func() bool) error {
	s.heardNs.Store(max(s.heardNs.Load(), pace.Now()))
	for !done() && pace.Now()-s.heardNs.Load() < patience.Nanoseconds() {
		if err := sleep(ctx, lookInterval); err != nil {
			return err
		}
	}
	return nil
}

// end closes what begin opened. To be called when the loop has ended; it may be called again.
func (s *stream) end() error {
	err := s.endRaw()
	if s.series != nil {
		_, seriesErr := s.series.End()
		err = errors.Join(err, seriesErr)
	}
	return err
}

func (s *stream) endRaw() error {
	raw := s.raw
	if s.raw = nil; raw == nil {
		return nil
	}
	return raw.Close()
}

// conclude writes what was measured into the outcome, when the loop has ended.
func (s *stream) conclude(out *outcome) error {
	if err := s.endRaw(); err != nil {
		out.Unwritten = append(out.Unwritten, err.Error())
	}
	series, err := s.series.End()
	if err != nil {
		return err
	}
	out.Series = series
	out.Histograms = map[string]*sample.Histogram{response: s.response, service: s.service, lag: s.lag}
	out.Paced = s.pace()
	out.Self.RealtimePacing = s.pacer.Realtime
	return nil
}

// pace tells how fast the measured events were sent: late ones stretch the time.
func (s *stream) pace() *paced {
	first := min(s.warmup, s.total-1)
	p := &paced{PerSecond: s.perSecond, FromNs: s.dueNs(first), ToNs: s.dueNs(s.total) + max(0, s.lateNs)}
	for n := first; n < s.total; n++ {
		if _, ok := s.wasSent(n); ok {
			p.Events++
		}
	}
	return p
}

// latest describes the last full second.
func (s *stream) latest() sample.Summary {
	if s.series == nil {
		return sample.Summary{}
	}
	return s.series.Latest()
}
