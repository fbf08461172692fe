package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

const (
	ledgerPartitions = 3
	ledgerReaders    = 12 // that read all the time, and stay
	ledgerKilled     = 12 // that read, and are killed on the way
	ledgerSlow       = 6  // that read nothing
	ledgerRounds     = 60 // of records
	ledgerBatch      = 5  // records of a round and partition
	ledgerAhead      = 5  // rounds that may be under way before the readers are waited for
	// What may wait for a client: more than is under way, and less than comes altogether.
	ledgerBudgetBytes = 512 << 10
)

// TestLedger holds what a server says of its work against what those outside know: the producer, which
// knows each record that Kafka has acknowledged, and the clients, which know what has come. Meanwhile
// clients are killed, others do not read, and the broker goes and comes again.
func TestLedger(t *testing.T) {
	if *address != "" { // the broker of a server that is running already is not the test's to restart
		return
	}
	dependOnSources(t)
	programs := &builder{dir: t.TempDir()}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			program := &Program{Path: programs.build(t, v.source), Args: v.args}
			t.Parallel()
			b := newRestartable(t)
			s := &suite{Target: Target{Brokers: []string{b.address}, Topic: "chat", Program: program}, t: t}
			s.connectToKafka(t)
			tr := s.newTrial(t)
			tr = tr.on(tr.start(fmt.Sprintf("--outbound-budget-bytes=%d", ledgerBudgetBytes), "--socket-send-buffer=16384", "--max-record-bytes=8192"))
			tr.awaitReady()
			(&audit{trial: tr, broker: b}).run()
		})
	}
}

// restartable is a broker that keeps its records while it is gone.
type restartable struct {
	t       *testing.T
	address string
	options []kfake.Opt
	cluster *kfake.Cluster
}

func newRestartable(t *testing.T) *restartable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b := &restartable{t: t, address: l.Addr().String(), options: []kfake.Opt{kfake.Ports(port), kfake.DataDir(t.TempDir())}}
	b.start(kfake.SeedTopics(ledgerPartitions, "chat"))
	t.Cleanup(func() { b.cluster.Close() })
	return b
}

func (b *restartable) start(more ...kfake.Opt) {
	b.t.Helper()
	var err error
	if b.cluster, err = kfake.NewCluster(slices.Concat(b.options, more)...); err != nil {
		b.t.Fatalf("start the broker: %v", err)
	}
}

func (b *restartable) restart() {
	b.t.Helper()
	b.cluster.Close()
	b.start()
}

// audit is one run of the load and what those outside know of it.
type audit struct {
	*trial
	broker *restartable
	random *rand.Rand

	wanted   [2]int64                     // app_ids that there are sessions for
	unwanted int64                        // one that there is none for
	appended [ledgerPartitions][]appended // by partition, each in the order of the offsets
}

type appended struct {
	at  cursor
	app int64 // 0: no record
	end bool  // the last of its partition: a reader stops here
}

// endChannel marks the last record of a partition.
const endChannel = "the end"

func (a *audit) run() {
	a.random = rand.New(rand.NewPCG(1, 2))
	a.wanted, a.unwanted = [2]int64{unique(), unique()}, unique()
	var readers, killed, slow []*listening
	for i := range ledgerReaders {
		readers = append(readers, a.listen(i, a.trial.session()))
	}
	for i := range ledgerKilled {
		killed = append(killed, a.listen(i, a.trial.session()))
	}
	for i := range ledgerSlow {
		slow = append(slow, a.listen(i, a.slowSession()))
	}
	var reading sync.WaitGroup
	for _, l := range slices.Concat(readers, killed) {
		reading.Go(l.read)
	}
	var back time.Time
	for round := range ledgerRounds {
		a.round()
		if round%5 == 0 {
			killed[round/5].kill()
		}
		if round == ledgerRounds/2+ledgerAhead/2 {
			a.broker.restart()
			back = time.Now()
		}
		if round%ledgerAhead == ledgerAhead-1 {
			a.await(readers)
			if !back.IsZero() {
				a.Logf("the readers had caught up %v after the broker was back", time.Since(back))
				back = time.Time{}
			}
		}
	}
	a.finish()
	reading.Wait()
	for i, l := range readers {
		l.wantAll(fmt.Sprintf("reader %d", i))
	}
	for i, l := range killed {
		l.wantFirst(fmt.Sprintf("killed client %d", i))
	}
	a.judge(readers, killed, slow)
}

// slowSession is one whose socket takes little before the server has to wait.
func (a *audit) slowSession() *session {
	a.Helper()
	s := a.session()
	if err := s.conn.SetReadBuffer(4 << 10); err != nil {
		a.Fatalf("a small read buffer: %v", err)
	}
	return s
}

