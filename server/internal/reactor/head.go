package reactor

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/gobwas/ws"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
)

// Answers to what is no request. Whatever is one is answered by net/http.
var (
	requestTimeout = refusal("408 Request Timeout", "the request head did not come in time")
	headTooLong    = refusal("431 Request Header Fields Too Large", "the request head is too long")
	notHTTP        = refusal("400 Bad Request", "this port speaks HTTP/1.1 and WebSocket, and this is neither")
	noTLS          = refusal("400 Bad Request", "this port does not speak TLS: put a TLS proxy before it, or use http:// and ws://")
	noHTTP2        = refusal("505 HTTP Version Not Supported", "this port speaks HTTP/1.1, not HTTP/2")
	full           = refusal("503 Service Unavailable", "the server has as many connections as it may")
	crowded        = refusal("503 Service Unavailable", "your address has as many connections as it may")
	leaving        = refusal("503 Service Unavailable", "the server is leaving")
)

func refusal(status, text string) []byte {
	return []byte("HTTP/1.1 " + status + "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: " +
		strconv.Itoa(len(text)+1) + "\r\n\r\n" + text + "\n")
}

// refuse answers, counts and ends a connection that is not a WebSocket yet. It gives its place to those
// that are served, and lingers among the excess, so that the peer can read the answer; where those are
// too many, it ends at once.
func (c *conn) refuse(reason monitor.Reason, answer []byte) {
	s := c.loop.server
	s.app.Stats.Refused(reason).Add(1)
	s.give(c.place)
	c.in, c.place = nil, noPlace
	if s.excess.Take() {
		c.place = excessPlace
	}
	if !c.send(answer) || c.place == noPlace {
		c.end()
		return
	}
	c.loop.move(c, closing)
	c.shut()
}

var http2Preface = []byte("PRI * HTTP/2.0\r\n")

// head looks for a complete request head at the front of b, decides what the connection is, and
// returns the bytes that are still to be used.
func (c *conn) head(b []byte) []byte {
	switch {
	case b[0] == 0x16: // a TLS record of type handshake
		c.refuse(monitor.TLSHello, noTLS)
		return nil
	case bytes.HasPrefix(b, http2Preface):
		c.refuse(monitor.HTTP2, noHTTP2)
		return nil
	case !maybeRequest(b):
		c.refuse(monitor.NotHTTP, notHTTP)
		return nil
	}
	end, most := headEnd(b), c.loop.server.app.Config.MaxHeadBytes
	switch {
	case end > most || end < 0 && len(b) >= most:
		c.refuse(monitor.HeadTooLong, headTooLong)
		return nil
	case end < 0:
		return b
	}
	return c.choose(b, end)
}

// maybeRequest says whether b may be the beginning of a request line: a method is a token, a space
// follows it (RFC 9112 3). Empty lines before it are net/http's to judge.
func maybeRequest(b []byte) bool {
	for i, x := range b {
		switch {
		case x == ' ':
			return i > 0
		case x == '\r' || x == '\n':
			return i == 0
		case x < '!' || x > '~' || i > 32:
			return false
		}
	}
	return true
}

// headEnd is the length of the complete head at the front of b, or -1. Like net/http it takes a bare
// LF for a line's end.
func headEnd(b []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return -1
		}
		at += i + 1
		switch {
		case at < len(b) && b[at] == '\n':
			return at + 1
		case at+1 < len(b) && b[at] == '\r' && b[at+1] == '\n':
			return at + 2
		}
	}
}

// choose upgrades a plainly good request for a WebSocket; everything else is net/http's.
func (c *conn) choose(b []byte, end int) []byte {
	answer, ok := c.loop.upgrader.try(b[:end])
	if !ok {
		c.handOver(b)
		return nil
	}
	s := c.loop.server
	if !s.arrive() {
		c.refuse(monitor.Leaving, leaving)
		return nil
	}
	defer s.arrived()
	switch {
	case c.place != sessionPlace && !s.app.Sessions.Take() && !(c.loop.displace(sessionPlace, c) && s.app.Sessions.Take()):
		c.refuse(monitor.SessionsFull, full)
		return nil
	case c.place == plainPlace:
		s.app.Plain.Give()
	}
	c.place = sessionPlace
	if c.send(answer) {
		c.upgraded(!c.loop.upgrader.chat)
	}
	return b[end:]
}

