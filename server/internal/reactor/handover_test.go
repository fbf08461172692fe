package reactor

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// net/http waits for the first four bytes of a later request as it does for none of them.
func TestALaterHeadHasItsTimeFromTheFirstByte(t *testing.T) {
	config := liveConfig()
	config.HandshakeTimeout = 300 * time.Millisecond
	c := start(t, config).connect()
	for range 2 { // a rest is not limited so
		c.say([]byte("GET /live HTTP/1.1\r\nHost: x\r\n\r\n"))
		if answer, err := http.ReadResponse(c.in, nil); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("answered with %+v, %v", answer, err)
		} else if _, err := io.ReadAll(answer.Body); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * config.HandshakeTimeout)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c.say([]byte("GE"))
	if b, err := io.ReadAll(c.in); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("two bytes of a head are kept for longer than %v; answered with %q", patience, b)
	}
}

// A client that reads nothing may leave no room for the 101 of a later upgrade.
func TestAnUpgradeThatIsNotReadEnds(t *testing.T) {
	config := liveConfig()
	config.HandshakeTimeout = 50 * time.Millisecond
	w := start(t, config)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // one connection is all it is for
	deaf, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close() // the server's end has gone before
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<16)
	for taken := 1; taken > 0; { // until there is room for nothing, and none comes
		if err := nc.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if taken, err = nc.Write(block); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	if err := nc.SetWriteDeadline(time.Time{}); err != nil { // as it is after a hijack
		t.Fatal(err)
	}
	buffered := bufio.NewReadWriter(bufio.NewReader(strings.NewReader("")), nil)
	ended := make(chan error, 1)
	go func() { ended <- w.sendBack(&replayed{TCPConn: nc.(*net.TCPConn)}, buffered, &http.Request{}) }()
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the upgrade ended with %v", err)
		}
	case <-time.After(patience):
		_ = nc.Close() // so that the goroutine ends
		t.Errorf("the 101 is still being written after %v", patience)
	}
}
