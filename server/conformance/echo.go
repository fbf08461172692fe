package conformance

import (
	"bytes"
	"fmt"
	"strings"
)

func echoCases() []testCase {
	var cases []testCase
	for name, op := range map[string]byte{"text": opText, "binary": opBinary} {
		cases = append(cases,
			testCase{name: name + " messages come back", own: true, run: func(tr *trial) { tr.echoSizes(op) }},
			testCase{name: name + " in fragments comes back whole", own: true, run: func(tr *trial) { tr.echoFragments(op) }},
			testCase{name: name + " of 1 MiB with a raised limit", own: true, run: func(tr *trial) { tr.echoMegabyte(op) }},
			testCase{name: name + " pipelined", own: true, run: func(tr *trial) { tr.echoPipelined(op) }},
		)
	}
	return append(cases,
		testCase{name: "16 MiB with a raised limit", own: true, run: echoLong},
		testCase{name: "all byte values come back", own: true, run: echoBytes},
		testCase{name: "text that is not UTF-8 is 1007", own: true, run: func(tr *trial) { tr.wantEchoClosed(1007, text("\xff")) }},
		testCase{name: "over the limit is 1009", own: true, run: func(tr *trial) { tr.wantEchoClosed(1009, frameHead(fin|opBinary, messageLimitBytes+1)) }},
		testCase{name: "a broken frame is 1002", own: true, run: func(tr *trial) { tr.wantEchoClosed(1002, frame(fin|3, "")) }},
		testCase{name: "pings and Close", own: true, run: echoControl},
		testCase{name: "requests are echoed, not answered", own: true, run: echoRequests},
	)
}

func (tr *trial) echo() *session {
	tr.Helper()
	return tr.on(tr.shared("--echo")).open("/echo")
}

func (tr *trial) echoSizes(op byte) {
	s := tr.echo()
	for _, bytes := range []int{0, 1, 2, 124, 125, 126, 127, 1000, 4095, 4096, 4097, 65535, 65536} {
		payload := strings.Repeat("e", bytes)
		s.write(frame(fin|op, payload))
		s.wantFrame(op, payload)
	}
}

func (tr *trial) echoFragments(op byte) {
	s := tr.echo()
	s.write(frame(op, "代"[:1]) + frame(opContinuation, "") + frame(fin|opPing, "p") + frame(opContinuation, "代"[1:]) + frame(fin|opContinuation, "练"))
	s.wantFrame(opPong, "p")
	s.wantFrame(op, "代练")
}

func (tr *trial) echoMegabyte(op byte) {
	s := tr.on(tr.shared("--echo", "--max-message-bytes=1048576")).open("/echo")
	payload := strings.Repeat("0123456789abcdef", 1<<16)
	for range 3 {
		s.write(frame(fin|op, payload))
		s.wantFrame(op, payload)
	}
	s.write(frameHead(fin|op, 1<<20+1))
	s.wantClose(1009)
}

// echoLong sends in one frame and in fragments, and reads while it sends: no buffer between here and there
// holds it all.
func echoLong(tr *trial) {
	const size = 16 << 20
	s := tr.on(tr.shared("--echo", fmt.Sprintf("--max-message-bytes=%d", size))).open("/echo")
	payload := strings.Repeat("代练0123456789", size/16)
	var fragments strings.Builder
	for at := 0; at < size; at += size / 64 {
		fragments.WriteString(frame(opContinuation, payload[at:at+size/64]))
	}
	inFragments := frame(opText, "") + fragments.String() + frame(fin|opContinuation, "")
	for _, message := range []string{text(payload), inFragments} {
		sent := make(chan error, 1)
		go func() { sent <- s.tryWrite(message) }()
		s.wantFrame(opText, payload)
		if err := <-sent; err != nil {
			tr.Fatal(err)
		}
	}
}

func (tr *trial) echoPipelined(op byte) {
	s := tr.echo()
	var all strings.Builder
	for i := range 200 {
		all.WriteString(frame(fin|op, fmt.Sprint(i)))
	}
	s.write(all.String())
	for i := range 200 {
		s.wantFrame(op, fmt.Sprint(i))
	}
}

func echoBytes(tr *trial) {
	s := tr.echo()
	var all bytes.Buffer
	for i := range 1024 {
		all.WriteByte(byte(i))
	}
	s.write(frame(fin|opBinary, all.String()))
	s.wantFrame(opBinary, all.String())
}

func (tr *trial) wantEchoClosed(code int, bytes string) {
	s := tr.echo()
	s.write(bytes)
	s.wantClose(code)
	s.wantEnd()
}

func echoControl(tr *trial) {
	s := tr.echo()
	s.write(frame(fin|opPing, "p") + frame(fin|opPong, "q") + frame(fin|opText, "t"))
	s.wantFrame(opPong, "p")
	s.wantFrame(opText, "t")
	s.write(frame(fin|opClose, closePayload(3001, "bye")))
	s.wantClose(3001)
	s.wantEnd()
}

func echoRequests(tr *trial) {
	s := tr.echo()
	for _, message := range []string{pingText, `{"path":"/nope"}`, `no JSON`, ``} {
		s.write(text(message))
		s.wantFrame(opText, message)
	}
}
