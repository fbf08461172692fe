package main

import (
	"fmt"

	"github.com/gorilla/websocket"

	"chatmonitor/server/monitor"
)

// outbox is the way out of a connection: what waits for its writer, and the writer. Its methods never
// block, and may be called from any goroutine.
type outbox interface {
	// add has m written after everything that was added before.
	add(m *message) verdict
	// crowded says whether the writer should come to write before m is added.
	crowded(m *message) bool
	// close has last written after everything that was added, and nothing after it. Without last,
	// nothing more is written at all; TCP is ended besides.
	close(last *message)
}

// verdict is what became of a message.
type verdict uint8

const (
	taken   verdict = iota
	over            // the connection would be over its outbound budget
	tooLate         // the outbox is closed
)

// message is a WebSocket message on its way out. One message may be on its way to many connections.
type message struct {
	kind     int
	payload  []byte
	prepared *websocket.PreparedMessage // the frame of all receivers; nil: payload is framed for each
	bytes    int                        // of the frame
	account  *monitor.Account           // to be told what becomes of it; nil: not a record's
}

func newMessage(kind int, payload []byte) *message {
	return &message{kind: kind, payload: payload, bytes: frameBytes(len(payload))}
}

// prepare frames a push for all its receivers.
func prepare(payload []byte, account *monitor.Account) any {
	prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, payload)
	if err != nil {
		panic(fmt.Sprintf("goroutine: a text message cannot be framed: %v", err))
	}
	return &message{kind: websocket.TextMessage, prepared: prepared, bytes: frameBytes(len(payload)), account: account}
}

func closeMessage(reason monitor.Reason) *message {
	if reason.CloseCode() == 0 {
		return nil
	}
	return newMessage(websocket.CloseMessage, websocket.FormatCloseMessage(int(reason.CloseCode()), reason.CloseText()))
}

// frameBytes is the length of an unmasked frame (RFC 6455 5.2).
func frameBytes(payload int) int {
	switch {
	case payload < 126:
		return 2 + payload
	case payload < 1<<16:
		return 4 + payload
	}
	return 10 + payload
}
