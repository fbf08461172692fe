// Package client holds many WebSocket connections on one thread.
//
// A Loop is an epoll loop over sockets of its own. An idle connection costs one small entry in a dense slice and
// no buffer: all connections share one read buffer, and bytes of an unfinished frame are kept in a buffer that
// lives only as long as the frame is unfinished. Connections are numbered 0 to n-1 by their user.
//
//	Dial(i) -> connecting -> upgrading -> open -> closed -> Dial(i) again
//	                                       |  Received: each whole message, with the time its bytes were read
//	                                       |  Send: a masked frame, from any goroutine
//
// What the server sends is checked strictly against RFC 6455: this is the client that a server's mistakes meet.
// The package knows nothing of what the messages mean, opens no TLS and offers no extensions.
package client

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Server is one that connections go to.
type Server struct {
	Address netip.AddrPort
	Host    string       // Host header of the upgrade request
	Path    string       // with the query, if any
	Sources []netip.Addr // connections leave from these in turn; none: the kernel chooses
}

// Config is static after New.
type Config struct {
	Servers         []Server      // at least one
	Connections     int           // connections are numbered 0 to Connections-1
	Timeout         time.Duration // from Dial until Settled, see Deadline
	MaxMessageBytes int           // a longer message is a protocol error
	Seed            uint64        // of handshake keys and frame masks
	// Number, if not nil, gives what stands for i where connection i goes to Servers[i%len].
	Number func(conn int) int
	// ReceiveBytes, if not nil, gives the size of a connection's receive buffer; 0 leaves it to the kernel.
	ReceiveBytes func(conn int) int
}

// Handler hears what happens, on the goroutine of Run. It must not block; payloads are valid during the call only.
type Handler interface {
	// Opened: the upgrade was accepted and verified at nowNs, of a connection dialled at dialledNs.
	Opened(conn int, dialledNs, nowNs int64)
	// Received: a whole text or binary message, whose last bytes were read at nowNs.
	Received(conn int, text bool, payload []byte, nowNs int64)
	// Closed: the connection ended, or never came up. Not called after Close.
	Closed(conn int, err error)
}

// ProtocolError is a violation of RFC 6455 by the server.
type ProtocolError string

func (e ProtocolError) Error() string { return "protocol error: " + string(e) }

// CloseError is a Close frame from the server.
type CloseError struct {
	Code   int // 1005 if the frame had none
	Reason string
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("closed by the server with %d", e.Code)
	}
	return fmt.Sprintf("closed by the server with %d %q", e.Code, e.Reason)
}

// RefusedError is an answer to the upgrade other than 101.
type RefusedError string

func (e RefusedError) Error() string { return "upgrade refused: " + string(e) }

var (
	// ErrEnd: the server ended TCP without a Close frame.
	ErrEnd = errors.New("connection ended by the server without a close frame")
	// ErrConnectTimeout: TCP did not come up in time.
	ErrConnectTimeout = errors.New("connect timed out")
	// ErrUpgradeTimeout: no answer to the upgrade request in time.
	ErrUpgradeTimeout = errors.New("no answer to the upgrade request in time")
	// ErrAnswerTimeout: the connection was open but not settled in time.
	ErrAnswerTimeout = errors.New("no answer to a request in time")
	// ErrNotOpen: there is nothing to send on.
	ErrNotOpen = errors.New("client: connection is not open")
	// ErrNotReading: more waits to be sent than any server that reads would leave.
	ErrNotReading = errors.New("client: the server does not read: outbound limit reached")
)

// NoDeadline ends the watch that Dial began.
const NoDeadline = 0

type state uint8

const (
	closed state = iota
	connecting
	upgrading
	open
	paused // open, and not read: what arrives stays in the kernel
)

// conn is what an idle connection costs.
type conn struct {
	dialledNs  int64
	deadlineNs int64
	fd         int32
	generation uint16 // tells a late event of an earlier socket from one of this
	state      state
}
