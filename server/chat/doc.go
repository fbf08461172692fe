// Package chat is the domain: the chat record as Kafka carries it, the rule by which a game master
// asks for records, and the messages that a client and the server exchange.
//
// It turns bytes into values and values into bytes. It knows no socket, no broker, no session and no
// clock, so that both ends of every connection, and every test, can use it.
//
//	Kafka value --DecodeRecord--> Record --Rule.Matches--> AppendPush --> client
//	client text --ParseMessage--> Message --ParseListen--> Rule
//	                                      --AppendResult, AppendError--> client
package chat
