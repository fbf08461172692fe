package reactor

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deaf is a client without a goroutine or a buffer of Go's: a descriptor that is never read. What is
// pushed to it lies in its socket.
type deaf int

// openDeaf opens WebSockets on the path, and gives each its rule, unless that is empty.
func (w *world) openDeaf(path string, n int, ruleOf func(i int) string) []deaf {
	w.Helper()
	at := netip.MustParseAddrPort(w.address)
	clients := make([]deaf, 0, n)
	w.Cleanup(func() {
		for _, c := range clients {
			_ = unix.Close(int(c)) // a test may have closed it
		}
	})
	for i := range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			w.Fatalf("socket %d of %d: %v", i, n, err)
		}
		clients = append(clients, deaf(fd))
		// A reset at the end leaves no port waiting behind.
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
		}
		if err != nil {
			w.Fatalf("connect %d of %d: %v", i, n, err)
		}
		clients[i].say(w, "GET "+path+upgradeFields)
		clients[i].hear(w)
		if rule := ruleOf(i); rule != "" {
			clients[i].say(w, string(clientFrame(0x81, `{"path":"/listen","params":{"rule":`+rule+`}}`)))
			clients[i].hear(w)
		}
	}
	return clients
}

func (d deaf) say(t testing.TB, text string) {
	t.Helper()
	if _, err := unix.Write(int(d), []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func (d deaf) hear(t testing.TB) {
	t.Helper()
	var b [512]byte
	if n, err := unix.Read(int(d), b[:]); err != nil || n == 0 {
		t.Fatalf("read: %d, %v", n, err)
	}
}

// While one loop broadcasts to all its sessions, others on it are served in between. The same
// broadcasts, with the budget and without it, alternate on two servers of one process, so that whatever
// else the machine does happens to both. What is compared is the median over the rounds of the
// bystander's p99: with the budget it must be half of that without, at most.
func TestBroadcastsLeaveTimeForOthers(t *testing.T) {
	const sessions, rounds, records = 3000, 7, 6
	config := liveConfig()
	config.Shards = 1
	servers := map[string]*world{
		"with":    start(t, config),
		"without": start(t, config, func(s *server) { s.budget = time.Hour }),
	}
	bystanders := make(map[string]*client)
	for name, w := range servers {
		w.openDeaf("/ws", sessions, func(int) string { return `{"app_id":1}` })
		bystanders[name] = w.open("/ws")
	}
	p99s := make(map[string][]time.Duration)
	for range rounds {
		for name, w := range servers {
			p99s[name] = append(p99s[name], w.pingWhileBroadcasting(bystanders[name], records, sessions))
		}
	}
	for _, w := range servers {
		if n := w.app.Stats.Written.Load(); n != sessions*rounds*records {
			t.Fatalf("%d pushes were written, want %d", n, sessions*rounds*records)
		}
	}
	with, without := median(p99s["with"]), median(p99s["without"])
	t.Logf("a bystander's ping p99 while %d sessions get a record: %v with the budget (%v), %v without (%v)", sessions, with, p99s["with"], without, p99s["without"])
	if with > without/2 {
		t.Errorf("p99 is %v with the budget and %v without", with, without)
	}
}

// pingWhileBroadcasting gives the p99 of a bystander's pings from the first record to the end of the last.
func (w *world) pingWhileBroadcasting(bystander *client, records, sessions int) time.Duration {
	w.Helper()
	want := w.app.Stats.Written.Load() + uint64(records*sessions)
	var over atomic.Bool
	go func() {
		for range records {
			w.publish(`{"app_id":1,"text":"to all"}`)
		}
		for deadline := time.Now().Add(patience); w.app.Stats.Written.Load() < want && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		over.Store(true)
	}()
	var times []time.Duration
	for i := 0; !over.Load(); i++ {
		began := time.Now()
		bystander.ping(fmt.Sprint(i))
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
