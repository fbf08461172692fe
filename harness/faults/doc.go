// Package faults tests what a server does when Kafka fails: a server of production as a
// process, a broker that is killed, paused or cut off, topics that change, a producer that
// wants every record acknowledged, and a client that keeps every push. It looks from outside,
// and holds the server to this: no record that the broker acknowledged is missed, none is
// pushed twice, /ready and the metrics say what is wrong, and all recovers by itself.
//
// The broker is Apache Kafka in a container where there can be one; see package brokertest.
// The times to recover are in the tests' logs. There is nothing here but tests.
package faults
