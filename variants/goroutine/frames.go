package main

import (
	"encoding/binary"
	"errors"
	"math"
	"net"

	"github.com/gorilla/websocket"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

// wire is a WebSocket's TCP connection, as gorilla reads it. It returns the bytes that net/http has read
// ahead, and it stops at the first frame that must not be. gorilla would find most of those itself, but
// answer them ahead of everything that waits to be written, and some it lets pass.
type wire struct {
	*net.TCPConn

	// Owned by the reader.
	early  []byte
	frames frameCheck
	broken bool
	fault  monitor.Reason // if broken

	peers *app.Peers // that the connection is counted among; nil: it is not
}

// leaveAddress takes the connection out of its address's count.
func (w *wire) leaveAddress() {
	if w.peers != nil {
		w.peers.Give(w.RemoteAddr())
	}
}

var errBroken = errors.New("goroutine: a frame breaks RFC 6455 or is too long")

// Read is net.Conn's.
func (w *wire) Read(p []byte) (int, error) {
	if w.broken {
		return 0, errBroken
	}
	n, err := w.readAny(p)
	good := w.frames.pass(p[:n])
	if good == n {
		return n, err
	}
	w.fault, w.broken = w.frames.fault, true
	if good == 0 {
		return 0, errBroken
	}
	return good, nil
}

func (w *wire) readAny(p []byte) (int, error) {
	if len(w.early) == 0 {
		return w.TCPConn.Read(p)
	}
	n := copy(p, w.early)
	if w.early = w.early[n:]; len(w.early) == 0 {
		w.early = nil // so that the bytes can go
	}
	return n, nil
}

// frameCheck judges frames' headers while they pass.
type frameCheck struct {
	limit      int64 // bytes of a message
	left       int64 // bytes of the frame until the next header
	message    int64 // bytes of the fragments so far
	head       [10]byte
	have       uint8 // bytes of head
	fragmented bool
	fault      monitor.Reason
}

// pass gives the number of bytes that may pass: all, or those before the one that breaks a frame.
func (f *frameCheck) pass(b []byte) int {
	for at := 0; at < len(b); {
		if f.left > 0 {
			n := min(f.left, int64(len(b)-at))
			f.left -= n
			at += int(n)
			continue
		}
		f.head[f.have] = b[at]
		f.have++
		if !f.judge() {
			return at
		}
		at++
	}
	return len(b)
}

const (
	finalBit    = 0x80
	reservedBit = 0x70
	maskBit     = 0x80
	opMask      = 0x0f
	opContinues = 0
	opControl   = 8 // opcodes from here on
	maskBytes   = 4
)

// judge looks at the byte of the header that has just come (RFC 6455 5.2 to 5.5).
func (f *frameCheck) judge() bool {
	op, short := int(f.head[0]&opMask), f.head[1]&^maskBit
	switch f.have {
	case 1:
		return f.allowed(f.goodStart(op), monitor.ProtocolError)
	case 2:
		good := f.head[1]&maskBit != 0 && (op < opControl || short < 126 && !(op == websocket.CloseMessage && short == 1))
		if !f.allowed(good, monitor.ProtocolError) {
			return false
		}
		if short < 126 {
			return f.begin(op, int64(short))
		}
	case 3:
		return f.allowed(short == 126 || f.head[2]&0x80 == 0, monitor.ProtocolError)
	case 4:
		if short == 126 {
			n := int64(binary.BigEndian.Uint16(f.head[2:]))
			return f.allowed(n >= 126, monitor.ProtocolError) && f.begin(op, n)
		}
	case 10:
		n := int64(binary.BigEndian.Uint64(f.head[2:])) // its highest bit is 0
		return f.allowed(n >= 1<<16, monitor.ProtocolError) && f.begin(op, n)
	}
	return true
}

func (f *frameCheck) allowed(ok bool, fault monitor.Reason) bool {
	if !ok {
		f.fault = fault
	}
	return ok
}

func (f *frameCheck) goodStart(op int) bool {
	if f.head[0]&reservedBit != 0 {
		return false
	}
	switch op {
	case opContinues:
		return f.fragmented
	case websocket.TextMessage, websocket.BinaryMessage:
		return !f.fragmented
	case websocket.CloseMessage, websocket.PingMessage, websocket.PongMessage:
		return f.head[0]&finalBit != 0
	}
	return false
}

// begin takes note of a frame whose header is complete but for the mask.
func (f *frameCheck) begin(op int, length int64) bool {
	f.have, f.left = 0, maskBytes+length
	if op == websocket.CloseMessage {
		f.left = math.MaxInt64 // what comes behind it is not looked at
	}
	if op >= opControl {
		return true
	}
	if !f.allowed(length <= f.limit-f.message, monitor.TooBig) {
		return false
	}
	f.fragmented = f.head[0]&finalBit == 0
	f.message += length
	if !f.fragmented {
		f.message = 0
	}
	return true
}
