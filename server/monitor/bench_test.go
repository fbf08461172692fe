package monitor

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatmonitor/server/chat"
)

// nobody is a Conn that is content with anything.
type nobody struct{}

func (nobody) Push(*Push) (Outcome, Reason) { return Handed, 0 }
func (nobody) Cork()                        {}
func (nobody) Uncork()                      {}
func (nobody) Close(Reason)                 {}

// crowd is a shard with sessions.
type crowd struct {
	hub      *Hub
	shard    *Shard
	sessions []*Session
}

func newCrowd(sessions int) *crowd {
	h := NewHub(Options{Shards: 1, InFlight: 2 * maxBatchRecords, Limits: Limits{MaxRules: 1000, MaxRulesBytes: 64 << 20}, Stats: NewStats(4), Now: time.Now})
	c := &crowd{hub: h, shard: h.Shards()[0], sessions: make([]*Session, sessions)}
	c.shard.Bind(func() {})
	for i := range c.sessions {
		c.sessions[i] = c.shard.Open(nobody{})
	}
	return c
}

// listen gives each session one rule, for app 1 and one of so many servers.
func (c *crowd) listen(servers int) {
	for i, s := range c.sessions {
		s.setRule(-1, "r1", fieldRule(1, int64(i%servers)))
	}
}

// fieldRule is a rule for app_id and server_id.
func fieldRule(app, server int64) *chat.Rule {
	var r chat.Rule
	r.IDs[chat.AppID], r.IDs[chat.ServerID] = []int64{app}, []int64{server}
	return &r
}

// line is a record with every field.
func line(server int64) *publication {
	p := &publication{record: chat.Record{Present: 1<<(chat.Text+1) - 1, Channel: "world", Text: "anyone for the dungeon tonight? need a healer"}}
	p.record.IDs = [chat.IDFields]int64{chat.AppID: 1, chat.AgentID: 29, chat.ServerID: server, chat.PID: 1643890670000002}
	return p
}

// match is what a record costs before anything is written: the search and the list of sessions.
func (c *crowd) match(p *publication) (matches int) {
	d := &c.shard.delivery
	d.add(p)
	c.shard.index.Begin(p)
	for c.shard.index.Continue(1<<30, d.found) == 0 {
	}
	matches = int(d.matches.n)
	d.clear()
	return matches
}

// run matches records with the servers that next gives, and fails the benchmark unless each finds so
// many sessions.
func (c *crowd) run(b *testing.B, want int, next func() int64) {
	b.Helper()
	p := line(0)
	found, lookups := 0, 0
	began := processTime(b)
	for b.Loop() {
		p.record.IDs[chat.ServerID] = next()
		found += c.match(p)
		lookups++
	}
	reportCPU(b, began, lookups)
	if found != want*lookups {
		b.Fatalf("%d records found %d sessions, want %d each", lookups, found, want)
	}
}

// reportCPU adds what a lookup costs in processor time, which other programs on the machine disturb less.
func reportCPU(b *testing.B, began time.Duration, lookups int) {
	b.Helper()
	b.ReportMetric(float64(processTime(b)-began)/float64(lookups), "cpu-ns/op")
}

// processTime is the processor time of this process.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// among gives servers 0 to n-1 in a pseudo-random order.
func among(n int) func() int64 {
	random := rand.NewPCG(1, 2)
	return func() int64 { return int64(random.Uint64() % uint64(n)) }
}

// spread gives so many servers of n, far from each other, in a pseudo-random order.
func spread(keys, n int) func() int64 {
	keys = min(keys, n)
	next := among(keys)
	return func() int64 { return next() * int64(n/keys) }
}

var counts = []int{1, 1_000, 100_000, 1_000_000}

// BenchmarkMatch finds the one session of a million, or of fewer, that wants a record. With hot keys what
// is looked up stays in the cache; with uniform keys nothing does.
func BenchmarkMatch(b *testing.B) {
	for _, n := range counts {
		c := newCrowd(n)
		c.listen(n)
		b.Run(fmt.Sprintf("keys=hot64/rules=%d", n), func(b *testing.B) { c.run(b, 1, spread(64, n)) })
		b.Run(fmt.Sprintf("keys=uniform/rules=%d", n), func(b *testing.B) { c.run(b, 1, among(n)) })
		b.Run(fmt.Sprintf("keys=unknown/rules=%d", n), func(b *testing.B) {
			next := among(n)
			c.run(b, 0, func() int64 { return int64(n) + next() })
		})
	}
}

