package sample

// Spans keeps, for each of a stream's events, when the first and the last receiver got it. Spans of several
// processes merge; their histograms would not, since the last receiver of one need not be the last of all.
type Spans struct {
	FirstNs []int64 `json:"first_ns"` // 0: nobody got it
	LastNs  []int64 `json:"last_ns"`
}

// NewSpans makes spans of events numbered from 0.
func NewSpans(events int) *Spans {
	return &Spans{FirstNs: make([]int64, events), LastNs: make([]int64, events)}
}

// Receive notes that a receiver got event n.
func (s *Spans) Receive(n int, nowNs int64) {
	if s.FirstNs[n] == 0 || nowNs < s.FirstNs[n] {
		s.FirstNs[n] = nowNs
	}
	s.LastNs[n] = max(s.LastNs[n], nowNs)
}

// Merge adds the receivers of another process.
func (s *Spans) Merge(from *Spans) {
	for n := range from.FirstNs {
		if from.FirstNs[n] != 0 {
			s.Receive(n, from.FirstNs[n])
			s.Receive(n, from.LastNs[n])
		}
	}
}

// Histograms counts the times from due to the first and to the last receiver, of the events from number first on
// that anybody got.
func (s *Spans) Histograms(first int, dueNs func(n int) int64) (toFirst, toLast *Histogram) {
	toFirst, toLast = NewHistogram(), NewHistogram()
	for n := first; n < len(s.FirstNs); n++ {
		if s.FirstNs[n] != 0 {
			toFirst.Record(s.FirstNs[n] - dueNs(n))
			toLast.Record(s.LastNs[n] - dueNs(n))
		}
	}
	return toFirst, toLast
}
