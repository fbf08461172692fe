package conformance

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// peer is one TCP connection to the server, and what is said over it by hand.
type peer struct {
	*trial
	conn *net.TCPConn
	in   *bufio.Reader
}

// dial connects to the server. The connection is closed at the end of the trial.
func (tr *trial) dial() *peer {
	tr.Helper()
	return tr.dialFrom("")
}

// dialFrom is dial from an address of this machine; empty: whichever.
func (tr *trial) dialFrom(ip string) *peer {
	tr.Helper()
	dialer := net.Dialer{Timeout: patience}
	if ip != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(ip)}
	}
	c, err := dialer.Dial("tcp", tr.address)
	if err != nil {
		tr.Fatalf("connect: %v", err)
	}
	p := &peer{trial: tr, conn: c.(*net.TCPConn), in: bufio.NewReader(c)}
	tr.Cleanup(func() { _ = p.conn.Close() }) // the case may have closed it already
	return p
}

func (p *peer) write(text string) {
	p.Helper()
	if err := p.tryWrite(text); err != nil {
		p.Fatalf("write %d bytes: %v", len(text), err)
	}
}

// tryWrite is write where the server may have ended the connection.
func (p *peer) tryWrite(text string) error {
	if err := p.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := io.WriteString(p.conn, text)
	return err
}

// read has f read, and fails the case for its error.
func (p *peer) read(what string, f func() error) {
	p.Helper()
	err := p.conn.SetReadDeadline(time.Now().Add(patience))
	if err == nil {
		err = f()
	}
	if err != nil {
		p.Fatalf("read %s: %v", what, err)
	}
}

// reset ends the connection without a goodbye.
func (p *peer) reset() {
	p.Helper()
	err := p.conn.SetLinger(0)
	if err = errors.Join(err, p.conn.Close()); err != nil {
		p.Fatalf("reset the connection: %v", err)
	}
}

// readEnd reads everything until the server ends the connection, and how it does.
func (p *peer) readEnd() (rest []byte, err error) {
	p.Helper()
	p.read("until the end", func() error {
		if rest, err = io.ReadAll(p.in); errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		return nil
	})
	return rest, err
}

// wantEnd fails the case unless the server ends the connection without another word. A server that
// closes a socket with unread bytes in it resets the connection; that is an end, too.
func (p *peer) wantEnd() {
	p.Helper()
	rest, err := p.readEnd()
	if len(rest) > 0 {
		p.Errorf("before the end of the connection came %q", rest)
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		p.Errorf("end of the connection: %v", err)
	}
}

// response is an answer of HTTP with its whole body.
type response struct {
	*http.Response
	body string
}

// readResponse reads the answer to a request of the given method.
func (p *peer) readResponse(method string) response {
	p.Helper()
	var r response
	p.read("the answer to "+method, func() (err error) {
		r, err = p.tryResponse(method)
		return err
	})
	return r
}

// tryResponse reads an answer without a deadline of its own.
func (p *peer) tryResponse(method string) (response, error) {
	answer, err := http.ReadResponse(p.in, &http.Request{Method: method})
	if err != nil {
		return response{}, err
	}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return response{Response: answer}, nil // what follows is no body
	}
	body, err := io.ReadAll(answer.Body)
	return response{answer, string(body)}, errors.Join(err, answer.Body.Close())
}

// wantStatus reads an answer and fails the case unless it has one of the statuses.
func (p *peer) wantStatus(method string, statuses ...int) response {
	p.Helper()
	r := p.readResponse(method)
	for _, s := range statuses {
		if r.StatusCode == s {
			return r
		}
	}
	p.Fatalf("answered with %s, want %v; body: %.200q", r.Status, statuses, r.body)
	return r
}

// nonce is the key of RFC 6455's own example.
const nonce = "dGhlIHNhbXBsZSBub25jZQ=="

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// request is a request's head: its first line and its fields, with a Host unless one of them is one.
func (tr *trial) request(line string, fields ...string) string {
	host := "Host: " + tr.address + "\r\n"
	for _, f := range fields {
		if strings.HasPrefix(strings.ToLower(f), "host:") || f == noHost {
			host = ""
		}
	}
	var b strings.Builder
	b.WriteString(line + "\r\n" + host)
	for _, f := range fields {
		if f != noHost {
			b.WriteString(f + "\r\n")
		}
	}
	return b.String() + "\r\n"
}

// noHost in the place of a field leaves the Host out.
const noHost = ""

// upgradeRequest is a good one for the path.
func (tr *trial) upgradeRequest(path string) string {
	return tr.request("GET "+path+" HTTP/1.1",
		"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+nonce)
}

// wantUpgraded reads the 101 and gives the WebSocket that the connection has become.
func (p *peer) wantUpgraded() *session {
	p.Helper()
	r := p.wantStatus("GET", http.StatusSwitchingProtocols)
	if got := r.Header.Get("Sec-WebSocket-Accept"); got != acceptKey(nonce) {
		p.Errorf("Sec-WebSocket-Accept: %q, want %q", got, acceptKey(nonce))
	}
	if got := r.Header.Get("Upgrade"); !strings.EqualFold(got, "websocket") {
		p.Errorf("Upgrade: %q, want websocket", got)
	}
	if got := r.Header.Get("Connection"); !strings.EqualFold(got, "upgrade") {
		p.Errorf("Connection: %q, want Upgrade", got)
	}
	for _, unasked := range []string{"Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding"} {
		if got, has := r.Header[unasked]; has {
			p.Errorf("the 101 has %s: %q, which nobody asked for", unasked, got)
		}
	}
	return &session{peer: p}
}

// open makes a WebSocket of a new connection.
func (tr *trial) open(path string) *session {
	tr.Helper()
	p := tr.dial()
	p.write(tr.upgradeRequest(path))
	return p.wantUpgraded()
}

// session opens a WebSocket of the chat protocol.
func (tr *trial) session() *session {
	tr.Helper()
	return tr.open("/ws")
}
