package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"chatmonitor/server/chat"
)

// A script is random and the same for every variant: sessions come and go, set rules, replace and remove
// them, and records are appended in between. What each session is sent must be what the rules mean in
// their plainest form, and so the same on every variant.
func scriptCases() []testCase {
	var cases []testCase
	for seed := range uint64(6) {
		cases = append(cases, testCase{name: fmt.Sprintf("random script %d", seed), run: func(tr *trial) {
			s := &script{trial: tr, random: rand.New(rand.NewPCG(seed, 5)), app: unique(), partition: tr.partition()}
			s.run()
			s.compare(seed)
		}})
	}
	return cases
}

const (
	scriptSteps    = 150
	scriptSessions = 6
)

type script struct {
	*trial
	random    *rand.Rand
	app       int64 // stands for app_id 0 of the script
	partition int32
	actors    []*actor
	records   []scripted
	story     strings.Builder // what every session was sent, in records' numbers
}

// scripted is a record of the script.
type scripted struct {
	at     cursor
	record chat.Record
	folded string
}

// actor is a session of the script.
type actor struct {
	*session
	name  string
	rules map[string]*chat.Rule
	want  []int
}

func (s *script) run() {
	for step := range scriptSteps {
		switch n := s.random.IntN(20); {
		case len(s.actors) < 2 || n == 0 && len(s.actors) < scriptSessions:
			s.actors = append(s.actors, &actor{session: s.session(), name: fmt.Sprint("opened at ", step), rules: make(map[string]*chat.Rule)})
		case n < 2:
			i := s.random.IntN(len(s.actors))
			s.account(s.actors[i])
			s.actors[i].reset()
			s.actors = slices.Delete(s.actors, i, i+1)
		case n < 10:
			s.listen(s.anyone())
		case n < 13:
			s.unlisten(s.anyone())
		default:
			s.append()
		}
	}
	for _, a := range s.actors {
		s.account(a)
	}
}

func (s *script) anyone() *actor { return s.actors[s.random.IntN(len(s.actors))] }

func (s *script) listen(a *actor) {
	s.account(a)
	name, source := fmt.Sprint("rule", s.random.IntN(5)), s.rule()
	rule, err := chat.ParseRule([]byte(source), chat.RuleLimits{MaxEntries: 256, MaxKeywords: 64})
	if err != nil {
		s.Fatalf("%s: %v", source, err)
	}
	a.listenAs(name, source)
	a.rules[name] = rule
}

func (s *script) unlisten(a *actor) {
	s.account(a)
	name := fmt.Sprint("rule", s.random.IntN(5))
	if a.rules[name] == nil {
		a.refused("unknown_rule", "/unlisten", fmt.Sprintf(`{"rule_id":%q}`, name))
		return
	}
	a.unlisten(name)
	delete(a.rules, name)
}

// append appends up to ten records at once, and notes who wants them.
func (s *script) append() {
	var values []string
	for range 1 + s.random.IntN(10) {
		values = append(values, s.record())
	}
	for i, at := range s.produce(s.partition, values...) {
		record, err := chat.DecodeRecord([]byte(values[i]), 1<<20)
		if err != nil {
			s.Fatalf("%s: %v", values[i], err)
		}
		r := scripted{at: at, record: record, folded: chat.Fold(record.Text)}
		for _, a := range s.actors {
			if a.wants(&r) {
				a.want = append(a.want, len(s.records))
			}
		}
		s.records = append(s.records, r)
	}
}

func (a *actor) wants(r *scripted) bool {
	for _, rule := range a.rules {
		if rule.Matches(&r.record, r.folded) {
			return true
		}
	}
	return false
}

// account waits until all records so far are decided for the session, and compares what came with what
// had to. Other trials' records, that a rule without the app_id also matches, are passed over.
func (s *script) account(a *actor) {
	s.Helper()
	var came []int
	for _, p := range a.before(s.partition) {
		if i := slices.IndexFunc(s.records, func(r scripted) bool { return r.at == p.at }); i >= 0 {
			came = append(came, i)
		}
	}
	if !slices.Equal(came, a.want) {
		s.Fatalf("the session %s was sent the records %v, want %v; its rules are %v", a.name, came, a.want, a.session.rules())
	}
	fmt.Fprintf(&s.story, "%s: %v\n", a.name, came)
	a.want = nil
}

var stories sync.Map // by seed: the story that the first variant told

// compare fails the case if another variant told another story.
func (s *script) compare(seed uint64) {
	if first, known := stories.LoadOrStore(seed, s.story.String()); known && first != s.story.String() {
		s.Errorf("another variant sent\n%s\nthis one\n%s", first, s.story.String())
	}
}

var scriptWords = []string{"gold", "GOLD", "goblin", "代练", "代", "kelvin", "\u212aELVIN", "maſt", "MAST", "ΟΔΟΣ", "οδος", "ı", "I", "a"}

func (s *script) word() string { return scriptWords[s.random.IntN(len(scriptWords))] }

// rule is a random rule: mostly with the script's own app_id.
func (s *script) rule() string {
	var members []string
	if s.random.IntN(5) > 0 {
		members = append(members, fmt.Sprintf(`"app_id":[%d,"%d"]`, s.app, s.app))
	}
	for _, field := range []string{"agent_id", "server_id", "pid"} {
		switch s.random.IntN(6) {
		case 0:
			members = append(members, fmt.Sprintf("%q:%d", field, s.random.IntN(3)))
		case 1:
			members = append(members, fmt.Sprintf("%q:[%d,%d]", field, s.random.IntN(3), s.random.IntN(3)))
		}
	}
	if s.random.IntN(5) == 0 {
		members = append(members, fmt.Sprintf(`"channel":["%d",""]`, s.random.IntN(2)))
	}
	if s.random.IntN(2) == 0 {
		members = append(members, fmt.Sprintf(`"keywords":[%q,%q]`, s.word(), s.word()+s.word()))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (s *script) record() string {
	members := []string{fmt.Sprintf(`"app_id":%d`, s.app)}
	for _, field := range []string{"agent_id", "server_id", "pid"} {
		if s.random.IntN(4) > 0 {
			members = append(members, fmt.Sprintf("%q:%d", field, s.random.IntN(3)))
		}
	}
	if s.random.IntN(2) == 0 {
		members = append(members, fmt.Sprintf(`"channel":"%d"`, s.random.IntN(2)))
	}
	if s.random.IntN(5) > 0 {
		members = append(members, fmt.Sprintf(`"text":%q`, s.word()+s.word()+" "+s.word()))
	}
	return "{" + strings.Join(members, ",") + "}"
}
