package conformance

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

// The opcodes of RFC 6455 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const (
	fin    = 0x80 // in a frame's first byte
	masked = 0x80 // in its second
)

var maskKey = [4]byte{0x9d, 0x13, 0xf0, 0x6a}

// frame is a masked frame; head is its first byte: fin, reserved bits and opcode.
func frame(head byte, payload string) string {
	return frameHead(head, uint64(len(payload))) + mask(payload)
}

// text is a text message in one frame.
func text(payload string) string { return frame(fin|opText, payload) }

// frameHead is the head of a masked frame, with the shortest form of the length.
func frameHead(head byte, length uint64) string {
	switch {
	case length < 126:
		return frameHeadOf(head, 0, length)
	case length < 1<<16:
		return frameHeadOf(head, 2, length)
	}
	return frameHeadOf(head, 8, length)
}

// frameHeadOf is the head of a masked frame whose length takes that many more bytes.
func frameHeadOf(head byte, lengthBytes int, length uint64) string {
	b := []byte{head}
	switch lengthBytes {
	case 0:
		b = append(b, masked|byte(length))
	case 2:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), length)
	}
	return string(append(b, maskKey[:]...))
}

func mask(payload string) string {
	b := []byte(payload)
	for i := range b {
		b[i] ^= maskKey[i%4]
	}
	return string(b)
}

// closePayload is the payload of a Close.
func closePayload(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// received is a frame from the server.
type received struct {
	op      byte
	payload []byte
}

// closeCode is the status code of a Close, 0 for none.
func (f received) closeCode() int {
	if len(f.payload) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(f.payload))
}

func (f received) String() string {
	if f.op == opClose && len(f.payload) >= 2 {
		return fmt.Sprintf("Close %d %q", f.closeCode(), f.payload[2:])
	}
	return fmt.Sprintf("frame with opcode %d, payload %.200q (%d bytes)", f.op, f.payload, len(f.payload))
}

// frame reads the next frame, and fails the case for one that a server may not send.
func (s *session) frame() received {
	s.Helper()
	var f received
	s.read("a frame", func() (err error) {
		f, err = s.tryFrame()
		return err
	})
	return f
}

// tryFrame reads a frame without a deadline of its own.
func (s *session) tryFrame() (received, error) {
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return received{}, err
	}
	f := received{op: head[0] & 0x0f}
	if head[0]&0x70 != 0 || head[0]&fin == 0 {
		return f, fmt.Errorf("a frame begins with %#x: it must be whole, and without reserved bits", head[0])
	}
	if !slices.Contains([]byte{opText, opBinary, opClose, opPing, opPong}, f.op) {
		return f, fmt.Errorf("a frame has opcode %d", f.op)
	}
	if head[1]&masked != 0 {
		return f, fmt.Errorf("a frame is masked; a server's never are")
	}
	length, err := s.frameLength(head[1])
	if err != nil {
		return f, err
	}
	f.payload = make([]byte, length)
	if _, err := io.ReadFull(s.in, f.payload); err != nil {
		return f, err
	}
	return f, f.judge()
}

const maxFrameBytes = 16 << 20 // no case makes the server send more

func (s *session) frameLength(short byte) (uint64, error) {
	length := uint64(short)
	switch short {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(s.in, b[:]); err != nil {
			return 0, err
		}
		if length = uint64(binary.BigEndian.Uint16(b[:])); length < 126 {
			return 0, fmt.Errorf("a length of %d takes 2 more bytes", length)
		}
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(s.in, b[:]); err != nil {
			return 0, err
		}
		if length = binary.BigEndian.Uint64(b[:]); length < 1<<16 || length > maxFrameBytes {
			return 0, fmt.Errorf("a length of %d takes 8 more bytes", length)
		}
	}
	return length, nil
}

func (f received) judge() error {
	switch {
	case f.op >= opClose && len(f.payload) > 125:
		return fmt.Errorf("a control frame is too long: %v", f)
	case f.op == opClose && len(f.payload) == 1:
		return fmt.Errorf("a Close has half a code")
	case f.op == opClose && len(f.payload) > 2 && !utf8.Valid(f.payload[2:]), f.op == opText && !utf8.Valid(f.payload):
		return fmt.Errorf("not UTF-8: %v", f)
	}
	return nil
}

// wantFrame fails the case unless the next frame is this one.
func (s *session) wantFrame(op byte, payload string) {
	s.Helper()
	if f := s.frame(); f.op != op || string(f.payload) != payload {
		s.Fatalf("came %v, want opcode %d, payload %.200q (%d bytes)", f, op, payload, len(payload))
	}
}

// wantClose fails the case unless the next frame is a Close with one of the codes, 0 being none.
func (s *session) wantClose(codes ...int) {
	s.Helper()
	if f := s.frame(); f.op != opClose || !slices.Contains(codes, f.closeCode()) {
		s.Fatalf("came %v, want Close %v", f, codes)
	}
}

// readClose reads until a Close, or until the connection ends without one: then it gives false.
func (s *session) readClose() (received, bool) {
	s.Helper()
	deadline := time.Now().Add(patience)
	for {
		if err := s.conn.SetReadDeadline(deadline); err != nil {
			s.Fatalf("deadline: %v", err)
		}
		f, err := s.tryFrame()
		switch {
		case isTimeout(err):
			s.Fatalf("neither a Close nor the end of the connection came within %v", patience)
		case err != nil:
			return f, false
		case f.op == opClose:
			return f, true
		}
	}
}
