package feed

import "strconv"

// Status is how the feed fares, as /ready shows it.
type Status struct {
	Topic      string                     `json:"topic"`
	CaughtUp   bool                       `json:"caught_up"` // every partition has been opened once
	Connected  bool                       `json:"connected"`
	Trouble    string                     `json:"trouble,omitempty"` // the last error, while it lasts
	Partitions map[string]PartitionStatus `json:"partitions"`
}

// PartitionStatus is one partition's part of Status.
type PartitionStatus struct {
	State      string `json:"state"` // reading or waiting
	NextOffset int64  `json:"next_offset"`
	LagRecords int64  `json:"lag_records"`
}

// Status is how the feed fares.
func (f *Feed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Status{
		Topic: f.options.Topic, CaughtUp: f.caughtUp, Connected: f.connected, Trouble: f.trouble,
		Partitions: make(map[string]PartitionStatus, len(f.partitions)),
	}
	for number, at := range f.partitions {
		state := "waiting"
		if at.reading {
			state = "reading"
		}
		s.Partitions[strconv.Itoa(int(number))] = PartitionStatus{
			State: state, NextOffset: at.next, LagRecords: f.options.Stats.Partition(number).Lag.Load()}
	}
	return s
}

// place is the state of a partition.
func (f *Feed) place(number int32) *place {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.partitions[number]
	if at == nil {
		at = &place{next: -1}
		f.partitions[number] = at
	}
	return at
}

func (f *Feed) firstListing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.listed
}

// listingDone notes that all partitions that there are have been opened.
func (f *Feed) listingDone(partitions int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listed = true
	if partitions > 0 {
		f.caughtUp, f.trouble = true, ""
	}
}

func (f *Feed) look(at *place) (next int64, reading bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return at.next, at.reading
}

func (f *Feed) advance(at *place, next int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at.next = next
}

func (f *Feed) setReading(at *place, reading bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at.reading = reading
}

func (f *Feed) setConnected(connected bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.connected = connected
}

// failed counts a failure, and logs it when it is not the one before.
func (f *Feed) failed(err error) {
	f.options.Stats.FeedErrors.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trouble != err.Error() {
		f.trouble = err.Error()
		f.log.Warn("feed: Kafka is not as it should be; trying again", "err", err)
	}
}
