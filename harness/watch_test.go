package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// chatServer answers /listen requests, each refused or not, and then does its own.
type chatServer struct {
	refuse string // rules with this in them are refused
	early  []string
	then   func(*websocket.Conn)
}

func (s chatServer) serve(t *testing.T) (url string) {
	t.Helper()
	upgrader := websocket.Upgrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ws" {
			http.NotFound(w, r)
			return
		}
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // the client was told
		}
		defer conn.Close()
		s.talk(conn)
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/ws"
}

func (s chatServer) talk(conn *websocket.Conn) {
	for {
		var request struct {
			ID     int `json:"id"`
			Params struct {
				Rule map[string]any `json:"rule"`
			} `json:"params"`
		}
		if conn.ReadJSON(&request) != nil {
			return
		}
		for _, text := range s.early {
			send(conn, text)
		}
		if s.refuse != "" && strings.Contains(fmt.Sprint(request.Params.Rule), s.refuse) {
			send(conn, fmt.Sprintf(`{"path":"/listen","id":%d,"error":{"code":"bad_rule","message":"no such field"}}`, request.ID))
			continue
		}
		send(conn, fmt.Sprintf(`{"path":"/listen","id":%d,"result":{"rule_id":"r%d"}}`, request.ID, request.ID))
		if s.then != nil {
			s.then(conn)
		}
	}
}

// send is for a server whose client may leave at any time.
func send(conn *websocket.Conn, text string) {
	_ = conn.WriteMessage(websocket.TextMessage, []byte(text))
}

const (
	fullPush = `{"path":"/chat","params":{"cursor":{"partition":3,"offset":12345},"record":{"app_id":19,"agent_id":29,"server_id":6558,"pid":1643890670000002,"name":"刀客","channel":"world","text":"代练 <3","ts":1644568978123}}}`
	barePush = "{\"path\":\"/chat\",\"params\":{\"cursor\":{\"partition\":0,\"offset\":1},\"record\":{\n \"pid\": \"9007199254740993\",\n \"text\":\"a\\u001b[2Jb\\nc\"}}}"
)

func pushes(texts ...string) func(*websocket.Conn) {
	return func(conn *websocket.Conn) {
		for _, text := range texts {
			send(conn, text)
		}
	}
}

func TestWatchPrintsPushes(t *testing.T) {
	at := time.UnixMilli(1644568978123).Format(time.TimeOnly)
	tests := []struct{ flags, want string }{
		{"", at + "  19/29/6558  world    刀客 (1643890670000002): 代练 <3  @3:12345\n" +
			"--:--:--  -/-/-  -        - (9007199254740993): a\\u001b[2Jb\\u000ac  @0:1\n"},
		{"--json", fullPush + "\n" +
			`{"path":"/chat","params":{"cursor":{"partition":0,"offset":1},"record":{"pid":"9007199254740993","text":"a\u001b[2Jb\nc"}}}` + "\n"},
	}
	notice := `{"path":"/notice","params":{"kind":"feed_stalled"}}`
	url := chatServer{then: pushes(fullPush, notice, `{"path":"/novelty"}`, barePush, fullPush)}.serve(t)
	for _, test := range tests {
		args := append([]string{"watch", "--url=" + url, "--count=2"}, strings.Fields(test.flags)...)
		c := start(t.Context(), nil, args...)
		c.want(t, 0)
		if got := c.stdout.String(); got != test.want {
			t.Errorf("%s printed\n%swant\n%s", test.flags, got, test.want)
		}
		wantIn(t, c.stderr.String(), "rules: 1", `notice: {"kind":"feed_stalled"}`)
	}
}

func TestWatchKeepsPushesThatComeBeforeTheAnswer(t *testing.T) {
	url := chatServer{early: []string{fullPush}}.serve(t)
	c := start(t.Context(), nil, "watch", "--url="+url, "--rule={}", "--count=1")
	c.want(t, 0)
	wantIn(t, c.stdout.String(), "@3:12345")
}

func TestWatchWithARefusedRule(t *testing.T) {
	url := chatServer{refuse: "colour"}.serve(t)
	c := start(t.Context(), nil, "watch", "--url="+url, `--rule={"app_id":[1,2]}`, `--rule={"colour":"red"}`)
	c.want(t, 1)
	wantIn(t, c.stderr.String(), `refused the rule {"colour":"red"}: bad_rule: no such field`)
}

func TestWatchWhenTheServerGoes(t *testing.T) {
	closeWith := func(code int) func(*websocket.Conn) {
		return func(conn *websocket.Conn) {
			_ = conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, "bye"))
		}
	}
	tests := []struct {
		name string
		then func(*websocket.Conn)
		want string
	}{
		{"restart", closeWith(websocket.CloseServiceRestart), "going down for a restart"},
		{"too slow", closeWith(websocket.CloseTryAgainLater), "not read fast enough"},
		{"other code", closeWith(websocket.ClosePolicyViolation), "the server is gone"},
		{"no close", func(conn *websocket.Conn) { conn.Close() }, "the server is gone"},
		{"binary", func(conn *websocket.Conn) { _ = conn.WriteMessage(websocket.BinaryMessage, []byte{1}) }, "no chat server"},
		{"no JSON", pushes("hello"), "no message"},
		{"no record", pushes(`{"path":"/chat","params":[]}`), "no record"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			url := chatServer{then: test.then}.serve(t)
			c := start(t.Context(), nil, "watch", "--url="+url)
			c.want(t, 1)
			wantIn(t, c.stderr.String(), test.want)
		})
	}
}

func TestWatchOfNobody(t *testing.T) {
	url := chatServer{}.serve(t)
	elsewhere := start(t.Context(), nil, "watch", "--url="+strings.TrimSuffix(url, "ws")+"elsewhere")
	elsewhere.want(t, 1)
	wantIn(t, elsewhere.stderr.String(), "404 Not Found", "is the path right?")
	nobody := start(t.Context(), nil, "watch", "--url=ws://127.0.0.1:1/ws")
	nobody.want(t, 1)
	wantIn(t, nobody.stderr.String(), "no server at ws://127.0.0.1:1/ws")
}

func TestWatchEndsOnASignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := start(ctx, nil, "watch", "--url="+chatServer{then: pushes(fullPush)}.serve(t))
	c.stdout.await(t, "\n")
	cancel()
	c.want(t, 0)
}
