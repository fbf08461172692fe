// Package stack starts what a measurement needs and takes it down again: a
// Kafka broker, and the server and load generator as child processes.
//
//	Broker (container | embedded kfake | external address)
//	    ^ records              ^ records
//	Process: server  <------  Process: loadgen
//	    stderr -> run folder      stdout: events, stdin: gates
//
// It runs binaries and knows nothing of what is inside them, takes no
// measurements and decides nothing about results.
package stack