// round appends a batch to each partition, with something that is no record in it.
func (a *audit) round() {
	a.Helper()
	for partition := range int32(ledgerPartitions) {
		apps := make([]int64, ledgerBatch)
		values := make([]string, ledgerBatch)
		for i := range apps {
			switch a.random.IntN(8) {
			case 0:
				values[i] = `no record`
			case 1:
				apps[i] = a.unwanted
			default:
				apps[i] = a.wanted[a.random.IntN(2)]
			}
			if apps[i] != 0 {
				values[i] = padded(apps[i], 1000+a.random.IntN(3000))
			}
		}
		for i, at := range a.produce(partition, values...) {
			a.appended[partition] = append(a.appended[partition], appended{at: at, app: apps[i]})
		}
	}
}

// await waits until the readers have got what was appended so far.
func (a *audit) await(readers []*listening) {
	a.Helper()
	a.eventually("the readers have caught up", func() error {
		for i, l := range readers {
			for partition := range int32(ledgerPartitions) {
				if came, due := len(l.of(partition)), len(l.due(partition)); came != due {
					return fmt.Errorf("reader %d has %d records of %d of partition %d (%v)", i, came, due, partition, l.ended())
				}
			}
		}
		return nil
	})
}

// finish appends the records that tell the readers to stop: one for each app.
func (a *audit) finish() {
	a.Helper()
	for partition := range int32(ledgerPartitions) {
		for _, app := range a.wanted {
			at := a.produce(partition, fmt.Sprintf(`{"app_id":%d,"channel":%q}`, app, endChannel))[0]
			a.appended[partition] = append(a.appended[partition], appended{at, app, true})
		}
	}
}

// judge holds the ledger against what was appended and what has come.
func (a *audit) judge(readers, killed, slow []*listening) {
	a.Helper()
	var l ledger
	a.eventually("a ledger that balances", func() error {
		l = a.ledger()
		for partition := range l.Partitions {
			if p := l.Partitions[partition]; p.Buffered != 0 {
				return fmt.Errorf("partition %s: %d pushes are buffered", partition, p.Buffered)
			}
		}
		return l.unbalanced(a.appended[:])
	})
	var sum page
	for partition, list := range a.appended {
		p := l.Partitions[fmt.Sprint(partition)]
		var matched, unmatched, bad uint64
		for _, r := range list {
			switch r.app {
			case 0:
				bad++
			case a.unwanted:
				unmatched++
			default:
				matched++
			}
		}
		if p.Matched != matched || p.Unmatched != unmatched || p.Undecodable["invalid_json"] != bad {
			a.Errorf("partition %d: %+v, want %d matched, %d unmatched, %d undecodable", partition, p, matched, unmatched, bad)
		}
		var came uint64 // to whom it certainly was handed
		for _, r := range readers {
			came += uint64(len(r.of(int32(partition))))
		}
		var perhaps uint64 // what came of a connection's last bytes counts as dropped
		for _, k := range killed {
			perhaps += uint64(len(k.of(int32(partition))))
		}
		if p.Handed < came || p.Handed+p.Dropped["closed"] < came+perhaps {
			a.Errorf("partition %d: %d handed, %d dropped at the close, but %d came to readers and %d to the killed", partition, p.Handed, p.Dropped["closed"], came, perhaps)
		}
		sum.add(p)
	}
	a.Logf("%d records, %d deliveries: %d handed to the kernel, dropped %v", sum.Consumed, sum.Deliveries, sum.Handed, sum.Dropped)
	m := a.scrape()
	if err := errors.Join(
		m.want(float64(sum.Dropped["slow_consumer"]), metricPrefix+"pushes_dropped_total", "reason", "slow_consumer"),
		m.want(float64(sum.Dropped["closed"]), metricPrefix+"pushes_dropped_total", "reason", "closed"),
		m.want(float64(len(slow)), metricPrefix+"connections_closed_total", "reason", "slow_consumer"),
		m.want(float64(sum.Dropped["slow_consumer"]), metricPrefix+"connections_closed_total", "reason", "slow_consumer"),
	); err != nil {
		a.Error(err)
	}
	if m.sum(metricPrefix+"kafka_reconnects_total") < 1 {
		a.Error("no reconnect was counted")
	}
}

// ledger is what /ledger shows.
type ledger struct {
	Balanced   bool            `json:"balanced"`
	Partitions map[string]page `json:"partitions"`
}

type page struct {
	Balanced    bool              `json:"balanced"`
	From        int64             `json:"from"`
	Next        int64             `json:"next"`
	Offsets     int64             `json:"offsets"`
	Gaps        int64             `json:"gaps"`
	Consumed    uint64            `json:"consumed"`
	Matched     uint64            `json:"matched"`
	Unmatched   uint64            `json:"unmatched"`
	Undecodable map[string]uint64 `json:"undecodable"`
	Deliveries  uint64            `json:"deliveries"`
	Handed      uint64            `json:"handed"`
	Buffered    int64             `json:"buffered"`
	Dropped     map[string]uint64 `json:"dropped"`
}

func (p *page) add(q page) {
	p.Consumed += q.Consumed
	p.Deliveries += q.Deliveries
	p.Handed += q.Handed
	if p.Dropped == nil {
		p.Dropped = make(map[string]uint64)
	}
	for reason, n := range q.Dropped {
		p.Dropped[reason] += n
	}
}

