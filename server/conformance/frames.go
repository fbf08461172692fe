package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func frameCases() []testCase {
	return slices.Concat(brokenFrameCases(), closeCases(), badTextCases(), []testCase{
		{name: "ping is answered with its payload", run: pings},
		{name: "pongs that nobody asked for", run: unaskedPongs},
		{name: "fragmented text with pings between", run: fragmentsWithPings},
		{name: "fragments without payload", run: emptyFragments},
		{name: "a character split between fragments", run: splitCharacter},
		{name: "a frame byte by byte", run: dribbledFrame},
		{name: "frames split at every byte", run: splitFrames},
		{name: "many frames in one packet", run: manyFrames},
		{name: "each form of the length", run: lengthForms},
		{name: "exactly the limit is accepted", run: exactlyTheLimit},
		{name: "exactly the limit in fragments is accepted", run: limitInFragments},
		{name: "over the limit is 1009 at once", run: overTheLimit},
		{name: "over the limit by fragments is 1009 at once", run: overTheLimitByFragments},
		{name: "far over the limit is 1009 at once", run: farOverTheLimit},
		{name: "1009 reaches a client that goes on sending", run: tooLongAndGoingOn},
		{name: "--max-message-bytes", own: true, run: messageLimitFlag},
		{name: "binary on /ws is 1003", run: func(tr *trial) { tr.wantCloseAfter(1003, frame(fin|opBinary, "x")) }},
		{name: "an empty binary message on /ws is 1003", run: func(tr *trial) { tr.wantCloseAfter(1003, frame(fin|opBinary, "")) }},
		{name: "a fragmented binary message on /ws is 1003", run: func(tr *trial) {
			tr.wantCloseAfter(1003, frame(opBinary, "x")+frame(fin|opContinuation, "y"))
		}},
		{name: "what comes behind a broken frame is not looked at", run: behindBroken},
		{name: "what comes behind a Close is not looked at", run: behindClose},
		{name: "TCP ends after the server's Close, answered or not", run: endAfterClose},
		{name: "TCP ends after the client's Close", run: endAfterClientsClose},
		{name: "clients that reset the connection at every phase", run: resetsInFrames},
		{name: "clients that end TCP without a Close", run: endsWithoutClose},
	})
}

// wantCloseAfter opens a session, sends the bytes and fails the case unless a Close with the code is
// the first frame to come. Then the server must be serving others.
func (tr *trial) wantCloseAfter(code int, bytes string) {
	tr.Helper()
	s := tr.session()
	s.write(bytes)
	s.wantClose(code)
	tr.wantServing()
}

// brokenFrames break RFC 6455 5.2, 5.4 or 5.5, and are answered with Close 1002.
func brokenFrames() map[string]string {
	unmasked := "\x81\x02{}"
	rows := map[string]string{
		"unmasked text":                          unmasked,
		"unmasked ping":                          "\x89\x00",
		"unmasked close":                         "\x88\x02\x03\xe8",
		"unmasked, only its head":                "\x81\x7e\x01\x00",
		"a ping in fragments":                    frame(opPing, "x"),
		"a pong in fragments":                    frame(opPong, ""),
		"a close in fragments":                   frame(opClose, closePayload(1000, "")),
		"a ping of 126 bytes":                    frame(fin|opPing, strings.Repeat("x", 126)),
		"a close of 126 bytes":                   frame(fin|opClose, closePayload(1000, strings.Repeat("x", 124))),
		"a ping of 65536 bytes, only its head":   frameHead(fin|opPing, 1<<16),
		"a continuation of nothing":              frame(fin|opContinuation, "x"),
		"a continuation of nothing, not last":    frame(opContinuation, "x"),
		"a continuation behind a whole message":  text("{}") + frame(fin|opContinuation, "x"),
		"text among fragments":                   frame(opText, "{") + frame(fin|opText, "}"),
		"binary among fragments":                 frame(opText, "{") + frame(fin|opBinary, "}"),
		"a reserved bit among fragments":         frame(opText, "{") + frame(fin|0x40|opContinuation, "}"),
		"a length of 125 in 2 bytes":             frameHeadOf(fin|opText, 2, 125) + mask(strings.Repeat("x", 125)),
		"a length of 65535 in 8 bytes":           frameHeadOf(fin|opText, 8, 65535) + mask(strings.Repeat("x", 65535)),
		"a length with bit 63 set":               frameHeadOf(fin|opText, 8, 1<<63),
		"a length with all bits set":             frameHeadOf(fin|opText, 8, 1<<64-1),
		"a continuation with bit 63 of a length": frame(opText, "{") + frameHeadOf(fin|opContinuation, 8, 1<<63|5),
	}
	for bit, head := range map[int]byte{1: 0x40, 2: 0x20, 3: 0x10} {
		rows[fmt.Sprintf("reserved bit %d", bit)] = frame(fin|head|opText, "{}")
		rows[fmt.Sprintf("reserved bit %d of a ping", bit)] = frame(fin|head|opPing, "")
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		rows[fmt.Sprintf("opcode %d", op)] = frame(fin|op, "")
		rows[fmt.Sprintf("opcode %d with a payload", op)] = frame(fin|op, "{}")
	}
	return rows
}

