package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// cursor is a record's place in its topic.
type cursor struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// listener is a client that wants every record and keeps what it gets.
type listener struct {
	conn *websocket.Conn

	mu      sync.Mutex
	pushed  map[int64][]cursor // guarded by mu: by the record's number
	notices []string           // guarded by mu: kinds
	ended   error              // guarded by mu: why nothing comes any more
	grew    chan struct{}      // guarded by mu: closed when there is more
}

// message is what a server sends: an answer, a push or a notice.
type message struct {
	Path   string `json:"path"`
	Result any    `json:"result"`
	Params struct {
		Kind   string `json:"kind"`
		Cursor cursor `json:"cursor"`
		Record struct {
			Number int64 `json:"server_id"`
		} `json:"record"`
	} `json:"params"`
}

// listen connects and returns when every record from now on will be pushed.
func listen(t *testing.T, s *server) *listener {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+s.Address+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{conn: conn, pushed: map[int64][]cursor{}, grew: make(chan struct{})}
	t.Cleanup(func() { conn.Close() })
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"path":"/listen","params":{"rule":{}}}`)); err != nil {
		t.Fatal(err)
	}
	var answer message
	if err := conn.ReadJSON(&answer); err != nil || answer.Path != "/listen" || answer.Result == nil {
		t.Fatalf("the answer to /listen is %+v, %v", answer, err)
	}
	go l.read()
	return l
}

func (l *listener) read() {
	for {
		_, text, err := l.conn.ReadMessage()
		var m message
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		l.take(m, err)
		if err != nil {
			return
		}
	}
}

func (l *listener) take(m message, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.ended = err
	case m.Path == "/chat":
		number := m.Params.Record.Number
		l.pushed[number] = append(l.pushed[number], m.Params.Cursor)
	case m.Path == "/notice":
		l.notices = append(l.notices, m.Params.Kind)
	}
	close(l.grew)
	l.grew = make(chan struct{})
}

// await returns when the condition holds; it is called with l.mu held.
func (l *listener) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		held, ended, grew, notices := holds(), l.ended, l.grew, l.notices
		l.mu.Unlock()
		if held {
			return
		}
		if ended != nil {
			t.Fatalf("the connection ended while waiting for %s: %v", what, ended)
		}
		select {
		case <-grew:
		case <-deadline:
			t.Fatalf("after %v there is no %s; the notices are %q", patience, what, notices)
		}
	}
}

func (l *listener) awaitRecord(t *testing.T, number int64) {
	t.Helper()
	l.await(t, fmt.Sprintf("record %d", number), func() bool { return len(l.pushed[number]) > 0 })
}

// awaitNotice waits for the nth notice of a kind, from 1.
func (l *listener) awaitNotice(t *testing.T, kind string, n int) {
	t.Helper()
	l.await(t, fmt.Sprintf("notice %s, number %d", kind, n), func() bool { return l.countNotices(kind) >= n })
}

// noticed is how many notices of a kind have come.
func (l *listener) noticed(kind string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.countNotices(kind)
}

// countNotices is called with l.mu held.
func (l *listener) countNotices(kind string) (count int) {
	for _, k := range l.notices {
		if k == kind {
			count++
		}
	}
	return count
}

// wantExactly waits for all that was acknowledged and checks that each record came once, from
// where the broker has it, and every partition in order.
func (l *listener) wantExactly(t *testing.T, acknowledged map[int64]cursor) {
	t.Helper()
	missing := func() []int64 {
		var none []int64
		for number := range acknowledged {
			if len(l.pushed[number]) == 0 {
				none = append(none, number)
			}
		}
		return none
	}
	deadline := time.Now().Add(patience)
	for {
		l.mu.Lock()
		left := missing()
		l.mu.Unlock()
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			slices.Sort(left)
			t.Errorf("%d of %d acknowledged records were not pushed, the first of them %d at %+v",
				len(left), len(acknowledged), left[0], acknowledged[left[0]])
			break
		}
		time.Sleep(poll)
	}
	l.wantNoneTwice(t, acknowledged)
}

func (l *listener) wantNoneTwice(t *testing.T, acknowledged map[int64]cursor) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(l.pushed)) {
		at := l.pushed[number]
		if len(at) > 1 {
			t.Errorf("record %d was pushed %d times: from %+v", number, len(at), at)
		}
		if want, ok := acknowledged[number]; ok && at[0] != want {
			t.Errorf("record %d was pushed from %+v; the broker has it at %+v", number, at[0], want)
		}
	}
}
