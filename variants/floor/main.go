// Command floor is the least that a Linux process can do under the load that the servers are measured
// with. It is no server that anybody should run: its figures, taken in the same run and on the same
// machine, are what the servers' figures are divided by.
//
//	listener, SO_REUSEPORT \
//	client sockets ---------> epoll_wait --> one read --> answer in one write
//	eventfd ---------------/             \-> frames that wait --> one write for each receiver
//	   ^
//	feed --framed once--> inbox of each loop that has receivers
//
// There is one such loop for each processor. A client costs the process four bytes, in a table by descriptor,
// besides its socket and its place in epoll, which are the kernel's; buffers exist while a message is incomplete, or
// while a client does not take what is written to it.
//
// What it does: it upgrades GET /ws and GET /echo with a fixed answer, returns messages on /echo, answers
// /listen and /ping on /ws by comparing bytes with what the load generator sends, answers pings and Close
// frames, and writes every record of the feed to the same clients: the first --receivers that upgraded on
// /ws. Whoever leaves leaves the place to the next that upgrades. GET /live and GET /ready are as the
// servers'; anything else is 404.
//
// What it leaves out, all of which the servers have to do:
//
//   - rules: nothing is matched, every receiver gets every record. Under the push load the receivers
//     must therefore be the only group that records go to: loadgen push with --groups=1, and --receivers as here;
//   - JSON: an answer is pieced together from the request's own bytes, and its time is 0;
//   - fragmented messages (Close 1003), text that is not UTF-8 (nobody looks), messages on /ws other than
//     the two above (Close 1003), all of HTTP beyond the first head of a connection;
//   - time: no timeout, no ping of its own, no drain. SIGTERM ends the sockets without a word;
//   - fairness: a record for thousands of receivers is written in one go, meanwhile nobody else is served;
//   - metrics, sessions, configuration from files and the environment.
//
// It is still bounded, whatever the peers do: a frame that is not in order is answered with Close; a message
// is at most 64 KiB on /ws and 16 MiB on /echo, a request's head 16 KiB; a client is not read while it does not
// take its answers; what a receiver does not take is kept up to 1 MiB, then the receiver is closed; so is whoever
// would have a loop keep more than 256 MiB of unfinished messages and answers. Without descriptors it waits for some.
//
// Why the figures are a lower bound for a process that uses one socket per client: such a process must
// hold the socket and have it watched, must be woken, must read each message and must write each push to each
// of its receivers. The floor does these things and next to nothing else, each with one system call, or one for
// several. What the servers share with it stays in: the Kafka client and decoder (server/feed), by far the most
// of a push to few receivers, and Go's runtime; so a ratio to it says what the network layer and the
// application add. What could still be below it: submitting the system calls together (io_uring), which leaves
// the kernel's TCP work as it is. Latencies of a machine whose processors are shared with the load generator
// also depend on who gets a processor first: there, compare CPU time too.
package main

import (
	"context"
	"os"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }
