package client

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// diary writes down what the handler hears.
type diary struct {
	entries  []string
	received int
	onText   func(i int)
	silent   bool
}

func (d *diary) Opened(i int, _, _ int64) { d.entries = append(d.entries, fmt.Sprintf("%d opened", i)) }

func (d *diary) Received(i int, text bool, payload []byte, _ int64) {
	d.received++
	if d.silent {
		return
	}
	d.entries = append(d.entries, fmt.Sprintf("%d text=%v %s", i, text, payload))
	if d.onText != nil {
		d.onText(i)
	}
}

func (d *diary) Closed(i int, err error) {
	d.entries = append(d.entries, fmt.Sprintf("%d closed: %v", i, err))
}

// pair is a loop whose connection 0 is one end of a socket pair, driven by hand: each write is one read.
type pair struct {
	loop *Loop
	far  int
}

func newPair(t testing.TB, d *diary, s state) *pair {
	t.Helper()
	loop, err := New(Config{Connections: 1, MaxMessageBytes: testLimit, Seed: 1, Timeout: time.Minute}, d)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	loop.conns[0] = conn{fd: int32(ends[0]), state: s}
	event := unix.EpollEvent{Events: unix.EPOLLIN}
	if err := unix.EpollCtl(loop.epoll, unix.EPOLL_CTL_ADD, ends[0], &event); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := loop.closeAll(); err != nil {
			t.Error(err)
		}
		if err := unix.Close(ends[1]); err != nil {
			t.Error(err)
		}
	})
	return &pair{loop: loop, far: ends[1]}
}

func (p *pair) say(t testing.TB, b []byte) {
	t.Helper()
	if len(b) == 0 {
		return
	}
	if n, err := unix.Write(p.far, b); n != len(b) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(b), err)
	}
	p.loop.handle(unix.EpollEvent{Events: unix.EPOLLIN, Pad: int32(p.loop.conns[0].generation)})
}

// conversation is everything a server may say, and what the handler must hear of it.
func conversation(l *Loop) (bytes []byte, heard []string) {
	accept := acceptFor(l.key(0, 0))
	bytes = []byte(strings.Replace(goodAnswer, sampleAccept, string(accept[:]), 1))
	for _, f := range [][]byte{
		serverFrame(0x81, []byte("hello 代练")),
		serverFrame(0x89, []byte("are you there")),
		serverFrame(0x01, []byte("be")),
		serverFrame(0x80, []byte("fore")),
		serverFrame(0x8a, nil),
		serverFrame(0x01, []byte("o\xe4")),
		serverFrame(0x89, []byte("in between")),
		serverFrame(0x00, []byte("\xbb\xa3n")),
		serverFrame(0x80, []byte("e")),
		serverFrame(0x82, []byte(strings.Repeat("b", 200))),
		serverFrame(0x88, []byte("\x03\xe9going away")),
	} {
		bytes = append(bytes, f...)
	}
	return bytes, []string{
		"0 opened", "0 text=true hello 代练", "0 text=true before", "0 text=true o代ne",
		"0 text=false " + strings.Repeat("b", 200), `0 closed: closed by the server with 1001 "going away"`,
	}
}

func TestConversationSplitAtEveryByte(t *testing.T) {
	for cut := 0; ; cut++ {
		d := &diary{}
		p := newPair(t, d, upgrading)
		all, heard := conversation(p.loop)
		if cut > len(all) {
			return
		}
		p.say(t, all[:cut])
		p.say(t, all[cut:])
		if got, want := strings.Join(d.entries, "\n"), strings.Join(heard, "\n"); got != want {
			t.Fatalf("cut at byte %d:\n%s\nwant\n%s", cut, got, want)
		}
		p.expectAnswers(t, cut)
		if n := p.loop.PingsAnswered(); n != 2 {
			t.Fatalf("cut at byte %d: %d pings are counted", cut, n)
		}
		if n := len(p.loop.unfinished); n != 0 {
			t.Fatalf("cut at byte %d: %d buffers kept", cut, n)
		}
	}
}

