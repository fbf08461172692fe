package monitor

// Reason says why a connection was closed, or refused before it was one. Each is counted from 0 on.
type Reason uint8

// Why a WebSocket connection was closed.
const (
	ClientClosed   Reason = iota // the peer sent Close
	PeerGone                     // the peer's TCP ended without a Close
	ProtocolError                // a frame breaks RFC 6455
	Unsupported                  // a binary message where only text is understood
	InvalidPayload               // a text message is not UTF-8
	TooBig                       // a message over --max-message-bytes
	InternalError                // a handler panicked
	SlowConsumer                 // more waits for the client than --outbound-budget-bytes
	Backlogged                   // too many requests wait behind one that takes its time
	TooFast                      // more messages than --max-messages-per-second
	PeerSilent                   // no sign of life for three idle pings
	Draining                     // the server is leaving
	Shutdown                     // the server left before the client did
	closeReasons

	// Undelivered is why a push was dropped that its connection had taken, or was about to get, when it
	// closed for whatever reason.
	Undelivered

	// Why a connection was refused before it was a WebSocket.
	HeadTimeout   // no complete request head within --handshake-timeout
	HeadTooLong   // the request head is over the limit
	NotHTTP       // the first bytes are no HTTP/1 request
	TLSHello      // the first bytes are a TLS handshake
	HTTP2         // the first bytes are HTTP/2's preface
	BadHandshake  // an upgrade request that RFC 6455 4.2 refuses
	SessionsFull  // --max-connections are open
	HTTPFull      // --max-http-connections are open
	Displaced     // half a head, when another connection had no place left
	AddressFull   // --max-connections-per-address are open of the peer's address
	Leaving       // the server is draining
	NoDescriptors // the process has no file descriptor left
	reasons
)

// Close codes of RFC 6455 7.4.1 and the IANA registry. 0: the connection ends without a Close frame.
var reasonTexts = [reasons]struct {
	name string
	code uint16
	text string
}{
	ClientClosed:   {"client_closed", 1000, ""},
	PeerGone:       {"peer_gone", 0, ""},
	ProtocolError:  {"protocol_error", 1002, "a frame breaks RFC 6455"},
	Unsupported:    {"unsupported_data", 1003, "only text messages are understood"},
	InvalidPayload: {"invalid_utf8", 1007, "a text message is not UTF-8"},
	TooBig:         {"message_too_big", 1009, "the message is too long"},
	InternalError:  {"internal_error", 1011, "internal error"},
	SlowConsumer:   {"slow_consumer", 1013, "too much waits to be read"},
	Backlogged:     {"request_backlog", 1008, "too many requests at once"},
	TooFast:        {"message_rate", 1008, "too many messages in a second"},
	PeerSilent:     {"peer_silent", 0, ""},
	Draining:       {"draining", 1012, "the server restarts"},
	Shutdown:       {"shutdown", 0, ""},
	closeReasons:   {},
	Undelivered:    {name: "closed"},
	HeadTimeout:    {name: "handshake_timeout"},
	HeadTooLong:    {name: "head_too_long"},
	NotHTTP:        {name: "not_http"},
	TLSHello:       {name: "tls"},
	HTTP2:          {name: "http2"},
	BadHandshake:   {name: "bad_handshake"},
	SessionsFull:   {name: "sessions_full"},
	HTTPFull:       {name: "http_full"},
	Displaced:      {name: "displaced"},
	AddressFull:    {name: "address_full"},
	Leaving:        {name: "draining"},
	NoDescriptors:  {name: "no_descriptors"},
}

// String is the reason's label in metrics.
func (r Reason) String() string { return reasonTexts[r].name }

// CloseCode is the status code of the Close frame that tells the peer, 0 for none.
func (r Reason) CloseCode() uint16 { return reasonTexts[r].code }

// CloseText is the reason in the Close frame, for people.
func (r Reason) CloseText() string { return reasonTexts[r].text }

// CloseReasons lists why a WebSocket connection may be closed.
func CloseReasons() []Reason { return reasonRange(0, closeReasons) }

// Refusals lists why a connection may be refused before it is a WebSocket.
func Refusals() []Reason { return reasonRange(HeadTimeout, reasons) }

// DropReasons lists why a push may be dropped: with the connection's end, or after it.
func DropReasons() []Reason { return append(CloseReasons(), Undelivered) }

func reasonRange(from, to Reason) []Reason {
	list := make([]Reason, 0, to-from)
	for r := from; r < to; r++ {
		list = append(list, r)
	}
	return list
}