// BenchmarkMatchShapes has, besides a million rules of one shape, rules of other shapes that no record
// meets.
func BenchmarkMatchShapes(b *testing.B) {
	const n = 1_000_000
	c := newCrowd(n)
	c.listen(n)
	others := []string{
		`{"pid":1}`, `{"app_id":2}`, `{"app_id":2,"channel":"guild"}`, `{"app_id":2,"agent_id":2}`,
		`{"agent_id":2}`, `{"server_id":9999999}`, `{"channel":"guild"}`,
	}
	shapes := 1
	for _, want := range []int{1, 2, 4, 8} {
		for ; shapes < want; shapes++ {
			c.sessions[shapes].setRule(-1, "other", otherRule(others[shapes-1]))
		}
		b.Run(fmt.Sprintf("keys=hot64/shapes=%d", shapes), func(b *testing.B) { c.run(b, 1, spread(64, n)) })
		b.Run(fmt.Sprintf("keys=uniform/shapes=%d", shapes), func(b *testing.B) { c.run(b, 1, among(n)) })
	}
}

func otherRule(source string) *chat.Rule {
	r, err := chat.ParseRule([]byte(source), chat.RuleLimits{MaxEntries: 1000, MaxKeywords: 1000})
	if err != nil {
		panic(err)
	}
	return r
}

// BenchmarkMatches has a million rules, of which a record matches more and more.
func BenchmarkMatches(b *testing.B) {
	const n = 1_000_000
	for _, matches := range []int{1, 10, 100, 1_000, 10_000} {
		c := newCrowd(n)
		c.listen(n / matches)
		b.Run(fmt.Sprintf("matches=%d", matches), func(b *testing.B) { c.run(b, matches, among(n/matches)) })
	}
}

// BenchmarkMatchKeywords has rules that name the same server and each a keyword of its own, of which a
// record's text has one.
func BenchmarkMatchKeywords(b *testing.B) {
	for _, n := range []int{1, 8, 1_000, 10_000} {
		c := newCrowd(n)
		for i, s := range c.sessions {
			r := fieldRule(1, 1)
			r.Keywords = []string{chat.Fold(keyword(i))}
			s.setRule(-1, "r1", r)
		}
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			p := line(1)
			p.record.Text += " " + keyword(n/2)
			p.text()
			found, records := 0, 0
			began := processTime(b)
			for b.Loop() {
				p.begin, p.beginnings[0] = [2]sync.Once{}, p.beginnings[0][:0] // it is another record, already folded
				found += c.match(p)
				records++
			}
			reportCPU(b, began, records)
			if found != records {
				b.Fatalf("%d records found %d sessions", records, found)
			}
		})
	}
}

// keyword is a word of its own for each number: 20,902 ideographs lead to as many beginnings.
func keyword(i int) string { return string([]rune{rune(0x4E00 + i), rune(0x4E00 + 7*i%20000), '金'}) }

// BenchmarkListen replaces a session's rule, as /listen with a name that there is already does.
func BenchmarkListen(b *testing.B) {
	for _, n := range counts {
		c := newCrowd(n)
		c.listen(n)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			next := among(n)
			rule := fieldRule(1, 0)
			for b.Loop() {
				rule.IDs[chat.ServerID][0] = next()
				c.sessions[next()].setRule(0, "r1", rule)
			}
		})
	}
}

// BenchmarkOldService is the way of the service that this one took the place of: a concurrent map of all
// sessions, of which every record asks every rule, and a goroutine for each receiver.
func BenchmarkOldService(b *testing.B) {
	for _, n := range counts {
		var clients sync.Map
		for i := range n {
			clients.Store(i, fieldRule(1, int64(i)))
		}
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			p, next := line(0), spread(64, n)
			for b.Loop() {
				p.record.IDs[chat.ServerID] = next()
				var receivers sync.WaitGroup
				clients.Range(func(_, rule any) bool {
					if rule.(*chat.Rule).Matches(&p.record, "") {
						receivers.Go(func() { nobody{}.Push(&p.push) })
					}
					return true
				})
				receivers.Wait()
			}
		})
	}
}

