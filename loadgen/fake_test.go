package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what a working program does at once.
const patience = 60 * time.Second

// fakeServer speaks just enough of the chat protocol, and makes the mistakes it is told to. It is its own Kafka.
type fakeServer struct {
	*httptest.Server
	handlers sync.WaitGroup

	mu       sync.Mutex
	wrongs   mistakes
	upgrades int
	sessions map[int][]*fakeSession // by group
	seq      int
	offsets  [4]int64
}

// mistakes are what a fake server does other than it should; the zero value does everything right.
type mistakes struct {
	tamper   func(seq int, push []byte) [][]byte // what is sent instead of a push
	answer   func(request []byte) []byte         // what is sent instead of an answer; nil for the usual
	raw      func(c net.Conn, push []byte) bool  // writes the push itself
	refuse   func(n int) bool                    // whether the n-th upgrade is refused
	producer producer                            // is given to the program instead of the fake server itself
}

func (f *fakeServer) misbehave(how mistakes) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrongs = how
}

func (f *fakeServer) mistakes() mistakes {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wrongs
}

type fakeSession struct {
	c  *websocket.Conn
	mu sync.Mutex // one writer at a time
}

func (s *fakeSession) write(message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.c.WriteMessage(websocket.TextMessage, message) // a client that is gone hears nothing
}

func newFakeServer(t *testing.T) *fakeServer {
	t.Helper()
	f := &fakeServer{sessions: map[int][]*fakeSession{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.shut)
	return f
}

func (f *fakeServer) url() string { return "ws" + strings.TrimPrefix(f.URL, "http") + "/ws" }

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.handlers.Add(1)
	defer f.handlers.Done()
	f.mu.Lock()
	f.upgrades++
	refused := f.wrongs.refuse != nil && f.wrongs.refuse(f.upgrades)
	f.mu.Unlock()
	if refused {
		http.Error(w, "full", http.StatusServiceUnavailable)
		return
	}
	upgrader := websocket.Upgrader{}
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the client says so
	}
	defer func() { _ = c.Close() }()
	session := &fakeSession{c: c}
	for {
		_, request, err := c.ReadMessage()
		if err != nil {
			return
		}
		f.serve(session, request)
	}
}

func (f *fakeServer) serve(session *fakeSession, request []byte) {
	if lie := f.mistakes().answer; lie != nil {
		if answer := lie(request); answer != nil {
			session.write(answer)
			return
		}
	}
	var r struct {
		Path   string
		ID     json.RawMessage
		Params json.RawMessage
	}
	if err := json.Unmarshal(request, &r); err != nil {
		panic(fmt.Sprintf("the client wrote %q: %v", request, err))
	}
	switch r.Path {
	case "/listen":
		f.listen(session, r.Params)
		session.write(fmt.Appendf(nil, `{"path":"/listen","id":%s,"result":{"rule_id":"1"}}`, r.ID))
	case "/ping":
		session.write(fmt.Appendf(nil, `{"path":"/ping","id":%s,"result":{"time":%d,"echo":%s}}`, r.ID, time.Now().UnixMilli(), r.Params))
	default:
		panic("the client asked for " + r.Path)
	}
}

func (f *fakeServer) listen(session *fakeSession, params []byte) {
	var p struct {
		Rule struct {
			AppID    int `json:"app_id"`
			ServerID int `json:"server_id"`
		}
	}
	if err := json.Unmarshal(params, &p); err != nil || p.Rule.AppID != 1 {
		panic(fmt.Sprintf("rule %s: %v", params, err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[p.Rule.ServerID] = append(f.sessions[p.Rule.ServerID], session)
}

// open makes the fake server a producer's other end.
func (f *fakeServer) open(context.Context, feedFlags) (producer, error) {
	if other := f.mistakes().producer; other != nil {
		return other, nil
	}
	return f, nil
}

// Produce implements producer: the record goes to its group at once.
func (f *fakeServer) Produce(value []byte, acknowledged func(int32, int64, error)) {
	var record struct {
		ServerID int `json:"server_id"`
	}
	if err := json.Unmarshal(value, &record); err != nil {
		panic(fmt.Sprintf("record %q: %v", value, err))
	}
	f.mu.Lock()
	seq, partition := f.seq, int32(f.seq%len(f.offsets))
	offset := f.offsets[partition]
	f.seq++
	f.offsets[partition]++
	sessions := f.sessions[record.ServerID]
	f.mu.Unlock()
	push := fmt.Appendf(nil, `{"path":"/chat","params":{"cursor":{"partition":%d,"offset":%d},"record":%s}}`, partition, offset, value)
	for _, session := range sessions {
		f.deliver(session, seq, push)
	}
	acknowledged(partition, offset, nil)
}

func (f *fakeServer) deliver(session *fakeSession, seq int, push []byte) {
	wrongs := f.mistakes()
	if wrongs.raw != nil && wrongs.raw(session.c.NetConn(), push) {
		return
	}
	pushes := [][]byte{push}
	if wrongs.tamper != nil {
		pushes = wrongs.tamper(seq, push)
	}
	for _, push := range pushes {
		session.write(push)
	}
}

// Close implements producer, and hides the HTTP server's Close, which the test's end calls.
func (f *fakeServer) Close() {}

// shut ends the HTTP server and the sockets it gave away.
func (f *fakeServer) shut() {
	f.mu.Lock()
	for _, group := range f.sessions {
		for _, session := range group {
			_ = session.c.Close()
		}
	}
	f.mu.Unlock()
	f.Server.Close()
	f.handlers.Wait()
}

// finished is a run that has ended.
type finished struct {
	code           int
	stdout, stderr string
	result         result
}

// runLoadgen runs a command line against the fake server and reads the JSON result, if there is one.
func runLoadgen(t *testing.T, f *fakeServer, args ...string) finished {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, openProducer: f.open}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args = append(args, "--url", f.url(), "--json", "--quiet")
	done := finished{code: p.run(ctx, args), stdout: stdout.String(), stderr: stderr.String()}
	if done.stdout != "" {
		decoder := json.NewDecoder(strings.NewReader(done.stdout))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&done.result); err != nil {
			t.Fatalf("result %q: %v", done.stdout, err)
		}
		if _, err := decoder.Token(); err != io.EOF {
			t.Fatalf("something follows the result: %q", done.stdout)
		}
	}
	return done
}
