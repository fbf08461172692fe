package monitor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"chatmonitor/server/chat"
)

// scan is Index's dumb twin: it asks every rule.
type scan []scanned

type scanned struct {
	subscription *subscription
	rule         *chat.Rule
}

func (s *scan) Match(p *publication, found func(*subscription)) {
	for _, r := range *s {
		if r.rule.Matches(&p.record, p.text()) {
			found(r.subscription)
		}
	}
}

func TestIndexAgreesWithScan(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var index Index
		var twin scan
		for step := range 600 {
			if len(twin) > 0 && random.IntN(3) == 0 {
				i := random.IntN(len(twin))
				index.Remove(twin[i].subscription, twin[i].subscription.rule())
				twin = slices.Delete(twin, i, i+1)
			} else {
				rule := randomRule(t, random)
				r := newSubscription(nil, fmt.Sprint(step), rule)
				index.Add(r, rule)
				twin = append(twin, scanned{r, rule})
			}
			compareMatches(t, &index, &twin, randomRecord(t, random))
		}
		for _, r := range twin {
			index.Remove(r.subscription, r.rule)
		}
		if len(index.shapes) != 0 {
			t.Fatalf("seed %d: %d shapes are left of an empty index", seed, len(index.shapes))
		}
	}
}

func compareMatches(t *testing.T, index *Index, twin *scan, p *publication) {
	t.Helper()
	got, want := matchedIDs(index.Match, p), matchedIDs(twin.Match, p)
	if !slices.Equal(got, want) {
		t.Fatalf("record %s: the index finds %v, the scan %v", p.value, got, want)
	}
}

func matchedIDs(match func(*publication, func(*subscription)), p *publication) (ids []string) {
	match(p, func(r *subscription) { ids = append(ids, r.id) })
	slices.Sort(ids)
	return ids
}

var words = []string{"gold", "GOLD", "代练", "Kelvin", "long\u017F", "a", "ΟΔΟΣ", "ı"}

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