func TestConversationByteByByte(t *testing.T) {
	d := &diary{}
	p := newPair(t, d, upgrading)
	all, heard := conversation(p.loop)
	for i := range all {
		p.say(t, all[i:i+1])
	}
	if got, want := strings.Join(d.entries, "\n"), strings.Join(heard, "\n"); got != want {
		t.Errorf("heard\n%s\nwant\n%s", got, want)
	}
	p.expectAnswers(t, -1)
}

// expectAnswers reads what the client said: a pong for each ping, and its own Close with the same code.
func (p *pair) expectAnswers(t *testing.T, cut int) {
	t.Helper()
	b := make([]byte, 4096)
	n, err := unix.Read(p.far, b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for b = b[:n]; len(b) > 0; {
		if b[1]&0x80 == 0 {
			t.Fatalf("cut at byte %d: the client sent an unmasked frame: % x", cut, b)
		}
		length := int(b[1] & 0x7f)
		payload := b[6 : 6+length]
		for i := range payload {
			payload[i] ^= b[2+i%4]
		}
		got = append(got, fmt.Sprintf("%x:%s", b[0], payload))
		b = b[6+length:]
	}
	if want := "8a:are you there 8a:in between 88:\x03\xe9"; strings.Join(got, " ") != want {
		t.Errorf("cut at byte %d: the client answered %q, want %q", cut, strings.Join(got, " "), want)
	}
}

func TestFrameLargerThanTheReadBuffer(t *testing.T) {
	d := &diary{silent: true}
	p := newPair(t, d, open)
	large := serverFrame(0x82, make([]byte, 3*readBufferBytes))
	for len(large) > 0 {
		n := min(len(large), 50_000)
		p.say(t, large[:n])
		large = large[n:]
	}
	for range 4 { // level-triggered: epoll would go on telling
		p.loop.handle(unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if d.received != 1 || len(p.loop.unfinished) != 0 || len(p.loop.spare) != 0 {
		t.Errorf("received %d messages, %d buffers kept, %d spare", d.received, len(p.loop.unfinished), len(p.loop.spare))
	}
}

func TestViolationClosesAtOnce(t *testing.T) {
	d := &diary{}
	p := newPair(t, d, open)
	p.say(t, append(serverFrame(0x81, []byte("fine")), 0x81, 0x85))
	want := "0 text=true fine\n0 closed: protocol error: masked frame from the server"
	if got := strings.Join(d.entries, "\n"); got != want {
		t.Errorf("heard\n%s\nwant\n%s", got, want)
	}
}

func TestHandlerMayCloseWhileMessagesWait(t *testing.T) {
	d := &diary{}
	p := newPair(t, d, open)
	d.onText = func(i int) {
		if err := p.loop.Close(i); err != nil {
			t.Error(err)
		}
	}
	two := append(serverFrame(0x81, []byte("first")), serverFrame(0x81, []byte("second"))...)
	p.say(t, append(two, 0x81))
	if got, want := strings.Join(d.entries, "\n"), "0 text=true first"; got != want {
		t.Errorf("heard\n%s\nwant\n%s", got, want)
	}
	if err := p.loop.Send(0, []byte("x")); err != ErrNotOpen {
		t.Errorf("Send on a closed connection: %v", err)
	}
	if n := len(p.loop.unfinished); n != 0 {
		t.Errorf("%d buffers kept for a closed connection", n)
	}
}

func TestEventOfAnEarlierSocketIsIgnored(t *testing.T) {
	d := &diary{}
	p := newPair(t, d, connecting)
	p.loop.conns[0].generation = 7
	p.loop.handle(unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLHUP, Pad: 6})
	if len(d.entries) != 0 || p.loop.conns[0].state != connecting {
		t.Errorf("heard %v, state %d", d.entries, p.loop.conns[0].state)
	}
}

func TestIdleConnectionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 32 {
		t.Errorf("an idle connection takes %d bytes", size)
	}
}

func TestReceivingDoesNotAllocate(t *testing.T) {
	d := &diary{silent: true}
	p := newPair(t, d, open)
	push := serverFrame(0x81, []byte(strings.Repeat("p", 400)))
	if n := testing.AllocsPerRun(100, func() { p.say(t, push) }); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
	half := len(push) / 2
	if n := testing.AllocsPerRun(100, func() { p.say(t, push[:half]); p.say(t, push[half:]) }); n != 0 {
		t.Errorf("%v allocations per message in two parts", n)
	}
}
