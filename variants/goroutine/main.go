// Command goroutine is the server on the network layer that Go suggests: net/http, gorilla/websocket and
// a goroutine for each connection. It exists so that the reactor's advantage is measured and not
// believed; everything but the network is the server's own.
//
//	accept -> net/http -> plain request: app's handler
//	                   -> good upgrade:  conn, one reader goroutine
//	reader --whole message--> shard's goroutine --> monitor.Session --> outbox --> writer goroutine
//
// There are two profiles, which differ in what a connection costs while it is idle. plain is what
// tutorials do, well made: reader and writer for as long as the connection lives, buffers of the default
// sizes, a channel of messages. tuned is every saving that leaves one goroutine to each connection.
package main

import "chatmonitor/server/app"

func main() { app.Main(&network{}) }
