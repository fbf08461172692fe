package monitor

import "math/bits"

// table maps hashes of hashBits bits to places of entries. It is extendible hashing (Fagin and others,
// 1979): the hash's first bits lead through a directory to a segment, a small table of open addresses.
// A full segment is split in two, two sparse ones become one, so that no put or remove rehashes more
// than a segment, and the memory follows the number of hashes. Nothing in it is a pointer but the
// directory.
type table struct {
	directory []*segment // 1<<depth; a segment of a smaller depth stands in it several times
	depth     uint8
	deepest   int32 // segments of the directory's own depth
}

const (
	hashBits     = 31
	segmentSlots = 511 // and the two numbers: 4 KiB
	splitAt      = 448
	mergeAt      = 192 // slots in use of two segments together
)

type segment struct {
	used  int32
	depth int32 // the first bits that all its hashes share
	slots [segmentSlots]slot
}

// slot is a hash in the upper half, a place plus one in the lower; 0 is an empty slot.
type slot uint64

func newSlot(hash uint32, place int32) slot { return slot(hash)<<32 | slot(place+1) }
func (s slot) hash() uint32                 { return uint32(s >> 32) }
func (s slot) place() int32                 { return int32(uint32(s)) - 1 }

// home is where a hash's slot is in its segment, if no other is there. The first bits, which a segment's
// hashes share, are mixed with the others.
func home(hash uint32) uint32 { return (hash * 0x9E3779B1 >> 16) * segmentSlots >> 16 }

func nextSlot(i uint32) uint32 {
	if i++; i == segmentSlots {
		return 0
	}
	return i
}

// find is the slot of the hash, or the empty one where it would be.
func (g *segment) find(hash uint32) *slot {
	for i := home(hash); ; i = nextSlot(i) {
		if s := &g.slots[i]; *s == 0 || s.hash() == hash {
			return s
		}
	}
}

// clear empties a slot, and closes the gap that it leaves for those which had to go past it.
func (g *segment) clear(hash uint32) {
	gap := home(hash)
	for g.slots[gap].hash() != hash || g.slots[gap] == 0 {
		gap = nextSlot(gap)
	}
	for i := nextSlot(gap); g.slots[i] != 0; i = nextSlot(i) {
		wants := home(g.slots[i].hash())
		if distance(wants, i) >= distance(gap, i) {
			g.slots[gap] = g.slots[i]
			gap = i
		}
	}
	g.slots[gap] = 0
	g.used--
}

// distance is the steps from one slot on to another.
func distance(from, to uint32) uint32 {
	if to < from {
		to += segmentSlots
	}
	return to - from
}

func (t *table) segment(hash uint32) (g *segment, index uint32) {
	index = hash >> (hashBits - t.depth)
	return t.directory[index], index
}

// get is the place of the hash, or none.
func (t *table) get(hash uint32) int32 {
	if t.directory == nil {
		return none
	}
	g, _ := t.segment(hash)
	return g.find(hash).place()
}

// put sets the place of the hash.
func (t *table) put(hash uint32, place int32) {
	if t.directory == nil {
		t.directory, t.deepest = []*segment{new(segment)}, 1
	}
	for {
		g, index := t.segment(hash)
		s := g.find(hash)
		if *s == 0 {
			if g.used >= splitAt {
				t.split(g, index)
				continue
			}
			g.used++
		}
		*s = newSlot(hash, place)
		return
	}
}

// remove forgets a hash that the table has.
func (t *table) remove(hash uint32) {
	g, index := t.segment(hash)
	if g.clear(hash); g.used < mergeAt/2 && g.depth > 0 {
		t.merge(g, index)
	}
}

// block is where a segment stands in the directory.
func (t *table) block(g *segment, index uint32) (from, length uint32) {
	length = 1 << (int32(t.depth) - g.depth)
	return index &^ (length - 1), length
}

func (t *table) split(g *segment, index uint32) {
	if g.depth == int32(t.depth) {
		t.double()
		index *= 2
	}
	from, length := t.block(g, index)
	g.depth++
	other := &segment{depth: g.depth}
	if g.depth == int32(t.depth) {
		t.deepest += 2
	}
	old := g.slots
	g.slots, g.used = [segmentSlots]slot{}, 0
	for _, s := range old {
		if s == 0 {
			continue
		}
		to := g
		if s.hash()>>(hashBits-g.depth)&1 == 1 {
			to = other
		}
		*to.find(s.hash()) = s
		to.used++
	}
	for i := from + length/2; i < from+length; i++ {
		t.directory[i] = other
	}
}

func (t *table) double() {
	doubled := make([]*segment, 2*len(t.directory))
	for i := range doubled {
		doubled[i] = t.directory[i/2]
	}
	t.directory, t.deepest = doubled, 0
	t.depth++
}

// merge joins a segment with the one that it was split from, if both are sparse enough.
func (t *table) merge(g *segment, index uint32) {
	from, length := t.block(g, index)
	buddy := t.directory[from^length]
	if buddy.depth != g.depth || g.used+buddy.used > mergeAt {
		return
	}
	for _, s := range buddy.slots {
		if s != 0 {
			*g.find(s.hash()) = s
			g.used++
		}
	}
	for i := range length {
		t.directory[from^length+i] = g
	}
	if g.depth == int32(t.depth) {
		t.deepest -= 2
	}
	g.depth--
	for t.deepest == 0 && t.depth > 0 {
		t.halve()
	}
}

func (t *table) halve() {
	half := make([]*segment, len(t.directory)/2)
	t.depth--
	t.deepest = 0
	for i := range half {
		half[i] = t.directory[2*i]
		if half[i].depth == int32(t.depth) {
			t.deepest++
		}
	}
	t.directory = half
}

// mix joins what has been hashed so far with another word (the step of wyhash).
func mix(hash, word uint64) uint64 {
	high, low := bits.Mul64(hash^0x9E3779B97F4A7C15, word^0xE7037ED1A0B428DB)
	return high ^ low
}
