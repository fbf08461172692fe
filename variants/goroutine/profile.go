package main

import (
	"time"

	"github.com/gorilla/websocket"
)

// profile is what the two ways to keep a connection differ in.
type profile struct {
	upgrader  websocket.Upgrader
	keepAlive time.Duration // of TCP, as net.ListenConfig understands it
	// serve runs a connection, in the goroutine of the HTTP handler or in one of its own.
	serve      func(c *conn)
	newOutbox  func(c *conn) outbox
	maxWaiting int // messages that may wait for a client; the budget bounds their bytes
	// walkPings: the shard sends the pings, not each connection's writer.
	walkPings bool
	// takeBuffer and giveBuffer lend what a message is read into.
	takeBuffer func() []byte
	giveBuffer func([]byte)
}

var profiles = map[string]func() profile{"plain": plain, "tuned": tuned}