// upgraded makes the connection a WebSocket, of the chat protocol or an echo.
func (c *conn) upgraded(echo bool) {
	c.in, c.pace = nil, app.PaceNow()
	c.reason = monitor.PeerGone // until we know better
	c.loop.move(c, open)
	c.loop.server.app.Stats.Upgraded.Add(1)
	c.loop.server.app.Stats.Connected.Add(1)
	if echo {
		c.marks |= echoes
	} else {
		c.session = c.loop.shard.Open(c)
	}
}

// upgrader judges request heads for one loop, with buffers that it uses again.
type upgrader struct {
	ws.Upgrader
	in   bytes.Reader
	out  bytes.Buffer
	chat bool // the last head was for /ws, not for /echo
}

// errNotPlain says that the head is for net/http to judge.
var errNotPlain = errors.New("not a plain upgrade")

func newUpgrader(config *app.Config) *upgrader {
	u := &upgrader{}
	u.ReadBufferSize = config.MaxHeadBytes // one line must fit
	u.WriteBufferSize = 512
	u.OnRequest = func(uri []byte) error {
		path, _, _ := bytes.Cut(uri, []byte("?"))
		u.chat = string(path) == app.PathWS
		if u.chat || config.Echo && string(path) == app.PathEcho {
			return nil
		}
		return errNotPlain
	}
	u.OnHeader = func(key, _ []byte) error {
		if k := string(key); k == "Content-Length" || k == "Transfer-Encoding" || k == "Expect" {
			return errNotPlain // an upgrade has no body
		}
		return nil
	}
	return u
}

// Read and Write make the upgrader its own io.ReadWriter.
func (u *upgrader) Read(p []byte) (int, error)  { return u.in.Read(p) }
func (u *upgrader) Write(p []byte) (int, error) { return u.out.Write(p) }

// try gives the 101 for a head that is an upgrade beyond doubt; it is valid until the next call.
func (u *upgrader) try(head []byte) (answer []byte, ok bool) {
	if !plain(head) {
		return nil, false
	}
	u.in.Reset(head)
	u.out.Reset()
	_, err := u.Upgrade(u)
	return u.out.Bytes(), err == nil
}

// plain says whether net/http would have nothing against the request line and the fields of a head, and
// the key is one: what gobwas takes unread.
func plain(head []byte) bool {
	line, rest, _ := bytes.Cut(head, []byte("\n"))
	if !plainRequestLine(bytes.TrimSuffix(line, []byte("\r"))) {
		return false
	}
	var hosts, keys, versions int
	for line := range bytes.Lines(rest) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) == 0 {
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		switch {
		case !ok || !token(name) || !printable(value):
			return false
		case bytes.EqualFold(name, []byte("host")):
			if hosts++; !plainHost(bytes.Trim(value, " \t")) {
				return false
			}
		case bytes.EqualFold(name, []byte("sec-websocket-key")):
			if keys++; !goodKey(bytes.Trim(value, " \t")) {
				return false
			}
		case bytes.EqualFold(name, []byte("sec-websocket-version")):
			versions++
		}
	}
	return hosts == 1 && keys == 1 && versions == 1
}

// plainRequestLine says whether a request line has nothing in it that is not to be seen, and asks for
// HTTP/1.1, digit by digit (RFC 9112 2.3 and 3).
func plainRequestLine(line []byte) bool {
	return bytes.HasSuffix(line, []byte(" HTTP/1.1")) && printable(line) && bytes.IndexByte(line, '\t') < 0
}

// token says whether a field's name is one (RFC 9110 5.6.2).
func token(name []byte) bool {
	for _, x := range name {
		letter := 'a' <= x|0x20 && x|0x20 <= 'z'
		digit := '0' <= x && x <= '9'
		if !letter && !digit && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), x) < 0 {
			return false
		}
	}
	return len(name) > 0
}

// printable says whether a field's value has no control characters (RFC 9110 5.5).
func printable(value []byte) bool {
	for _, x := range value {
		if x < ' ' && x != '\t' || x == 0x7f {
			return false
		}
	}
	return true
}

// plainHost says whether a host is one beyond doubt: a name or an address, and a port.
func plainHost(host []byte) bool {
	for _, x := range host {
		letter := 'a' <= x|0x20 && x|0x20 <= 'z'
		digit := '0' <= x && x <= '9'
		if !letter && !digit && bytes.IndexByte([]byte("-._~:[]"), x) < 0 {
			return false
		}
	}
	return len(host) > 0
}

// goodKey says whether a key is 16 bytes in base64.
func goodKey(key []byte) bool {
	if len(key) != base64.StdEncoding.EncodedLen(16) {
		return false
	}
	var nonce [18]byte // what 24 characters may decode to
	n, err := base64.StdEncoding.Strict().Decode(nonce[:], key)
	return err == nil && n == 16
}
