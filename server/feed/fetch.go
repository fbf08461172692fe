package feed

import "encoding/binary"

// fetchVersion is that of the fetches which sarama sends to brokers since 2.7. Those to older ones are not
// looked into.
const fetchVersion = 12

// fetchedFrom reads a request to fetch, and calls see for each partition with the offset that it asks for.
// sarama passes over what has no record for consumers, the marks that end transactions above all, and does
// not tell; what it asks for next does.
func fetchedFrom(request []byte, see func(partition int32, offset int64)) {
	r := requestText{rest: request}
	r.skip(4 + 2)
	if r.uint16() != fetchVersion {
		return
	}
	r.skip(4)
	r.skip(int(r.uint16())) // the client's id; sarama always gives one
	r.skip(1)               // no tagged fields
	r.skip(4 + 4 + 4 + 4 + 1 + 4 + 4)
	for range r.length() {
		r.skip(r.length()) // the topic: there is one
		for range r.length() {
			partition := int32(r.uint32())
			r.skip(4)
			offset := int64(r.uint64())
			r.skip(4 + 8 + 4 + 1)
			if r.short {
				return
			}
			see(partition, offset)
		}
		r.skip(1)
	}
}

// requestText is what is left to read of a request; beyond its end there are zeros.
type requestText struct {
	rest  []byte
	short bool // it ended too early
}

func (r *requestText) take(n int) []byte {
	if n > len(r.rest) {
		r.rest, r.short = nil, true
		return make([]byte, 8)
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *requestText) skip(n int)     { r.take(n) }
func (r *requestText) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *requestText) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *requestText) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// length is of what follows: one less than is written, as zero stands for none.
func (r *requestText) length() int {
	n, width := binary.Uvarint(r.rest)
	if width <= 0 || n > uint64(len(r.rest)) {
		r.rest, r.short = nil, true
		return 0
	}
	r.skip(width)
	return max(0, int(n)-1)
}