func brokenFrameCases() []testCase {
	var cases []testCase
	for name, bytes := range brokenFrames() {
		cases = append(cases, testCase{name: "broken: " + name, detail: strings.Contains(name, "length"), run: func(tr *trial) {
			s := tr.session()
			s.write(bytes)
			if strings.Contains(name, "whole message") {
				s.answer()
			}
			s.wantClose(1002)
			s.wantEnd()
		}})
	}
	slices.SortFunc(cases, func(a, b testCase) int { return strings.Compare(a.name, b.name) })
	return cases
}

// closeCases are the codes that a client may close with, and those that it may not (RFC 6455 7.4).
func closeCases() []testCase {
	var cases []testCase
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		cases = append(cases, testCase{name: fmt.Sprintf("Close %d is echoed", code), run: func(tr *trial) {
			for _, reason := range []string{"", "bye, 再见", strings.Repeat("r", 123)} {
				s := tr.session()
				s.write(frame(fin|opClose, closePayload(code, reason)))
				s.wantClose(int(code))
				s.wantEnd()
			}
		}})
	}
	cases = append(cases, testCase{name: "Close without a code is answered", run: func(tr *trial) {
		s := tr.session()
		s.write(frame(fin|opClose, ""))
		s.wantClose(0, 1000)
		s.wantEnd()
	}})
	for name, payload := range badCloses() {
		cases = append(cases, testCase{name: "bad Close: " + name, run: func(tr *trial) {
			s := tr.session()
			s.write(frame(fin|opClose, payload))
			if strings.Contains(name, "UTF-8") {
				s.wantClose(1007, 1002) // both are the RFC's, in different paragraphs
			} else {
				s.wantClose(1002)
			}
			s.wantEnd()
		}})
	}
	slices.SortFunc(cases, func(a, b testCase) int { return strings.Compare(a.name, b.name) })
	return cases
}

func badCloses() map[string]string {
	rows := map[string]string{
		"half a code":            "\x03",
		"reason not UTF-8":       closePayload(1000, "\xff"),
		"reason cut UTF-8":       closePayload(1000, "\xe7\xbb"),
		"code 1000, other order": "\xe8\x03",
	}
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		rows[fmt.Sprintf("code %d", code)] = closePayload(code, "")
	}
	return rows
}

// badTexts are text messages that are not UTF-8, as frames.
var badTexts = []struct{ name, frames string }{
	{"a byte that never occurs", text("{\"path\":\"\xff\"}")},
	{"a lone continuation byte", text("\x80")},
	{"cut at the end", text("{\"path\":\"\xe7\xbb")},
	{"overlong", text("\xc0\xaf")},
	{"a surrogate", text("\xed\xa0\x80")},
	{"beyond U+10FFFF", text("\xf4\x90\x80\x80")},
	{"cut at the end of the last fragment", frame(opText, "ok") + frame(fin|opContinuation, "\xe7\xbb")},
	{"in the first of two fragments", frame(opText, "\xff") + frame(fin|opContinuation, "x")},
	{"across fragments", frame(opText, "\xe7") + frame(fin|opContinuation, "x")},
}

