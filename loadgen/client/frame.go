package client

import (
	"encoding/binary"
	"unicode/utf8"
)

// Opcodes of RFC 6455.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const (
	maxControlBytes = 125
	noCloseCode     = 1005
)

// frame is one frame from the server; payload points into the bytes that were parsed.
type frame struct {
	final   bool
	opcode  byte
	payload []byte
}

// parseFrame reads one frame from the start of b. It returns the frame's length, or 0 if b ends before the frame
// does. A violation is reported as soon as the bytes that show it are there.
func parseFrame(b []byte, maxPayloadBytes int) (frame, int, error) {
	if len(b) < 2 {
		return frame{}, 0, nil
	}
	f := frame{final: b[0]&0x80 != 0, opcode: b[0] & 0x0f}
	if err := checkHeader(b[0], b[1], f); err != nil {
		return frame{}, 0, err
	}
	length, header, err := parseLength(b)
	if header == 0 || err != nil {
		return frame{}, 0, err
	}
	if length > uint64(maxPayloadBytes) {
		return frame{}, 0, ProtocolError("frame longer than the message limit")
	}
	end := header + int(length)
	if len(b) < end {
		return frame{}, 0, nil
	}
	f.payload = b[header:end]
	return f, end, nil
}

func checkHeader(first, second byte, f frame) error {
	isControl := f.opcode&0x8 != 0
	switch {
	case first&0x70 != 0:
		return ProtocolError("reserved bit set without an extension")
	case second&0x80 != 0:
		return ProtocolError("masked frame from the server")
	case f.opcode > opBinary && f.opcode < opClose || f.opcode > opPong:
		return ProtocolError("unknown opcode")
	case isControl && !f.final:
		return ProtocolError("fragmented control frame")
	case isControl && second&0x7f > maxControlBytes:
		return ProtocolError("control frame longer than 125 bytes")
	}
	return nil
}

// parseLength returns the payload's length and the header's, which is 0 while bytes are missing.
func parseLength(b []byte) (length uint64, header int, err error) {
	switch short := b[1] & 0x7f; {
	case short < 126:
		return uint64(short), 2, nil
	case short == 126 && len(b) >= 4:
		length, header = uint64(binary.BigEndian.Uint16(b[2:])), 4
		if length < 126 {
			return 0, 0, ProtocolError("length not in its shortest form")
		}
	case short == 127 && len(b) >= 10:
		length, header = binary.BigEndian.Uint64(b[2:]), 10
		if length>>63 != 0 {
			return 0, 0, ProtocolError("length with its highest bit set")
		}
		if length <= 0xffff {
			return 0, 0, ProtocolError("length not in its shortest form")
		}
	}
	return length, header, nil
}

// appendFrame appends a whole client frame, masked as RFC 6455 wants it.
func appendFrame(b []byte, opcode byte, payload []byte, mask uint32) []byte {
	b = append(b, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, 0x80|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint32(b, mask)
	start := len(b)
	b = append(b, payload...)
	applyMask(b[start:], mask)
	return b
}

func applyMask(b []byte, mask uint32) {
	wide := uint64(mask) | uint64(mask)<<32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(mask >> (8 * (i & 3)))
	}
}

// parseClose reads the payload of a Close frame.
func parseClose(payload []byte) (*CloseError, error) {
	if len(payload) == 0 {
		return &CloseError{Code: noCloseCode}, nil
	}
	if len(payload) == 1 {
		return nil, ProtocolError("close frame of one byte")
	}
	code := int(binary.BigEndian.Uint16(payload))
	if !mayBeSent(code) {
		return nil, ProtocolError("close code that must not be sent")
	}
	if !utf8.Valid(payload[2:]) {
		return nil, ProtocolError("close reason that is not UTF-8")
	}
	return &CloseError{Code: code, Reason: string(payload[2:])}, nil
}

// mayBeSent follows RFC 6455, section 7.4, and the codes registered since (1012 to 1014).
func mayBeSent(code int) bool {
	switch code {
	case 1004, noCloseCode, 1006:
		return false
	}
	return code >= 1000 && code <= 1014 || code >= 3000 && code <= 4999
}

// message collects the fragments of one message.
type message struct {
	opcode byte // opText or opBinary while a message is unfinished, else 0
	bytes  []byte
}

// add takes a data frame and returns the whole message when this frame ends one. The result points into the
// frame or into m's buffer and is valid until the next call.
func (m *message) add(f frame, maxBytes int) (whole []byte, text bool, done bool, err error) {
	continued := f.opcode == opContinuation
	switch {
	case continued && m.opcode == 0:
		return nil, false, false, ProtocolError("continuation of nothing")
	case !continued && m.opcode != 0:
		return nil, false, false, ProtocolError("new message inside a fragmented one")
	case len(m.bytes)+len(f.payload) > maxBytes:
		return nil, false, false, ProtocolError("message longer than the message limit")
	}
	opcode := f.opcode
	if continued {
		opcode = m.opcode
	}
	if !f.final {
		m.opcode, m.bytes = opcode, append(m.bytes, f.payload...)
		return nil, false, false, nil
	}
	whole = f.payload
	if continued {
		whole = append(m.bytes, f.payload...)
		m.opcode, m.bytes = 0, whole[:0]
	}
	text = opcode == opText
	if text && !utf8.Valid(whole) {
		return nil, false, false, ProtocolError("text that is not UTF-8")
	}
	return whole, text, true, nil
}
