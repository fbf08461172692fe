package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// watchCommand shows pushed records.
type watchCommand struct {
	URL   string   `name:"url" default:"ws://127.0.0.1:8080/ws" help:"The server's WebSocket endpoint."`
	Rules []string `name:"rule" sep:"none" placeholder:"JSON" help:"What to see, such as '{\"server_id\":6558}'; may be repeated: a record is shown if any rule matches. Default: everything."`
	JSON  bool     `name:"json" help:"Print the pushes as they came, one a line."`
	Count int      `default:"0" placeholder:"N" help:"Leave after N pushes."`
}

// Help is shown with --help.
func (c *watchCommand) Help() string {
	return `A rule names conditions that must all be met; a list in a condition means any of it:
  '{"app_id":19,"server_id":[6558,6559],"channel":"world","keywords":["gold","代练"]}'

Each line shows the time, app/agent/server, channel, player and text, and at its end the record's cursor,
partition:offset. Ctrl-C ends it. Exit codes: 0 fine; 1 a rule was refused, or the server could not be reached or
went away; 2 usage.

Examples:
  harness watch --rule '{"server_id":6558}'
  harness watch --rule '{"keywords":["gold"]}' --rule '{"keywords":["代练"]}' --json --count 10`
}

func (c *watchCommand) validate() error {
	if c.Count < 0 {
		return usageError("--count must not be negative")
	}
	for _, rule := range c.Rules {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(rule), &object); err != nil || object == nil {
			return usageError("--rule %s is no JSON object (quote it for the shell: --rule '{\"server_id\":6558}')", rule)
		}
	}
	return nil
}

// Run connects, sets the rules and prints until the signal, the count or the end
// of the connection.
func (c *watchCommand) Run(ctx context.Context, std streams) error {
	if err := c.validate(); err != nil {
		return err
	}
	if len(c.Rules) == 0 {
		c.Rules = []string{"{}"}
	}
	conn, err := dialWebSocket(ctx, c.URL)
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	defer conn.Close()
	// Reading knows no context: the end of ours closes the connection under it.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	w := &watch{conn: conn, config: c, std: std}
	if err := w.listen(); err != nil {
		return ignoreInterrupt(ctx, err)
	}
	return ignoreInterrupt(ctx, w.print())
}

// ignoreInterrupt: what fails because the user has had enough is no failure.
func ignoreInterrupt(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

const handshakeDeadline = 10 * time.Second

func dialWebSocket(ctx context.Context, url string) (*websocket.Conn, error) {
	dialer := websocket.Dialer{HandshakeTimeout: handshakeDeadline, Proxy: http.ProxyFromEnvironment}
	conn, response, err := dialer.DialContext(ctx, url, nil)
	if response != nil && err != nil {
		return nil, fmt.Errorf("%s answered %s instead of a WebSocket: is the path right?", url, response.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("no server at %s: %w", url, err)
	}
	return conn, nil
}

// watch is one connection with its rules.
type watch struct {
	conn   *websocket.Conn
	config *watchCommand
	std    streams
	early  []message // pushes that came before the last rule was answered
}

// message is anything that the server sends.
type message struct {
	raw    []byte
	Path   string          `json:"path"`
	ID     json.RawMessage `json:"id"`
	Params json.RawMessage `json:"params"`
	Error  *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// listen sets the rules, one after the other, so that a refusal can be laid to
// its rule.
func (w *watch) listen() error {
	for i, rule := range w.config.Rules {
		request := fmt.Sprintf(`{"path":"/listen","id":%d,"params":{"rule":%s}}`, i, rule)
		if err := w.conn.WriteMessage(websocket.TextMessage, []byte(request)); err != nil {
			return gone(err)
		}
		answer, err := w.answer(fmt.Sprint(i))
		if err != nil {
			return err
		}
		if answer.Error != nil {
			return fmt.Errorf("the server refused the rule %s: %s: %s", rule, answer.Error.Code, answer.Error.Message)
		}
	}
	fmt.Fprintf(w.std.stderr, "watching %s, rules: %d; Ctrl-C ends it\n", w.config.URL, len(w.config.Rules))
	return nil
}

func (w *watch) answer(id string) (message, error) {
	for {
		m, err := w.read()
		if err != nil {
			return message{}, err
		}
		if string(m.ID) == id {
			return m, nil
		}
		w.early = append(w.early, m)
	}
}

func (w *watch) read() (message, error) {
	kind, text, err := w.conn.ReadMessage()
	if err != nil {
		return message{}, gone(err)
	}
	m := message{raw: text}
	if kind != websocket.TextMessage {
		return message{}, errors.New("the server sent a binary message: that is no chat server")
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return message{}, fmt.Errorf("the server sent something that is no message: %.200q", text)
	}
	return m, nil
}

// gone says in people's words how the connection ended.
func gone(err error) error {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code == websocket.CloseServiceRestart:
		return fmt.Errorf("the server is going down for a restart (%w)", err)
	case errors.As(err, &closed) && closed.Code == websocket.CloseTryAgainLater:
		return fmt.Errorf("the server ended the connection because it was not read fast enough (%w)", err)
	}
	return fmt.Errorf("the server is gone: %w", err)
}

// print shows pushes until there were enough.
func (w *watch) print() error {
	for shown := 0; w.config.Count == 0 || shown < w.config.Count; {
		m, err := w.next()
		if err != nil {
			return err
		}
		switch m.Path {
		case "/chat":
			shown++
			if err := w.show(m); err != nil {
				return err
			}
		case "/notice":
			fmt.Fprintf(w.std.stderr, "notice: %s\n", printable(string(m.Params)))
		}
	}
	return nil
}

func (w *watch) next() (message, error) {
	if len(w.early) > 0 {
		m := w.early[0]
		w.early = w.early[1:]
		return m, nil
	}
	return w.read()
}

func (w *watch) show(m message) error {
	line, err := describePush(m.Params)
	if w.config.JSON {
		line, err = oneLine(m.raw)
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w.std.stdout, line+"\n"); err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

// oneLine is the message as it came. Only line ends within it, which a producer
// may have left between the fields of its record, are taken out.
func oneLine(raw []byte) (string, error) {
	if !bytes.ContainsAny(raw, "\r\n") {
		return string(raw), nil
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return "", fmt.Errorf("compact the push: %w", err)
	}
	return out.String(), nil
}

// push is the params of a pushed record.
type push struct {
	Cursor struct {
		Partition int32 `json:"partition"`
		Offset    int64 `json:"offset"`
	} `json:"cursor"`
	Record map[string]json.RawMessage `json:"record"`
}

func describePush(params []byte) (string, error) {
	var p push
	if err := json.Unmarshal(params, &p); err != nil {
		return "", fmt.Errorf("the server pushed something that is no record: %.200q", params)
	}
	ids := []string{p.field("app_id"), p.field("agent_id"), p.field("server_id")}
	return fmt.Sprintf("%s  %s  %-7s  %s (%s): %s  @%d:%d", p.time(), strings.Join(ids, "/"), p.field("channel"),
		p.field("name"), p.field("pid"), p.field("text"), p.Cursor.Partition, p.Cursor.Offset), nil
}

const absent = "-"

// field is a record's field as people read it, whatever its type.
func (p push) field(name string) string {
	raw, present := p.Record[name]
	if !present {
		return absent
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return printable(text)
	}
	return printable(string(raw))
}

func (p push) time() string {
	var unixMilliseconds int64
	if json.Unmarshal(p.Record["ts"], &unixMilliseconds) != nil {
		return "--:--:--"
	}
	return time.UnixMilli(unixMilliseconds).Format(time.TimeOnly)
}
