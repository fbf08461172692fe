// Package reactor is the production network layer: a gnet engine whose event loops own the sockets and
// the sessions. It turns bytes into whole messages and payloads into frames, and knows nothing of
// rules and records.
//
//	accept -> head complete? -> good upgrade: frames <-> monitor.Session
//	                         -> plain HTTP, or a bad upgrade: handed to net/http over the same socket
//	                         -> neither: refused
//
// It speaks WebSocket itself, and no other protocol: whatever net/http understands is net/http's. It
// measures nothing but its loops' time, and it trusts no peer: there is a limit on whatever one may
// send, keep or leave unread (app.Config), a place for each connection, and a time for each phase.
//
// Everything of a connection belongs to its event loop. Three things reach a loop from outside, all
// through EventLoop.Execute: the tick of its clock, a shard's waiting records, and the end.
//
// # What a connection costs
//
// conn is 64 bytes, 12 of which are for the clock and the limits. BenchmarkIdleConnections, with 9,000 sockets on a 2-core machine
// (go1.26): an idle WebSocket takes 474 bytes of live heap, of which gnet has some 400, 565 with the application's
// session, and 856 with a rule of two fields that nobody shares. Buffers exist while something is incomplete or unread.
//
// # Time
//
// A loop has one clock, which ticks every 20 ms. A tick walks over the connections that wait for their heads or
// their ends, over the drain, and over the part of the open ones that is due in a round of a quarter of --idle-ping:
// of a million, 1,334 at the default. All of it shares the 2 ms that a loop may be held, and goes on at the next tick.
//
// # Places
//
// A connection takes a session's place when it is accepted, or else a plain one's. Where there is none, one that
// has not sent its head gives way, of 64 looked at the one that has had the most time; else a plain connection that
// rests between two requests, or whose request has been under way for a second, which a body that does not come and an
// answer that is not read take; else the new one is refused. WebSockets never give way.
//
// # gnet's build tags
//
// None is set. Measured with 19,000 connections on /echo, 3 rounds in turn, on 2 busy cores; CPU per connection:
//
//	tags              connect us       all reset us     RSS after GC, B   echo, us a message
//	none              48.9 53.7 51.6   14.7 12.1 12.1   547 543 550       27.4 30.9 41.7
//	poll_opt          43.7 49.5 53.7   13.2 12.6 13.7   544 557 550       28.6 28.6 33.1
//	gc_opt            48.9 51.6 54.7   33.2 29.5 27.9   578 578 571       28.0 29.7 25.1
//	poll_opt,gc_opt   50.0 53.7 54.2   36.3 30.5 30.5   581 587 584       26.9 30.3 31.4
//
// gc_opt makes a mass disconnect cost two to three times as much, and each connection 30 bytes more. poll_opt saves
// nothing that shows, and keeps pointers in the kernel that the collector does not see. SO_REUSEPORT is on, so that accept and
// OnOpen are one call and no loop accepts ahead of its limit; edge triggering is off, since a packet is read whole anyway.
//
// # What ends the process
//
// An accept that fails for want of memory, or because the whole system has no file left, ends gnet's engine; Serve then
// returns what gnet said. A process without descriptors is kept from that: the last 16 are for refusing. Only a limit that is
// lowered from outside below what is open already leaves none to refuse with.
package reactor
