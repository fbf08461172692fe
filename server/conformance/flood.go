package conformance

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The flood: more clients than the server has descriptors, of every bad kind, all at once and again and
// again. Meanwhile whoever was there before is served, and pages answer; afterwards the server is what
// it was.
const (
	floodDescriptors = 300
	floodRounds      = 4
	floodClients     = 60 // of each kind, in each round
	floodHold        = 600 * time.Millisecond
	// After the flood, when the collector has been: what the heap's leftovers and threads may take, far
	// below what the flood had.
	floodLeftBytes       = 40 << 20
	floodLeftDescriptors = 10
)

func floodCases() []testCase {
	return []testCase{{name: "a flood of every kind", own: true, admin: true, run: flood}}
}

func flood(tr *trial) {
	own := *tr
	own.topic = topicName()
	own.createTopic(own.topic, 1)
	limited := &Program{
		Path: "/bin/sh",
		Args: slices.Concat([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, floodDescriptors), tr.Program.Path}, tr.Program.Args),
	}
	instance := limited.Start(tr.TB, own.flags([]string{"--handshake-timeout=2s", "--echo", "--outbound-budget-bytes=300000"})...)
	away := own.on(instance)
	away.awaitReady()
	var kept []*session
	app := unique()
	for range 5 {
		s := away.session()
		s.listen(appRule(app))
		kept = append(kept, s)
	}
	before := away.footprint(instance)
	scraped := away.scrape()

	var clients sync.WaitGroup
	for i, kind := range floodKinds {
		clients.Go(func() { away.floodOf(kind, rand.New(rand.NewPCG(uint64(i), 1))) })
	}
	flooded := make(chan struct{})
	go func() { clients.Wait(); close(flooded) }()
	probes, refusals := away.probe(flooded, kept, app)

	away.eventually("everybody of the flood gone", func() error {
		return away.scrape().since(scraped).want(0, metricPrefix+"net_current_connected")
	})
	for range 20 {
		s := away.session()
		s.ping()
		_ = s.conn.Close() // the cleanup would do it later
	}
	away.eventually("memory and descriptors as before", func() error { return away.footprint(instance).near(before) })
	moved := away.scrape().since(scraped)
	if moved.sum(metricPrefix+"handshakes_refused_total") == 0 || moved.sum(metricPrefix+"connections_closed_total") == 0 {
		tr.Errorf("of the flood nobody was refused, or nobody came in; it was none")
	}
	after := away.footprint(instance)
	tr.Logf("%d probes, of whose requests %d were refused at first; %v before, %v after; refused %v, closed %v", probes, refusals, before, after,
		moved.sum(metricPrefix+"handshakes_refused_total"), moved.sum(metricPrefix+"connections_closed_total"))
}