func badTextCases() []testCase {
	var cases []testCase
	for _, row := range badTexts {
		cases = append(cases, testCase{name: "not UTF-8: " + row.name, run: func(tr *trial) {
			s := tr.session()
			s.write(row.frames)
			s.wantClose(1007)
			s.wantEnd()
		}})
	}
	return cases
}

func pings(tr *trial) {
	s := tr.session()
	for _, payload := range []string{"", "x", "\x00\xff", strings.Repeat("p", 125)} {
		s.write(frame(fin|opPing, payload))
		s.wantFrame(opPong, payload)
	}
	s.ping()
}

func unaskedPongs(tr *trial) {
	s := tr.session()
	s.write(frame(fin|opPong, "") + frame(fin|opPong, strings.Repeat("p", 125)))
	s.ping()
}

const pingText = `{"path":"/ping","id":1,"params":"代练 and gold"}`

// wantPingAnswer fails the case unless the next frame answers pingText.
func (s *session) wantPingAnswer() {
	s.Helper()
	a := s.answer()
	if string(a.ID) != "1" || !strings.Contains(string(a.Result), `"代练 and gold"`) {
		s.Fatalf("answered with %s", a.raw)
	}
}

func fragmentsWithPings(tr *trial) {
	s := tr.session()
	s.write(frame(opText, pingText[:5]) + frame(fin|opPing, "one") + frame(opContinuation, pingText[5:9]))
	s.wantFrame(opPong, "one")
	s.write(frame(fin|opPing, "two") + frame(fin|opPong, "") + frame(fin|opContinuation, pingText[9:]))
	s.wantFrame(opPong, "two")
	s.wantPingAnswer()
	s.ping()
}

func emptyFragments(tr *trial) {
	s := tr.session()
	s.write(frame(opText, "") + frame(opContinuation, "") + frame(opContinuation, pingText) + frame(opContinuation, "") + frame(fin|opContinuation, ""))
	s.wantPingAnswer()
	s.write(frame(opText, "") + frame(fin|opContinuation, ""))
	if a := s.answer(); a.Error == nil || a.Error.Code != "bad_request" {
		tr.Errorf("an empty message in fragments is answered with %s", a.raw)
	}
}

func splitCharacter(tr *trial) {
	s := tr.session()
	at := strings.Index(pingText, "代")
	s.write(frame(opText, pingText[:at+1]) + frame(opContinuation, pingText[at+1:at+2]) + frame(fin|opContinuation, pingText[at+2:]))
	s.wantPingAnswer()
}

func dribbledFrame(tr *trial) {
	s := tr.session()
	for _, b := range []byte(text(pingText)) {
		s.write(string([]byte{b}))
	}
	s.wantPingAnswer()
}

func splitFrames(tr *trial) {
	s := tr.session()
	both := frame(opText, pingText[:20]) + frame(fin|opContinuation, pingText[20:])
	for i := 1; i < len(both); i++ {
		s.write(both[:i])
		s.write(both[i:])
		s.wantPingAnswer()
	}
}

func manyFrames(tr *trial) {
	s := tr.session()
	const messages = 500
	var all strings.Builder
	for i := range messages {
		all.WriteString(frame(fin|opPing, fmt.Sprint(i)) + text(pingText))
	}
	s.write(all.String())
	for i := range messages {
		s.wantFrame(opPong, fmt.Sprint(i))
		s.wantPingAnswer()
	}
}

// pingOf is a ping request of so many bytes.
func pingOf(bytes int) string {
	empty := `{"path":"/ping","id":1,"params":""}`
	return empty[:len(empty)-2] + strings.Repeat("x", bytes-len(empty)) + empty[len(empty)-2:]
}

func (s *session) wantPinged(bytes int) {
	s.Helper()
	if a := s.answer(); a.Error != nil || string(a.ID) != "1" {
		s.Fatalf("a message of %d bytes is answered with %.300q", bytes, a.raw)
	}
}

func lengthForms(tr *trial) {
	s := tr.session()
	for _, bytes := range []int{125, 126, 127, 255, 256, 65535, 65536} {
		s.write(text(pingOf(bytes)))
		s.wantPinged(bytes)
	}
}

// messageLimitBytes is the default of --max-message-bytes.
const messageLimitBytes = 64 << 10

