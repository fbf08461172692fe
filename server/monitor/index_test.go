package monitor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"chatmonitor/server/chat"
)

// scan is Index's dumb twin: it asks every rule. Both call a rule's owner what the test does.
type scan []scanned

type scanned struct {
	owner int32
	place int32 // in the index
	rule  *chat.Rule
}

func (s *scan) match(p *publication) (owners []int32) {
	for _, r := range *s {
		if r.rule.Matches(&p.record, string(p.text())) {
			owners = append(owners, r.owner)
		}
	}
	return owners
}

// twins are an index and a scan with the same rules, of which each has an owner of its own.
type twins struct {
	index *Index
	scan  scan
	rules int32 // made so far
}

func newTwins() *twins {
	w := &twins{}
	w.index = newIndex(func(owner, from, to int32) {
		i := slices.IndexFunc(w.scan, func(r scanned) bool { return r.owner == owner })
		if w.scan[i].place != from {
			panic("the index moved a rule from where it was not")
		}
		w.scan[i].place = to
	})
	return w
}

func (w *twins) add(rule *chat.Rule) {
	w.rules++
	place := w.index.Add(w.rules, fmt.Sprint(w.rules), rule)
	w.scan = append(w.scan, scanned{w.rules, place, rule})
}

func (w *twins) remove(i int) {
	place := w.scan[i].place
	w.scan = slices.Delete(w.scan, i, i+1)
	w.index.Remove(place)
}

// search is a whole search, in parts of so many steps.
func (x *Index) find(p *publication, steps int, found func(owner int32)) {
	for x.Begin(p); x.Continue(steps, found) == 0; {
	}
}

func TestIndexAgreesWithScan(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := newTwins()
		for range 600 {
			if len(w.scan) > 0 && random.IntN(3) == 0 {
				w.remove(random.IntN(len(w.scan)))
			} else {
				w.add(randomRule(t, random))
			}
			w.compare(t, randomRecord(t, random))
		}
		w.checkRules(t)
		for len(w.scan) > 0 {
			w.remove(random.IntN(len(w.scan)))
		}
		w.checkEmpty(t)
	}
}

func (w *twins) compare(t *testing.T, p *publication) {
	t.Helper()
	var got []int32
	w.index.find(p, 1+int(w.rules%7), func(owner int32) { got = append(got, owner) })
	slices.Sort(got)
	got = slices.Compact(got)
	if want := w.scan.match(p); !slices.Equal(got, want) {
		t.Fatalf("record %s: the index finds %v, the scan %v", p.value, got, want)
	}
}

// checkRules fails the test unless the index can list every rule.
func (w *twins) checkRules(t *testing.T) {
	t.Helper()
	for _, r := range w.scan {
		if got, want := w.index.Rule(r.place), r.rule.AppendEncoded(nil); string(got) != string(want) || string(w.index.Name(r.place)) != fmt.Sprint(r.owner) {
			t.Fatalf("rule %d is kept as %q %q, want %q", r.owner, w.index.Name(r.place), got, want)
		}
	}
}

func (w *twins) checkEmpty(t *testing.T) {
	t.Helper()
	x := w.index
	if x.rules.n != 0 || x.entries.n != 0 || x.long.n != 0 || x.inUse != 0 || x.single != 0 || len(x.chains.directory) != 1 || x.chains.directory[0].used != 0 {
		t.Fatalf("of an index without rules are left: %d rules, %d entries, %d long, shapes %b, %d single runes, %d segments",
			x.rules.n, x.entries.n, x.long.n, x.inUse, x.single, len(x.chains.directory))
	}
}

var words = []string{"gold", "GOLD", "goblin", "代练", "代", "Kelvin", "long\u017F", "a", "ΟΔΟΣ", "ı", "old x"}

func randomRule(t *testing.T, random *rand.Rand) *chat.Rule {
	t.Helper()
	var members []string
	for _, field := range []string{"app_id", "agent_id", "server_id", "pid"} {
		switch random.IntN(5) {
		case 0:
			members = append(members, fmt.Sprintf("%q:%d", field, random.IntN(4)))
		case 1:
			members = append(members, fmt.Sprintf("%q:[%d,%d]", field, random.IntN(4), random.IntN(4)))
		}
	}
	if random.IntN(4) == 0 {
		members = append(members, fmt.Sprintf(`"channel":["c%d","c%d"]`, random.IntN(3), random.IntN(3)))
	}
	if random.IntN(3) == 0 {
		members = append(members, fmt.Sprintf(`"keywords":[%q,%q]`, words[random.IntN(len(words))], words[random.IntN(len(words))]))
	}
	rule, err := chat.ParseRule([]byte("{"+strings.Join(members, ",")+"}"), chat.RuleLimits{MaxEntries: 1000, MaxKeywords: 10})
	if err != nil {
		t.Fatal(err)
	}
	return rule
}

