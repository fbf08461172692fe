package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatmonitor/server/chat"
)

// newBareServer has one loop without sockets.
func newBareServer(c config) *server {
	s := &server{config: c, conns: make([]atomic.Uint32, 1)}
	s.loops = []*loop{{server: s, inbox: make(chan []byte, inboxFrames), unfinished: map[int][]byte{}, unsent: map[int][]byte{}}}
	return s
}

func TestPushToTheFirst(t *testing.T) {
	for _, loops := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d loops", loops), func(t *testing.T) {
			const receivers, others = 5, 4
			s := start(t, config{Loops: loops, Receivers: receivers})
			open(t, s, "/echo").sync() // takes no place
			var peers []*peer
			for range receivers + others {
				peers = append(peers, open(t, s, "/ws"))
			}
			var want []string
			for i := range 300 {
				record := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", i))
				want = append(want, publish(t, s, int64(i), record))
			}
			for i, p := range peers {
				for at := 0; i < receivers && at < len(want); at++ {
					if got := p.message(); got != want[at] {
						t.Fatalf("receiver %d, push %d: got %.100s", i, at, got)
					}
				}
				p.sync() // and nothing more
			}
		})
	}
}

func TestAPlaceIsTakenOver(t *testing.T) {
	s := start(t, config{Loops: 1, Receivers: 1})
	first, second := open(t, s, "/ws"), open(t, s, "/ws")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	awaitConnections(t, s, 1)
	third := open(t, s, "/ws")
	want := publish(t, s, 1, `{}`)
	if got := third.message(); got != want {
		t.Errorf("the one that came after the place was free got %s", got)
	}
	second.sync()
}

func TestWithoutReceiversNothingIsKept(t *testing.T) {
	s := newBareServer(config{})
	for i := range 2 * inboxFrames {
		publish(t, s, int64(i), `{}`)
	}
	if n := len(s.loops[0].inbox); n > 0 {
		t.Errorf("%d frames wait for nobody", n)
	}
}

func TestPublishWaitsForAFullInbox(t *testing.T) {
	s := newBareServer(config{Receivers: 1})
	l := s.loops[0]
	l.receiving.Store(1)
	l.rung.Store(true) // nobody to wake
	for i := range inboxFrames {
		publish(t, s, int64(i), `{}`)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Publish(ctx, chat.Cursor{}, time.Time{}, []byte(`{}`), chat.Record{}) }()
	<-l.inbox
	if err := <-done; err != nil {
		t.Errorf("there was room again: %v", err)
	}
	cancel()
	if err := s.Publish(ctx, chat.Cursor{}, time.Time{}, []byte(`{}`), chat.Record{}); !errors.Is(err, context.Canceled) {
		t.Errorf("full, and the end: %v", err)
	}
}

// TestAStalledReceiver does not read: the others get everything meanwhile, and it is closed for it.
func TestAStalledReceiver(t *testing.T) {
	s := start(t, config{Loops: 1, Receivers: 3})
	first, stalled, last := open(t, s, "/ws"), open(t, s, "/ws"), open(t, s, "/ws")
	if err := stalled.Conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	record := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 60_000))
	const enough = 16 << 20 // many times what the socket buffers and the limit come to
	pushes := int64(0)
	for s.loops[0].receiving.Load() == 3 {
		if pushes++; int(pushes)*len(record) > enough {
			t.Fatalf("%d bytes were taken for a receiver that does not read", enough)
		}
		want := publish(t, s, pushes, record)
		for _, p := range []*peer{first, last} {
			if got := p.message(); got != want {
				t.Fatalf("push %d: got %.100s", pushes, got)
			}
		}
	}
	for _, p := range []*peer{first, last} {
		p.sync()
	}
	got, want := 0, int(pushes)
	for {
		if _, err := stalled.reader.Discard(len(record)); err != nil {
			break
		}
		got++
	}
	if got >= want {
		t.Errorf("the stalled receiver was closed, and had all %d pushes", want)
	}
}

// TestAReceiverThatCatchesUp stalls for less than what is kept, and loses nothing.
func TestAReceiverThatCatchesUp(t *testing.T) {
	s := start(t, config{Loops: 1, Receivers: 1})
	p := open(t, s, "/ws")
	record := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 30_000))
	var want []string
	for i := range 30 {
		want = append(want, publish(t, s, int64(i), record))
	}
	for i := range want {
		if got := p.message(); got != want[i] {
			t.Fatalf("push %d: got %.100s", i, got)
		}
	}
	p.sync()
}