func exactlyTheLimit(tr *trial) {
	s := tr.session()
	for range 3 {
		s.write(text(pingOf(messageLimitBytes)))
		s.wantPinged(messageLimitBytes)
	}
}

func limitInFragments(tr *trial) {
	s := tr.session()
	message := pingOf(messageLimitBytes)
	s.write(frame(opText, message[:40000]) + frame(opContinuation, message[40000:]) + frame(fin|opContinuation, ""))
	s.wantPinged(messageLimitBytes)
}

// Only the head is sent: the server must not wait for the payload.
func overTheLimit(tr *trial) {
	tr.wantCloseAfter(1009, frameHead(fin|opText, messageLimitBytes+1))
}

func overTheLimitByFragments(tr *trial) {
	tr.wantCloseAfter(1009, frame(opText, strings.Repeat("x", 40000))+frameHead(opContinuation, messageLimitBytes-40000+1))
}

func farOverTheLimit(tr *trial) {
	for _, length := range []uint64{1 << 32, 1<<62 + 5, 1<<63 - 1} {
		s := tr.session()
		s.write(frameHeadOf(fin|opText, 8, length))
		s.wantClose(1009)
	}
	tr.wantServing()
}

func tooLongAndGoingOn(tr *trial) {
	s := tr.session()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_ = s.tryWrite(text(strings.Repeat("x", 4<<20))) // the server may end the connection meanwhile
	}()
	s.wantClose(1009)
	_ = s.conn.Close() // ends the writing, too
	<-sent
}

func messageLimitFlag(tr *trial) {
	away := tr.on(tr.shared("--max-message-bytes=100"))
	s := away.session()
	s.write(text(pingOf(100)))
	s.wantPinged(100)
	s.write(frameHead(fin|opText, 101))
	s.wantClose(1009)
}

// Were the requests behind it served, their answers would come before the end.
func behindBroken(tr *trial) {
	s := tr.session()
	s.write(frame(fin|3, "") + text(pingText) + text(pingText))
	s.wantClose(1002)
	s.wantEnd()
}

func behindClose(tr *trial) {
	s := tr.session()
	s.write(frame(fin|opClose, closePayload(1000, "")) + text(pingText) + frame(fin|opPing, "x") + "\xff\xff\xff")
	s.wantClose(1000)
	s.wantEnd()
}

// The server's end of TCP may be half closed at once; it must be gone when the time is over, which a
// client that goes on sending learns from a reset.
func endAfterClose(tr *trial) {
	s := tr.session()
	s.write(frame(fin|3, ""))
	s.wantClose(1002)
	deadline := time.Now().Add(10*time.Second + patience/2)
	for s.tryWrite(text(pingText)) == nil {
		if time.Now().After(deadline) {
			tr.Fatalf("the connection still takes bytes %v after the server's Close", 10*time.Second+patience/2)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func endAfterClientsClose(tr *trial) {
	for range 5 {
		s := tr.session()
		s.write(frame(fin|opClose, closePayload(1001, "going away")))
		s.wantClose(1001)
		s.wantEnd()
	}
}

func resetsInFrames(tr *trial) {
	partition := tr.partition()
	stays, app := tr.forApp()
	for _, sent := range []string{
		"", text(pingText)[:1], text(pingText)[:4], text(pingText)[:20], text(pingText), frame(opText, pingText),
		frame(opText, "x") + frame(opContinuation, "y")[:5], frameHead(fin|opText, messageLimitBytes), frame(fin|opPing, "x"),
		frame(fin|opClose, ""), frame(fin|3, ""), strings.Repeat(text(pingText), 200),
	} {
		for range 3 {
			gone := tr.session()
			gone.listen(appRule(app))
			gone.write(sent)
			gone.reset()
			stays.wantPushes(partition, tr.produce(partition, appRecord(app))...)
		}
	}
	tr.wantServing()
}

func endsWithoutClose(tr *trial) {
	for _, sent := range []string{"", text(pingText)[:4], text(pingText), frame(opText, pingText)} {
		s := tr.session()
		s.write(sent)
		if err := s.conn.CloseWrite(); err != nil {
			tr.Fatalf("end of what is written: %v", err)
		}
		_, _ = s.readEnd() // answers, and any end
	}
	tr.wantServing()
}
