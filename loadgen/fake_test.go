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
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

// asProgram makes the test binary the program itself, for tests with several processes.
const asProgram = "LOADGEN_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// patience is for what a working program does at once.
const patience = 60 * time.Second

// fakeServer speaks just enough of the chat protocol, and makes the mistakes it is told to. It is its own Kafka.
type fakeServer struct {
	*httptest.Server
	handlers sync.WaitGroup

	mu       sync.Mutex
	wrongs   mistakes
	upgrades int
	sockets  []*websocket.Conn
	arrivals []*fakeSession         // in the order of their upgrades
	sessions map[int][]*fakeSession // by group
	seq      int
	offsets  [4]int64
}

// mistakes are what a fake server does other than it should; the zero value does everything right.
type mistakes struct {
	tamper   func(seq int, push []byte) [][]byte // what is sent instead of a push
	answer   func(request []byte) []byte         // what is sent instead of an answer; nil for the usual
	echo     func(message []byte) [][]byte       // what is sent instead of an echo
	raw      func(c net.Conn, push []byte) bool  // writes the push itself
	refuse   func(n int) bool                    // whether the n-th upgrade is refused
	upgrade  func()                              // called before an upgrade is answered
	floor    int                                 // every record goes to the first so many that upgraded, whatever their rules
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

// fakeSession has a bounded queue, so that a client that does not read holds up nobody.
type fakeSession struct {
	c     *websocket.Conn
	queue chan []byte
	ended chan struct{}
	group int // of its last rule
}

const (
	fakeQueue    = 300
	fakePatience = 500 * time.Millisecond
)

func (s *fakeSession) write(message []byte) {
	select {
	case s.queue <- message:
	case <-s.ended:
	case <-time.After(fakePatience):
		_ = s.c.Close() // too slow
	}
}

func (s *fakeSession) writeAll() {
	for {
		select {
		case message := <-s.queue:
			_ = s.c.WriteMessage(websocket.TextMessage, message) // a client that is gone hears nothing
		case <-s.ended:
			return
		}
	}
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
	if pause := f.mistakes().upgrade; pause != nil {
		pause()
	}
	upgrader := websocket.Upgrader{}
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the client says so
	}
	defer func() { _ = c.Close() }()
	_ = c.NetConn().(*net.TCPConn).SetWriteBuffer(16 << 10) // the kernel is not to read in a client's place
	session := &fakeSession{c: c, queue: make(chan []byte, fakeQueue), ended: make(chan struct{})}
	f.mu.Lock()
	f.sockets = append(f.sockets, c)
	f.arrivals = append(f.arrivals, session)
	f.mu.Unlock()
	defer close(session.ended)
	defer f.forget(session)
	f.handlers.Go(session.writeAll)
	for {
		_, request, err := c.ReadMessage()
		if err != nil {
			return
		}
		if strings.HasSuffix(r.URL.Path, "/echo") {
			f.echo(session, request)
		} else {
			f.serve(session, request)
		}
	}
}

func (f *fakeServer) forget(gone *fakeSession) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for group, sessions := range f.sessions {
		f.sessions[group] = slices.DeleteFunc(slices.Clone(sessions), func(s *fakeSession) bool { return s == gone })
	}
}

func (f *fakeServer) echo(session *fakeSession, message []byte) {
	if lie := f.mistakes().echo; lie != nil {
		for _, answer := range lie(message) {
			session.write(answer)
		}
		return
	}
	session.write(message)
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
	session.group = p.Rule.ServerID
	f.sessions[p.Rule.ServerID] = append(f.sessions[p.Rule.ServerID], session)
}

// listeners counts the sessions that are up and have a group's rule.
func (f *fakeServer) listeners(group int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sessions[group])
}

// sessionsUp counts the sessions that have a rule.
func (f *fakeServer) sessionsUp() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, sessions := range f.sessions {
		n += len(sessions)
	}
	return n
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
	partition, offset := f.place()
	f.push(value, partition, offset)
	acknowledged(partition, offset, nil)
}

// place gives the next record's place in Kafka.
func (f *fakeServer) place() (partition int32, offset int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	partition = int32(f.seq % len(f.offsets))
	f.offsets[partition]++
	return partition, f.offsets[partition] - 1
}

// push delivers a record that lies at a place in Kafka.
func (f *fakeServer) push(value []byte, partition int32, offset int64) {
	var record struct {
		ServerID int `json:"server_id"`
	}
	if err := json.Unmarshal(value, &record); err != nil {
		panic(fmt.Sprintf("record %q: %v", value, err))
	}
	f.mu.Lock()
	seq := f.seq
	f.seq++
	sessions := f.sessions[record.ServerID]
	if floor := f.wrongs.floor; floor > 0 {
		sessions = slices.Clone(f.arrivals[:min(floor, len(f.arrivals))])
	}
	f.mu.Unlock()
	push := fmt.Appendf(nil, `{"path":"/chat","params":{"cursor":{"partition":%d,"offset":%d},"record":%s}}`, partition, offset, value)
	for _, session := range sessions {
		f.deliver(session, seq, push)
	}
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
	for _, c := range f.sockets {
		_ = c.Close()
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

// withURL adds the server's, if the arguments name none.
func withURL(args []string, f *fakeServer) []string {
	if slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--url=") }) {
		return args
	}
	return append(args, "--url="+f.url())
}

// runLoadgen runs a command line against the fake server and reads the JSON result, if there is one.
func runLoadgen(t *testing.T, f *fakeServer, args ...string) finished {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, openProducer: f.open, executable: os.Args[0]}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args = append(withURL(args, f), "--json", "--quiet")
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
