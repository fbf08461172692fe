package sample

import "slices"

// inlinePlaces is how many receivers of a record fit into its slot.
const inlinePlaces = 64

// Ledger accounts for deliveries: each record must reach each member of its group exactly once. It takes 16 bytes
// a record, and a bit per place while a record is under way in a group of more than 64. One goroutine uses it.
type Ledger struct {
	slots      []slot
	places     int              // in a group, taken or not
	wide       map[int][]uint64 // who got a record under way, if there are more than 64 places
	spare      [][]uint64
	delivered  int
	duplicated int
}

type slot struct {
	got       uint64 // who got it, if there are at most 64 places
	members   uint32
	delivered uint32
}

// NewLedger makes a ledger of records numbered from 0. A group has that many places; members gives how many of them
// are taken in a record's group.
func NewLedger(records, places int, members func(record int) int) *Ledger {
	l := &Ledger{slots: make([]slot, records), places: places, wide: map[int][]uint64{}}
	for i := range l.slots {
		l.slots[i].members = uint32(members(i))
	}
	return l
}

// Deliver notes that the member at a place of the record's group got it, and tells whether for the first time.
func (l *Ledger) Deliver(record, place int) (first bool) {
	s := &l.slots[record]
	if !l.mark(s, record, place) {
		l.duplicated++
		return false
	}
	s.delivered++
	l.delivered++
	if s.delivered == s.members {
		l.complete(record)
	}
	return true
}

func (l *Ledger) mark(s *slot, record, place int) (first bool) {
	if l.places <= inlinePlaces {
		return setBit(&s.got, place)
	}
	if s.delivered == s.members {
		return false // and the bits are gone
	}
	words, ok := l.wide[record]
	if !ok {
		words = l.words((l.places + 63) / 64)
		l.wide[record] = words
	}
	return setBit(&words[place/64], place%64)
}

func setBit(word *uint64, bit int) (wasClear bool) {
	mask := uint64(1) << bit
	wasClear = *word&mask == 0
	*word |= mask
	return wasClear
}

func (l *Ledger) words(n int) []uint64 {
	if last := len(l.spare) - 1; last >= 0 {
		words := l.spare[last]
		l.spare = l.spare[:last]
		clear(words)
		return words
	}
	return make([]uint64, n)
}

func (l *Ledger) complete(record int) {
	if words, ok := l.wide[record]; ok {
		delete(l.wide, record)
		l.spare = append(l.spare, words)
	}
}

// Delivered counts first deliveries, Duplicated the others.
func (l *Ledger) Delivered() int { return l.delivered }

// Duplicated counts deliveries of what had been delivered before.
func (l *Ledger) Duplicated() int { return l.duplicated }

// Missing gives the number of members that have not got the record.
func (l *Ledger) Missing(record int) int {
	return int(l.slots[record].members - l.slots[record].delivered)
}

// Order checks that the offsets of each partition only rise on each connection. One goroutine uses it.
type Order struct {
	connections int
	next        [][]int64 // by partition, then connection: the least offset that may come
}

// maxPartitions bounds what a server's wrong answer can make Order allocate.
const maxPartitions = 4096

// NewOrder makes the check for connections numbered from 0.
func NewOrder(connections int) *Order { return &Order{connections: connections} }

// Advance notes that connection conn was given this offset, and tells whether it lies behind all earlier ones.
// A partition or offset that no Kafka topic of sane size has is out of order.
func (o *Order) Advance(conn int, partition int32, offset int64) (rises bool) {
	if partition < 0 || partition >= maxPartitions || offset < 0 {
		return false
	}
	if int(partition) >= len(o.next) {
		o.next = append(slices.Clip(o.next), make([][]int64, int(partition)+1-len(o.next))...)
	}
	if o.next[partition] == nil {
		o.next[partition] = make([]int64, o.connections)
	}
	rises = offset >= o.next[partition][conn]
	o.next[partition][conn] = max(o.next[partition][conn], offset+1)
	return rises
}