func (tr *trial) ledger() (l ledger) {
	tr.Helper()
	r := tr.do(http.MethodGet, tr.admin, "/ledger", "")
	if err := json.Unmarshal([]byte(r.body), &l); err != nil || r.StatusCode != http.StatusOK {
		tr.Fatalf("/ledger: %s, %v: %.300q", r.Status, err, r.body)
	}
	return l
}

// unbalanced does the sums anew.
func (l ledger) unbalanced(want [][]appended) error {
	if !l.Balanced || len(l.Partitions) != len(want) {
		return fmt.Errorf("the ledger says of itself %+v", l)
	}
	for partition, list := range want {
		p := l.Partitions[fmt.Sprint(partition)]
		records, deliveries := p.Matched+p.Unmatched, p.Handed+uint64(p.Buffered)
		for _, n := range p.Undecodable {
			records += n
		}
		for _, n := range p.Dropped {
			deliveries += n
		}
		n, first, last := len(list), list[0].at.Offset, list[len(list)-1].at.Offset
		if p.Consumed != uint64(n) || p.From != first || p.Next != last+1 || p.Offsets != int64(n) || p.Gaps != 0 || p.Consumed != records || p.Deliveries != deliveries {
			return fmt.Errorf("partition %d: %+v, want %d records from %d to %d", partition, p, n, first, last)
		}
	}
	return nil
}

// listening is a client that keeps what comes, on a goroutine of its own.
type listening struct {
	*session
	audit *audit
	apps  []int64

	mu     sync.Mutex
	killed bool     // guarded by mu
	came   []cursor // guarded by mu
	err    error    // guarded by mu
}

// listen gives a client the first app, the second or both.
func (a *audit) listen(i int, s *session) *listening {
	a.Helper()
	apps := [][]int64{a.wanted[:1], a.wanted[1:], a.wanted[:]}[i%3]
	list, err := json.Marshal(apps)
	if err != nil {
		a.Fatal(err)
	}
	s.listen(fmt.Sprintf(`{"app_id":%s}`, list))
	return &listening{session: s, audit: a, apps: apps}
}

func (l *listening) kill() {
	l.Helper()
	l.mu.Lock()
	l.killed = true
	l.mu.Unlock()
	l.reset()
}

// read keeps what comes until the end of every partition has come, or the connection is no more.
func (l *listening) read() {
	err := l.conn.SetReadDeadline(time.Now().Add(3 * patience))
	for ends := 0; err == nil && ends < ledgerPartitions*len(l.apps); {
		var f received
		var end bool
		if f, err = l.tryFrame(); err == nil && f.op == opText {
			end, err = l.keep(f.payload)
		} else if err == nil && f.op != opPing {
			err = fmt.Errorf("came %v", f)
		}
		if end {
			ends++
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.killed {
		l.err = err
	}
}

func (l *listening) keep(message []byte) (end bool, err error) {
	if kind, err := notice(message); kind != "" || err != nil {
		return false, err
	}
	var m struct {
		Path   string `json:"path"`
		Params struct {
			Cursor cursor `json:"cursor"`
			Record struct {
				Channel string `json:"channel"`
			} `json:"record"`
		} `json:"params"`
	}
	if err := json.Unmarshal(message, &m); err != nil || m.Path != "/chat" {
		return false, fmt.Errorf("came %.100q (%v)", message, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.came = append(l.came, m.Params.Cursor)
	return m.Params.Record.Channel == endChannel, nil
}

// of is what came of a partition.
func (l *listening) of(partition int32) []cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.came), func(c cursor) bool { return c.Partition != partition })
}

// due is what should come of a partition.
func (l *listening) due(partition int32) (due []cursor) {
	for _, r := range l.audit.appended[partition] {
		if slices.Contains(l.apps, r.app) {
			due = append(due, r.at)
		}
	}
	return due
}

// ended is why the client has stopped reading.
func (l *listening) ended() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *listening) wantAll(who string) {
	l.Helper()
	if err := l.ended(); err != nil {
		l.Errorf("%s: %v", who, err)
	}
	for partition := range int32(ledgerPartitions) {
		if came, due := l.of(partition), l.due(partition); !slices.Equal(came, due) {
			l.Errorf("%s: of partition %d came %d records, want %d: %s", who, partition, len(came), len(due), difference(came, due))
		}
	}
}

// wantFirst wants the first of what was due, up to some record.
func (l *listening) wantFirst(who string) {
	l.Helper()
	for partition := range int32(ledgerPartitions) {
		came, due := l.of(partition), l.due(partition)
		if len(came) > len(due) || !slices.Equal(came, due[:len(came)]) {
			l.Errorf("%s: of partition %d came what was not due: %s", who, partition, difference(came, due))
		}
	}
}

func difference(came, due []cursor) string {
	for i := range min(len(came), len(due)) {
		if came[i] != due[i] {
			return fmt.Sprintf("the %d. is offset %d, want %d", i+1, came[i].Offset, due[i].Offset)
		}
	}
	return "they agree as far as both go"
}