// BenchmarkPublish takes records through hub and shard to connections that take no time.
func BenchmarkPublish(b *testing.B) {
	for _, receivers := range []int{1, 100, 10_000} {
		c := newCrowd(receivers)
		c.listen(1)
		b.Run(fmt.Sprintf("receivers=%d", receivers), func(b *testing.B) {
			b.ReportAllocs()
			p := line(0)
			for b.Loop() {
				if err := c.hub.Publish(b.Context(), chat.Cursor{}, time.Now(), nil, p.record); err != nil {
					b.Fatal(err)
				}
				for c.shard.Work(time.Second) {
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*receivers), "ns/push")
		})
	}
}

// BenchmarkSlowestChange gives a million sessions a rule each and takes it away again, some times over, with
// the same hashes: the slowest add and the slowest remove are those that never were faster, which leaves
// out what other programs did meanwhile. The collector is off, for the same reason.
func BenchmarkSlowestChange(b *testing.B) {
	const n, passes = 1_000_000, 4
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for b.Loop() {
		adds, removes := newFastest(n), newFastest(n)
		for range passes {
			runtime.GC()
			c := newCrowd(n)
			c.shard.index.seed = 1
			rule := fieldRule(1, 0)
			for i, s := range c.sessions {
				rule.IDs[chat.ServerID][0] = int64(i)
				adds.time(i, func() { s.setRule(-1, "r1", rule) })
			}
			for i, s := range c.sessions {
				removes.time(i, func() { s.removeRule(0) })
			}
		}
		adds.report(b, "add")
		removes.report(b, "remove")
		b.ReportMetric(0, "ns/op")
	}
}

// fastest is how long each of many steps took in the pass in which it was fastest.
type fastest []time.Duration

func newFastest(n int) fastest { return slices.Repeat(fastest{time.Hour}, n) }

func (f fastest) time(i int, step func()) {
	began := time.Now()
	step()
	f[i] = min(f[i], time.Since(began))
}

func (f fastest) report(b *testing.B, what string) {
	slices.Sort(f)
	b.ReportMetric(float64(f[len(f)/2]), what+"-p50-ns")
	b.ReportMetric(float64(f[len(f)*9999/10000]), what+"-p99.99-ns")
	b.ReportMetric(float64(f[len(f)-1]), what+"-slowest-ns")
}

// BenchmarkColdRead is what a read costs that nothing has brought into the cache, one after the other: what
// the figures for uniform keys are made of.
func BenchmarkColdRead(b *testing.B) {
	const lines = 2 << 20 // of 64 bytes: 128 MiB
	type cacheLine struct {
		next int32
		_    [60]byte
	}
	ring := make([]cacheLine, lines)
	order := rand.New(rand.NewPCG(1, 6)).Perm(lines)
	for i, at := range order {
		ring[at].next = int32(order[(i+1)%lines])
	}
	at := int32(0)
	for b.Loop() {
		at = ring[at].next
	}
	if at < 0 {
		b.Fatal(at)
	}
}

// BenchmarkClose ends a session with as many rules as it may have, of one entry each and of as many as
// they may have. It is the time that the shard spends on it, in calls of their own.
func BenchmarkClose(b *testing.B) {
	for _, entries := range []int{1, 256} {
		b.Run(fmt.Sprintf("rules=1000/entries=%d", entries), func(b *testing.B) {
			rule := fieldRule(1, 0)
			rule.IDs[chat.ServerID] = rule.IDs[chat.ServerID][:0]
			for i := range entries {
				rule.IDs[chat.ServerID] = append(rule.IDs[chat.ServerID], int64(i))
			}
			c := newCrowd(0)
			b.StopTimer()
			for range b.N {
				s := c.shard.Open(nobody{})
				for i := range 1000 {
					rule.IDs[chat.AppID][0] = int64(i)
					s.setRule(-1, fmt.Sprint(i), rule)
				}
				b.StartTimer()
				s.Closed()
				for c.shard.Work(time.Second) { // what did not go at once
				}
				b.StopTimer()
			}
		})
	}
}
