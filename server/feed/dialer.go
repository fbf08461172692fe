package feed

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"
)

// guardedDialer keeps sarama from believing a peer that is not Kafka: it allocates whatever length
// the first answer claims, and an HTTP server's "HTTP" reads as 1.2 GB.
type guardedDialer struct{ timeout time.Duration }

// No broker's first answer, its list of API versions, is anywhere near so long.
const maxFirstAnswer = 1 << 20

// Dial is proxy.Dialer's.
func (d guardedDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, d.timeout)
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: conn, address: address}, nil
}

type guardedConn struct {
	net.Conn
	address string
	head    [4]byte // the first answer's length, as far as it is read
	read    int
}

func (c *guardedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.read < len(c.head) {
		c.read += copy(c.head[c.read:], p[:n])
		if length := binary.BigEndian.Uint32(c.head[:]); c.read == len(c.head) && length > maxFirstAnswer {
			return 0, fmt.Errorf("feed: %s does not speak Kafka: its answer begins with %q", c.address, c.head[:])
		}
	}
	return n, err
}