// probe looks, until the flood is over, whether those who were there get their pushes, and whether pages
// answer on new connections. A page may be refused for a moment, and is asked for again.
func (tr *trial) probe(flooded <-chan struct{}, kept []*session, app int64) (probes, refusals int) {
	tr.Helper()
	for over := false; !over; probes++ {
		at := tr.produce(0, appRecord(app))[0]
		for _, s := range kept {
			if p := s.next(); p.at != at {
				tr.Fatalf("came the record at %v, want %v", p.at, at)
			}
		}
		for _, path := range []string{"/live", "/metrics"} {
			tr.eventually(path+" during the flood", func() error {
				r, err := try(http.MethodGet, tr.address, path, "")
				if err == nil && r.StatusCode != http.StatusOK {
					err = errors.New(r.Status)
				}
				if err != nil {
					refusals++
				}
				return err
			})
		}
		select {
		case <-flooded:
			over = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	return probes, refusals
}

// floodKind is what one client of a flood does with its connection before it holds it. Errors are the
// server's right.
type floodKind func(tr *trial, c *net.TCPConn, random *rand.Rand)

var floodKinds = []floodKind{
	func(*trial, *net.TCPConn, *rand.Rand) {}, // says nothing
	func(tr *trial, c *net.TCPConn, _ *rand.Rand) { // is slow with its head
		for _, b := range []byte(tr.upgradeRequest("/ws")[:40]) {
			_, _ = c.Write([]byte{b})
			time.Sleep(time.Millisecond)
		}
	},
	func(tr *trial, c *net.TCPConn, _ *rand.Rand) { // asks and never reads
		_ = c.SetReadBuffer(4 << 10)
		_, _ = io.WriteString(c, tr.upgradeRequest("/ws")+text(`{"path":"/listen","params":{"rule":{}}}`))
		_, _ = io.WriteString(c, strings.Repeat(text(pingOf(2000)), 100))
	},
	func(tr *trial, c *net.TCPConn, _ *rand.Rand) { // asks for pages and never reads
		_ = c.SetReadBuffer(4 << 10)
		_, _ = io.WriteString(c, strings.Repeat(tr.request("GET /metrics HTTP/1.1"), 30))
	},
	func(_ *trial, c *net.TCPConn, random *rand.Rand) { // talks nonsense
		b := make([]byte, 1+random.IntN(4000))
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		_, _ = c.Write(b)
		_, _ = io.Copy(io.Discard, c)
	},
	func(tr *trial, c *net.TCPConn, random *rand.Rand) { // talks nonsense behind an upgrade
		_, _ = io.WriteString(c, tr.upgradeRequest("/ws")+text(pingText)[:random.IntN(20)])
		b := make([]byte, random.IntN(300))
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		_, _ = c.Write(b)
	},
	func(tr *trial, c *net.TCPConn, random *rand.Rand) { // resets at any phase
		script := tr.upgradeRequest("/ws") + text(`{"path":"/listen","params":{"rule":{}}}`) + strings.Repeat(text(pingText), 20)
		_, _ = io.WriteString(c, script[:random.IntN(len(script))])
		if random.IntN(2) == 0 {
			_, _ = c.Read(make([]byte, 100))
		}
		_ = c.SetLinger(0)
		_ = c.Close()
	},
	func(tr *trial, c *net.TCPConn, _ *rand.Rand) { // promises long messages and sends half of them
		_, _ = io.WriteString(c, tr.upgradeRequest("/echo")+frame(opBinary, strings.Repeat("x", 30_000))+frameHead(fin|opContinuation, 30_000)+strings.Repeat("y", 20_000))
	},
	func(tr *trial, c *net.TCPConn, _ *rand.Rand) { // keeps a plain connection
		_, _ = io.WriteString(c, tr.request("GET /live HTTP/1.1"))
		_, _ = c.Read(make([]byte, 100))
	},
}

// floodOf sends clients of one kind, in rounds. They go with a reset, every second round with an end of TCP.
func (tr *trial) floodOf(kind floodKind, random *rand.Rand) {
	for round := range floodRounds {
		var clients sync.WaitGroup
		release := make(chan struct{})
		for range floodClients {
			seed := random.Uint64()
			clients.Go(func() {
				c, err := net.DialTimeout("tcp", tr.address, patience)
				if err != nil {
					return // the queue of the listener is full
				}
				tcp := c.(*net.TCPConn)
				if tcp.SetDeadline(time.Now().Add(2*time.Second)) == nil {
					kind(tr, tcp, rand.New(rand.NewPCG(seed, 2)))
				}
				<-release
				if round%2 == 0 {
					_ = tcp.SetLinger(0)
				}
				_ = tcp.Close()
			})
		}
		time.Sleep(floodHold) // nothing is waited for: this is how long the clients stay
		close(release)
		clients.Wait()
	}
}

// footprint is what a server holds.
type footprint struct {
	residentBytes, descriptors int
}

func (f footprint) String() string {
	return fmt.Sprintf("%d KiB resident and %d descriptors", f.residentBytes>>10, f.descriptors)
}

// near gives an error unless little more is held than before.
func (f footprint) near(before footprint) error {
	if f.residentBytes > before.residentBytes+floodLeftBytes || f.descriptors > before.descriptors+floodLeftDescriptors {
		return fmt.Errorf("%v, before it was %v", f, before)
	}
	return nil
}

// footprint is taken after a collection. The request for that has gone by then.
func (tr *trial) footprint(i *Instance) footprint {
	tr.Helper()
	tr.do(http.MethodPost, tr.admin, "/gc", "")
	folder := filepath.Join("/proc", strconv.Itoa(i.PID))
	descriptors, err := os.ReadDir(filepath.Join(folder, "fd"))
	if err != nil {
		tr.Fatal(err)
	}
	statm, err := os.ReadFile(filepath.Join(folder, "statm"))
	if err != nil {
		tr.Fatal(err)
	}
	var total, resident int
	if _, err := fmt.Sscan(string(statm), &total, &resident); err != nil {
		tr.Fatalf("%q: %v", statm, err)
	}
	return footprint{resident * os.Getpagesize(), len(descriptors)}
}