func randomRecord(t *testing.T, random *rand.Rand) *publication {
	t.Helper()
	members := []string{fmt.Sprintf(`"text":%q`, words[random.IntN(len(words))]+" x "+words[random.IntN(len(words))])}
	if random.IntN(4) == 0 {
		members = nil
	}
	for _, field := range []string{"app_id", "agent_id", "server_id", "pid"} {
		if random.IntN(4) > 0 {
			members = append(members, fmt.Sprintf("%q:%d", field, random.IntN(4)))
		}
	}
	if random.IntN(2) == 0 {
		members = append(members, fmt.Sprintf(`"channel":"c%d"`, random.IntN(3)))
	}
	value := []byte("{" + strings.Join(members, ",") + "}")
	record, err := chat.DecodeRecord(value, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return &publication{record: record, value: value}
}

// A rule with more keywords and combinations than are worth entries is found in a long chain, too.
func TestWideRulesInALongChain(t *testing.T) {
	w := newTwins()
	var servers, keywords []string
	for i := range 40 {
		servers, keywords = append(servers, fmt.Sprint(i)), append(keywords, fmt.Sprintf("%q", fmt.Sprint("word", i)))
	}
	wide := fmt.Sprintf(`{"app_id":1,"server_id":[%s],"keywords":[%s]}`, strings.Join(servers, ","), strings.Join(keywords, ","))
	for i := range 40 {
		w.add(otherRule(wide))
		w.add(otherRule(fmt.Sprintf(`{"app_id":1,"server_id":[7,8],"keywords":["word%d"]}`, i)))
	}
	if n := w.index.entries.n; n > 40*(40+40+2*2) {
		t.Errorf("%d entries: wide rules have one for each keyword", n)
	}
	for len(w.scan) > 0 {
		for _, text := range []string{"a Word7 b", "word39", "wor"} {
			p := line(7)
			p.record.Text = text
			w.compare(t, p)
		}
		w.remove(len(w.scan) / 3)
	}
	w.checkEmpty(t)
}

// A keyword of one rune is found in a long chain, even if it is the only one so short.
func TestAKeywordOfOneRuneInALongChain(t *testing.T) {
	w := newTwins()
	w.add(otherRule(`{"keywords":["x"]}`))
	for i := range 20 {
		w.add(otherRule(fmt.Sprintf(`{"keywords":["word%d"]}`, i)))
	}
	for _, text := range []string{"x", "ax", "xa", "a", "word1x"} {
		p := line(1)
		p.record.Text = text
		w.compare(t, p)
	}
}

// A node gets its prefixes once, also when it leaves the first few again, and in another place.
func TestPrefixesAreMadeOnce(t *testing.T) {
	w := newTwins()
	add := func(rules int) {
		for range rules {
			w.add(otherRule(`{"app_id":[1,2],"keywords":["word"]}`))
		}
	}
	w.add(otherRule(`{}`))
	add(2 * triedOneByOne)
	for range triedOneByOne {
		w.remove(len(w.scan) - 1) // those that have none: those behind them are the first few now
	}
	w.remove(0) // one of them takes its place
	before := w.index.entries.n
	add(triedOneByOne)
	if n := w.index.entries.n; n != before+triedOneByOne {
		t.Errorf("%d rules of two nodes have made %d entries", triedOneByOne, n-before)
	}
}

func TestPrefixesOfATextAreAllListedOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := []rune("abcдя代练\x00\U0001F600\U00010400")
	for length := range 600 {
		text := make([]rune, length)
		for i := range text {
			if text[i] = letters[random.IntN(len(letters))]; random.IntN(2) == 0 {
				text[i] = 0x4E00 + random.Int32N(20_000)
			}
		}
		pairs, runes := make(map[uint64]bool), make(map[uint64]bool)
		for i := range text {
			word, _ := prefix([]byte(string(text[i])))
			runes[word] = true
			if i > 0 {
				word, _ := prefix([]byte(string(text[i-1 : i+1])))
				pairs[word] = true
			}
		}
		for single, want := range map[bool]map[uint64]bool{false: pairs, true: runes} {
			got := appendPrefixes(nil, []byte(string(text)), single)
			for _, word := range got {
				if !want[word] {
					t.Fatalf("%q, single %v: %#x is listed", string(text), single, word)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%q, single %v: %d are listed, want %d", string(text), single, len(got), len(want))
			}
		}
	}
}

// What must be found by the first two runes of a keyword is found however they are written.
func TestPrefixesFoldToo(t *testing.T) {
	w := newTwins()
	for _, k := range []string{"kelvin", "\u212Aelvin", "maſt", "sum", "ς", "σ", "οδος", "ı", "i", "ǆ", "\U00010428x", "代练", "代"} {
		for range 5 {
			w.add(otherRule(fmt.Sprintf(`{"app_id":1,"keywords":[%q]}`, k)))
		}
	}
	for _, text := range []string{"xKELVIN", "\u212aelvin", "MAST", "\u017Fum", "Σ", "ΟΔΟΣ", "ODOS", "I", "\u0130", "\u0131", "Ǆ", "\U00010400X", "代", "代练"} {
		p := line(1)
		p.record.Text = text
		w.compare(t, p)
	}
}
