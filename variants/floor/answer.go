package main

import "bytes"

// The requests that are answered, as the load generator writes them: path, id and params in this order, and
// no spaces.
var (
	listenRequest = []byte(`{"path":"/listen"`)
	pingRequest   = []byte(`{"path":"/ping"`)
	beforeParams  = []byte(`,"params":`)
)

const (
	listenResult = `,"result":{"rule_id":"r1"}}`
	pingResult   = `,"result":{"time":0,"echo":`
)

// appendAnswer appends the frame that answers a message: the request's path and id in its own bytes, and a fixed
// result. ok tells that it is one of those that are answered. The answer to bytes that are no JSON is none either.
func appendAnswer(b, text []byte) (answer []byte, ok bool) {
	isListen := bytes.HasPrefix(text, listenRequest)
	if !isListen && !bytes.HasPrefix(text, pingRequest) || text[len(text)-1] != '}' {
		return b, false
	}
	head, params, has := bytes.Cut(text[:len(text)-1], beforeParams)
	if !has {
		params = []byte("null")
	}
	if isListen {
		b = appendFrameHead(b, opText, len(head)+len(listenResult))
		return append(append(b, head...), listenResult...), true
	}
	b = appendFrameHead(b, opText, len(head)+len(pingResult)+len(params)+len("}}"))
	b = append(append(append(b, head...), pingResult...), params...)
	return append(b, "}}"...), true
}
