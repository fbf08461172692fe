// Package reactor is the production network layer: a gnet engine whose event loops own the sockets and
// the sessions. It turns bytes into whole messages and payloads into frames, and knows nothing of
// rules and records.
//
//	accept -> head complete? -> good upgrade: frames <-> monitor.Session
//	                         -> plain HTTP, or a bad upgrade: handed to net/http over the same socket
//	                         -> neither: refused
//
// Everything of a connection belongs to its event loop. Three things reach a loop from outside, all
// through EventLoop.Execute: the tick of its clock, a shard's waiting records, and the end.
package reactor
