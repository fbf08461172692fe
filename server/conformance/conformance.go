// Package conformance is one suite of black-box tests for every variant of the server. It speaks to a
// server over real sockets, appends records to a real Kafka topic and reads what the server prints;
// it knows no package of the server, so a variant passes by what it does and not by how it is made.
//
//	Run --> group --> case --> trial --+-- peer, session ---------> server under test <--+
//	                                   +-- program: start, exec --> more servers         |
//	                                   +-- records ---------------> Kafka ---------------+
//
// A case that something must happen in waits for it up to patience. A case that something must not
// happen in never sleeps: it makes something later happen, and looks at what came before it.
//
// It measures nothing: how fast a server is, and how much memory it takes, is the harness's to say.
package conformance

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a case waits for what must happen. It is a hang that ends it, not a slow machine.
const patience = 20 * time.Second

// Target is the server under test.
type Target struct {
	Variant string   // names the list of deviations that apply; empty: none do
	Address string   // host:port for HTTP and WebSocket
	Admin   string   // host:port of the admin listener; empty: its cases are left out
	Brokers []string // Kafka that the server reads, and the suite writes to
	Topic   string
	Program *Program // starts more servers of this kind; nil: cases that need one are left out
}

// testCase is one promise of the design, tried once.
type testCase struct {
	name string
	run  func(*trial)
	// own: the case starts servers of its own, because it needs flags, signals or a topic to itself.
	own bool
	// admin: the case looks at the admin listener, of the target or of a server of its own.
	admin bool
	// detail: the case goes into what RFC 6455 or HTTP leave to the last paragraph; a variant whose
	// library gets it wrong may be listed in deviations. No other case can be.
	detail bool
}

// group is the cases about one part of the design.
type group struct {
	name  string
	cases []testCase
}

// groups are all of them, those with the longest waits first: the rest runs meanwhile.
func groups() []group {
	return []group{
		{"limits", limitCases()},
		{"feed", feedCases()},
		{"http", httpCases()},
		{"handshake", handshakeCases()},
		{"leaving", leavingCases()},
		{"frames", frameCases()},
		{"echo", echoCases()},
		{"metrics", metricsCases()},
		{"config", configCases()},
		{"protocol", protocolCases()},
		{"rules", ruleCases()},
		{"matching", matchingCases()},
		{"records", recordCases()},
		{"pushes", pushCases()},
		{"scripts", scriptCases()},
	}
}

// Run tries every case on the target, as parallel subtests of t.
func Run(t *testing.T, target Target) {
	s := &suite{Target: target, t: t, running: make(map[string]*sharedInstance)}
	s.connectToKafka(t)
	s.judgeDeviations()
	if target.Program != nil {
		s.quietTopic = topicName()
		s.newTrial(t).createTopic(s.quietTopic, 2)
		t.Cleanup(s.stopShared)
	}
	tried, leftOut := 0, 0
	for _, g := range groups() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range g.cases {
				if s.canTry(c) {
					t.Run(c.name, func(t *testing.T) {
						t.Parallel()
						s.try(t, g.name+"/"+c.name, c)
					})
				}
			}
		})
		for _, c := range g.cases {
			if s.canTry(c) {
				tried++
			} else {
				leftOut++
			}
		}
	}
	t.Logf("%d cases; left out, because they need a server of their own: %d", tried, leftOut)
}

func (s *suite) canTry(c testCase) bool {
	return s.Program != nil || !c.own && (!c.admin || s.Admin != "")
}

// suite is one run of all cases against a target.
type suite struct {
	Target
	t          *testing.T
	kafka      *kafka
	partitions int32 // of Target.Topic

	quietTopic string // of two partitions, that nobody writes to; empty without a Program

	mu      sync.Mutex
	running map[string]*sharedInstance // guarded by mu: by their flags
}

// try runs a case. A case that is listed as a deviation has to fail.
func (s *suite) try(t *testing.T, name string, c testCase) {
	reason, deviates := deviations[s.Variant][name]
	if !deviates {
		c.run(s.newTrial(t))
		return
	}
	d := &deviant{TB: t}
	d.watch(func() { c.run(s.newTrial(d)) })
	if len(d.failures) == 0 {
		t.Errorf("%s no longer deviates here: take it off the list (%s)", s.Variant, reason)
		return
	}
	t.Logf("deviation of %s: %s; it shows as: %s", s.Variant, reason, strings.Join(d.failures, "; "))
}

// judgeDeviations fails the suite for a listed deviation that no case may have.
func (s *suite) judgeDeviations() {
	allowed := make(map[string]bool)
	for _, g := range groups() {
		for _, c := range g.cases {
			allowed[g.name+"/"+c.name] = c.detail
		}
	}
	for name := range deviations[s.Variant] {
		if !allowed[name] {
			s.t.Errorf("the deviation %q of %s is no case, or one that nobody may deviate in", name, s.Variant)
		}
	}
}

// deviant keeps the failures of a case that is expected to fail.
type deviant struct {
	testing.TB
	failures []string
}

// watch runs f on a goroutine that a failure can end.
func (d *deviant) watch(f func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	<-ended
}

func (d *deviant) Errorf(format string, args ...any) {
	d.failures = append(d.failures, fmt.Sprintf(format, args...))
}

func (d *deviant) Error(args ...any) { d.failures = append(d.failures, fmt.Sprint(args...)) }

func (d *deviant) Fatalf(format string, args ...any) {
	d.Errorf(format, args...)
	runtime.Goexit()
}

func (d *deviant) Fatal(args ...any) {
	d.Error(args...)
	runtime.Goexit()
}

// trial is one execution of a case: what it reports to, and the server that it looks at.
type trial struct {
	testing.TB
	*suite
	address string // of the server, for HTTP and WebSocket
	admin   string // of its admin listener
	topic   string // that it reads
}

func (s *suite) newTrial(t testing.TB) *trial {
	return &trial{TB: t, suite: s, address: s.Address, admin: s.Admin, topic: s.Topic}
}

// on is the same trial looking at another server.
func (tr *trial) on(i *Instance) *trial {
	other := *tr
	other.address, other.admin = i.Address, i.Admin
	return &other
}

// A run of the suite begins somewhere below 2^49, far from any other run's numbers.
var (
	firstUnique = 1<<40 + rand.Int64N(1<<48)
	usedUnique  atomic.Int64
)

// unique is a number that no other case uses: an app_id of its own, for instance.
func unique() int64 { return firstUnique + usedUnique.Add(1) }

// eventually waits until probe finds nothing wrong.
func (tr *trial) eventually(what string, probe func() error) {
	tr.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = probe(); err == nil {
			return
		}
	}
	tr.Fatalf("%s: not within %v: %v", what, patience, err)
}
