// Package monitor is the core: it holds the sessions and their rules, decides which record goes to
// whom, and routes clients' requests. It takes whole messages and hands back payloads and close
// reasons; it knows no socket, no broker and no HTTP, and it reads a clock only where Options hands
// it one.
//
//	feed --Hub.Publish--> inbox of each Shard --Work, on the shard's goroutine--> Conn.Push
//	client text --Session.Receive, on the shard's goroutine--> Router --> Conn.Push
//
// A Shard is single-goroutine: its sessions and their rules belong to one goroutine (in the reactor,
// an event loop), and nothing in it is locked. Hub and the shard's inbox are the wrapper that other
// goroutines may call.
package monitor
