package reactor

import (
	"bufio"
	"bytes"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"chatmonitor/server/app"
	"chatmonitor/server/monitor"
	"chatmonitor/server/web"
)

// headOutcome is what becomes of a connection that begins with a stream.
type headOutcome struct {
	sent   string
	phase  phase
	handed bool // to net/http
	served bool // upgraded
}

func newHeadOutcome(stream []byte, cut func(rest int) int) headOutcome {
	config := testConfig
	config.MaxHeadBytes, config.Echo = 400, true
	c, w := newConnInHead(config)
	var log bytes.Buffer
	c.loop.server.app.Log = slog.New(slog.NewTextHandler(&log, nil))
	for rest := bytes.Clone(stream); len(rest) > 0 && c.phase <= open; {
		n := cut(len(rest))
		part := bytes.Clone(rest[:n])
		c.receive(part)
		clear(part) // the loop reads the next packet into the same buffer
		rest = rest[n:]
	}
	return headOutcome{
		sent: w.sent.String(), phase: c.phase, handed: strings.Contains(log.String(), errHandedOver.Error()),
		served: c.loop.server.app.Stats.Upgraded.Load() == 1,
	}
}

// mayUpgrade says, with the means of net/http, whether a head is a good upgrade.
func mayUpgrade(head []byte) bool {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil || web.CheckUpgrade(r) != nil || !listHas(r.Header.Values("Upgrade"), "websocket") {
		return false
	}
	return r.URL.Path == app.PathWS || r.URL.Path == app.PathEcho
}

func listHas(lists []string, token string) bool {
	for _, item := range strings.Split(strings.Join(lists, ","), ",") {
		if strings.EqualFold(strings.TrimSpace(item), token) {
			return true
		}
	}
	return false
}

func FuzzHead(f *testing.F) {
	good := "GET /ws" + upgradeFields
	for i, stream := range []string{
		good, "GET /echo" + upgradeFields + string(clientFrame(0x81, "early")), good[:50], good + "\xff\xff", "GET /ws?x=y" + upgradeFields, "get /ws" + upgradeFields,
		"GET /live HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n" + good, "junk", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		strings.ReplaceAll(good, "\r\n", "\n"), strings.Replace(good, "Host: x", "Host: x\r\nX-Long: "+strings.Repeat("x", 400), 1), strings.Replace(good, "Upgrade\r\n", "keep-alive, Upgrade\r\n", 1),
		strings.Replace(good, "websocket", "h2c, WebSocket", 1), strings.Replace(good, "Host: x", "Host: x\r\nContent-Length: 0", 1), strings.Replace(good, "Host: x", "Host: x\r\nHost: x", 1),
		strings.Replace(good, "13", "8", 1), strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1), strings.Replace(good, "Sec-WebSocket-Key", "sec-websocket-key ", 1),
		"GET /ws?\x00" + upgradeFields, "GET /ws?\t" + upgradeFields, "GET /ws?\r" + upgradeFields, strings.Replace(good, "1.1", "01.1", 1), strings.Replace(good, "1.1", "1.10", 1),
		strings.Replace(good, "1.1", "1.1\r", 1), strings.Replace(good, "Host: x", "Host: x\r", 1), strings.Replace(good, "Host: x", "Host: x\r\nSec-WebSocket-Version: 13", 1),
	} {
		f.Add([]byte(stream), uint64(i))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		if len(stream) == 0 {
			return
		}
		random := rand.New(rand.NewPCG(seed, 3))
		want := newHeadOutcome(stream, whole)
		for name, cut := range map[string]func(int) int{
			"byte by byte": func(int) int { return 1 }, "cut": func(rest int) int { return 1 + random.IntN(rest) },
		} {
			if got := newHeadOutcome(stream, cut); got != want {
				t.Fatalf("whole: %+v; %s: %+v", want, name, got)
			}
		}
		end := headEnd(stream)
		if want.served && (end < 0 || !mayUpgrade(stream[:end])) {
			t.Fatalf("upgraded: %q", stream)
		}
		if end > 0 && end <= 400 && !want.served && !want.handed && mayUpgrade(stream[:end]) {
			t.Fatalf("a good upgrade is neither served nor handed to net/http: %+v", want)
		}
		if want.handed && want.served {
			t.Fatal("both served and handed over")
		}
	})
}

// Each refusal of the reactor's own is counted under its reason, and the peer is told.
func TestRefusalsAreCounted(t *testing.T) {
	for _, c := range []struct {
		bytes  string
		status string
		reason monitor.Reason
	}{
		{"\x16\x03\x01", "400", monitor.TLSHello},
		{"PRI * HTTP/2.0\r\n\r\nSM", "505", monitor.HTTP2},
		{"hello\r\n\r\n", "400", monitor.NotHTTP},
		{"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 400) + "\r\n\r\n", "431", monitor.HeadTooLong},
	} {
		config := testConfig
		config.MaxHeadBytes = 400
		conn, w := newConnInHead(config)
		conn.receive([]byte(c.bytes))
		if !strings.HasPrefix(w.sent.String(), "HTTP/1.1 "+c.status) || conn.loop.server.app.Stats.Refused(c.reason).Load() != 1 {
			t.Errorf("%q: answered with %.40q; counted under %v: %d", c.bytes, w.sent.String(), c.reason, conn.loop.server.app.Stats.Refused(c.reason).Load())
		}
	}
}
