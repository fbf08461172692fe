package reactor

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"chatmonitor/server/monitor"
)

// frameHead is a frame's header as it stands on the wire (RFC 6455 5.2).
type frameHead struct {
	ws.Header
	bytes int  // its own length
	known bool // as much of it is there as tells the payload's length
}

// parseHead reads a client's frame header. ok is false where more bytes are needed; a broken header is
// found as soon as the byte that breaks it is there.
func parseHead(b []byte) (h frameHead, ok bool, broken bool) {
	if len(b) == 0 {
		return h, false, false
	}
	h.Fin, h.Rsv, h.OpCode = b[0]&0x80 != 0, b[0]>>4&7, ws.OpCode(b[0]&0x0f)
	if h.Rsv != 0 || h.OpCode.IsReserved() || h.OpCode.IsControl() && !h.Fin {
		return h, false, true
	}
	if len(b) == 1 {
		return h, false, false
	}
	h.Masked = b[1]&0x80 != 0
	short := b[1] & 0x7f
	if !h.Masked || h.OpCode.IsControl() && short > ws.MaxControlFramePayloadSize {
		return h, false, true
	}
	h.bytes = 2
	switch short {
	case 126:
		h.bytes += 2
		if len(b) < h.bytes {
			return h, false, false
		}
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
		broken = h.Length < 126 // 5.2: the minimal number of bytes must be used
	case 127:
		h.bytes += 8
		if len(b) < h.bytes {
			return h, false, len(b) > 2 && b[2]&0x80 != 0
		}
		length := binary.BigEndian.Uint64(b[2:])
		h.Length = int64(length)
		broken = length < 1<<16 || length>>63 != 0
	default:
		h.Length = int64(short)
	}
	if broken {
		return h, false, true
	}
	h.known = true // and judged, before the mask is there
	if len(b) >= h.bytes+4 {
		copy(h.Mask[:], b[h.bytes:])
		ok = true
	}
	h.bytes += 4
	return h, ok, false
}

// maxFrameHead is the longest header that a server writes.
const maxFrameHead = 10

// frame is the unmasked frame that carries a payload, in one piece: one write, one packet.
func frame(op ws.OpCode, payload []byte) []byte {
	return appendFrame(make([]byte, 0, maxFrameHead+len(payload)), op, payload)
}

func appendFrame(b []byte, op ws.OpCode, payload []byte) []byte {
	b = append(b, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// textFrame frames a push for all its receivers.
func textFrame(payload []byte, _ *monitor.Account) any { return frame(ws.OpText, payload) }

func closeFrame(reason monitor.Reason) []byte {
	return frame(ws.OpClose, ws.NewCloseFrameBody(ws.StatusCode(reason.CloseCode()), reason.CloseText()))
}

// checkClose judges the payload of a peer's Close (RFC 6455 5.5.1 and 7.4).
func checkClose(payload []byte) (fault monitor.Reason, ok bool) {
	switch {
	case len(payload) == 0:
		return 0, true
	case len(payload) == 1 || !sendableCode(binary.BigEndian.Uint16(payload)):
		return monitor.ProtocolError, false
	case !utf8.Valid(payload[2:]):
		return monitor.InvalidPayload, false
	}
	return 0, true
}

// sendableCode says whether a status code may stand in a Close frame: those that RFC 6455 7.4.1 and
// the IANA registry define for it, and the ranges for libraries and applications.
func sendableCode(code uint16) bool {
	switch {
	case code >= 3000 && code <= 4999:
		return true
	case code == 1004 || code == 1005 || code == 1006:
		return false
	}
	return code >= 1000 && code <= 1014
}
