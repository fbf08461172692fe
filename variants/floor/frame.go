package main

import "encoding/binary"

// Opcodes of RFC 6455.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// closeCode is a status code of RFC 6455; 0 is none.
type closeCode uint16

const (
	protocolError closeCode = 1002
	unsupported   closeCode = 1003
	tooBig        closeCode = 1009
)

const (
	maxChatBytes    = 64 << 10 // of a message on /ws
	maxEchoBytes    = 16 << 20 // of a message on /echo
	maxControlBytes = 125
	maxFrameHead    = 10 // the longest that a server writes
)

// frame is a client's frame; payload points into what was read, and is masked.
type frame struct {
	opcode  byte
	mask    uint32
	payload []byte
}

// parseFrame reads one frame from the front of b. It returns the frame's length, or 0 if b ends before the frame
// does; a fault is found as soon as the header is there.
func parseFrame(b []byte, limitBytes int) (f frame, n int, fault closeCode) {
	if len(b) < 2 {
		return f, 0, 0
	}
	f.opcode = b[0] & 0x0f
	if fault := checkHeader(b[0], b[1]); fault != 0 {
		return f, 0, fault
	}
	length, head := uint64(b[1]&0x7f), 2
	switch {
	case length == 126 && len(b) >= 4:
		length, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case length == 127 && len(b) >= 10:
		length, head = binary.BigEndian.Uint64(b[2:]), 10
	case length >= 126:
		return f, 0, 0
	}
	if length > uint64(limitBytes) {
		return f, 0, tooBig
	}
	start := head + 4
	if len(b) < start+int(length) {
		return f, 0, 0
	}
	f.mask = binary.LittleEndian.Uint32(b[head:])
	f.payload = b[start : start+int(length)]
	return f, start + int(length), 0
}

// checkHeader wants whole, masked frames of a known kind.
func checkHeader(first, second byte) closeCode {
	opcode := first & 0x0f
	isControl := opcode&0x8 != 0
	isKnown := opcode <= opBinary || opcode >= opClose && opcode <= opPong
	isFinal := first&0x80 != 0
	switch {
	case !isKnown, first&0x70 != 0, second&0x80 == 0:
		return protocolError
	case isControl && (!isFinal || second&0x7f > maxControlBytes):
		return protocolError
	case !isFinal || opcode == opContinuation:
		return unsupported
	}
	return 0
}

// appendUnmasked appends the frame as the server sends it.
func (f frame) appendUnmasked(b []byte, opcode byte) []byte {
	b = appendFrameHead(b, opcode, len(f.payload))
	start := len(b)
	b = append(b, f.payload...)
	unmask(b[start:], f.mask)
	return b
}

func (f frame) unmask() { unmask(f.payload, f.mask) }

func unmask(b []byte, mask uint32) {
	wide := uint64(mask) | uint64(mask)<<32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(mask >> (8 * i & 31))
	}
}

func appendFrameHead(b []byte, opcode byte, payloadBytes int) []byte {
	b = append(b, 0x80|opcode)
	switch {
	case payloadBytes < 126:
		return append(b, byte(payloadBytes))
	case payloadBytes < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(payloadBytes))
	default:
		return binary.BigEndian.AppendUint64(append(b, 127), uint64(payloadBytes))
	}
}

func appendClose(b []byte, code closeCode) []byte {
	return binary.BigEndian.AppendUint16(appendFrameHead(b, opClose, 2), uint16(code))
}
