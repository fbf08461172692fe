package report

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"chatmonitor/harness/probe"
)

// smallRun is a real run of two variants, cut down.
func smallRun(t *testing.T) *Run {
	t.Helper()
	r, err := Read(filepath.Join("testdata", "run"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const attack = `"'><script>alert(1)</script><img src=x onerror=alert(2)> | [x](javascript:alert(3)) ` + "```\n\n# head\x1b[2J\u202e" + ` *&amp;`

// hostileRun has an attack in every text that comes from outside.
func hostileRun() *Run {
	r := sampleRun()
	r.ID += attack
	e, c := &r.Environment, &r.Configuration
	e.Machine.CPUModel, e.Machine.Kernel, e.Machine.OS, e.Machine.Arch = attack, attack, attack, attack
	e.Machine.MemoryBytes = probe.Unavailable(errors.New(attack))
	e.GoVersion, e.Commit = attack, attack
	e.Variables = map[string]string{attack: attack}
	e.Binaries = []Binary{{Name: attack, GoVersion: attack, Unknown: attack}}
	c.Broker = Broker{Kind: attack, Note: attack, Topic: attack, Addresses: []string{attack}}
	c.Order = attack
	c.ConnectionsFrom = []Bound{{Name: attack, Found: attack, Lift: attack, Decides: true}}
	c.Variants[1].Note = attack
	r.rename("reactor", attack)
	r.Measurements[2].ServerCommand = []string{attack, "--" + attack}
	for i := range r.Measurements {
		for j := range r.Measurements[i].Snapshots {
			r.Measurements[i].Snapshots[j].Kernel.SlabCaches = map[string]float64{attack: float64(j) * 1e6}
		}
	}
	r.Failures = append(r.Failures, Failure{Kind: KindFailed, Variant: attack, Scenario: "push", Round: 1, Reason: attack})
	r.DeriveFigures()
	for i := range r.Figures {
		r.Figures[i].Unavailable = append(r.Figures[i].Unavailable, attack)
	}
	return r
}

// rename gives a variant another name.
func (r *Run) rename(from, to string) {
	for i := range r.Configuration.Variants {
		if v := &r.Configuration.Variants[i]; v.Name == from {
			v.Name = to
		}
	}
	for i := range r.Measurements {
		if m := &r.Measurements[i]; m.Variant == from {
			m.Variant = to
		}
	}
}

func markdownOf(t *testing.T, r *Run) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.WriteMarkdown(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func pageOf(t *testing.T, r *Run) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

var embedded = regexp.MustCompile(`href="data:application/json;base64,([^"]*)"`)

func TestReportsOfARun(t *testing.T) {
	r := smallRun(t)
	golden(t, "run/report.txt", tableOf(t, r))
	golden(t, "run/report.md", markdownOf(t, r))
	page := pageOf(t, r)
	golden(t, "run/report.html", embedded.ReplaceAllString(page, `href="data:application/json;base64,..."`))
	if again := pageOf(t, r); again != page {
		t.Error("the same run makes two pages")
	}
}

// TestPageHoldsTheData downloads it.
func TestPageHoldsTheData(t *testing.T) {
	r := smallRun(t)
	match := embedded.FindStringSubmatch(pageOf(t, r))
	if match == nil {
		t.Fatal("no data in the page")
	}
	text := strings.NewReplacer("&#43;", "+", "&#61;", "=").Replace(match[1])
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	var back Run
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if tableOf(t, &back) != tableOf(t, r) || markdownOf(t, &back) != markdownOf(t, r) {
		t.Error("the data make another report than the run")
	}
}

// TestPageNeedsNothingElse: no script, nothing that is fetched.
func TestPageNeedsNothingElse(t *testing.T) {
	page := pageOf(t, smallRun(t))
	for _, forbidden := range []string{"<script", "src=", "http-equiv", "@import", "url(", "<link", "<iframe"} {
		if strings.Contains(page, forbidden) {
			t.Errorf("the page has %s", forbidden)
		}
	}
	for _, address := range regexp.MustCompile(`https?://[^"<\s]*`).FindAllString(page, -1) {
		if address != "http://www.w3.org/2000/svg" {
			t.Errorf("the page names %s", address)
		}
	}
}

// TestDrawingsAreSound: each is well-formed, and has a title and a description.
func TestDrawingsAreSound(t *testing.T) {
	for name, r := range map[string]*Run{"real": smallRun(t), "hostile": hostileRun(), "made up": sampleRun()} {
		figures, err := r.figures()
		if err != nil {
			t.Fatal(err)
		}
		if name == "real" && len(figures) != 6 {
			t.Errorf("%d figures of a whole run", len(figures))
		}
		for _, f := range figures {
			for _, drawing := range f.Drawings {
				wantDrawing(t, drawing)
			}
		}
	}
}

func wantDrawing(t *testing.T, drawing string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(drawing))
	seen := map[string]int{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, drawing)
		}
		if start, is := token.(xml.StartElement); is {
			seen[start.Name.Local]++
		}
	}
	if seen["svg"] != 1 || seen["title"] != 1 || seen["desc"] != 1 || seen["text"] == 0 || seen["script"]+seen["img"] > 0 {
		t.Errorf("elements %v in\n%s", seen, drawing)
	}
	if strings.Contains(drawing, "NaN") || strings.Contains(drawing, "Inf") {
		t.Errorf("a place that is none in\n%s", drawing)
	}
}

func TestReportsOfAHostileRun(t *testing.T) {
	r := hostileRun()
	page := pageOf(t, r)
	for _, live := range []string{"<script", "<img", "onerror=alert(2)>", `href="javascript`, "\x1b"} {
		if strings.Contains(page, live) {
			t.Errorf("the page has %q", live)
		}
	}
	text := tableOf(t, r)
	if strings.ContainsAny(text, "\x1b\u202e") || !strings.Contains(text, `\u001b[2J`) {
		t.Errorf("the table has live control characters:\n%s", text)
	}
	wantHarmlessMarkdown(t, markdownOf(t, r))
	var compared bytes.Buffer
	if err := Compare(sampleRun(), r).Print(&compared); err != nil || strings.ContainsRune(compared.String(), '\x1b') {
		t.Errorf("comparison (%v):\n%s", err, &compared)
	}
}

// wantHarmlessMarkdown: outside of fences no mark of the attack is left alone, and
// every row of a table has as many cells as its head.
func wantHarmlessMarkdown(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\x1b\u202e") {
		t.Error("the Markdown has live control characters")
	}
	fence, cells := "", 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case fence == "" && strings.HasPrefix(line, "```"):
			fence = line
		case fence != "" && line == fence:
			fence = ""
		case fence != "":
		case strings.HasPrefix(line, "|"):
			n := len(regexp.MustCompile(`(^|[^\\])\|`).FindAllString(line, -1))
			if cells == 0 {
				cells = n
			}
			if n != cells {
				t.Errorf("%d cells where there are %d: %s", n, cells, line)
			}
		default:
			cells = 0
		}
		if fence == "" && regexp.MustCompile(`(^|[^\\])(<script|<img|\[x\]\()`).MatchString(line) {
			t.Errorf("a live attack in %s", line)
		}
	}
	if fence != "" {
		t.Error("a fence does not end")
	}
}

func TestStanding(t *testing.T) {
	tests := []struct {
		change func(*Run)
		want   Standing
		say    string
	}{
		{func(*Run) {}, Sound, "all 24 measurements valid; 108,000 of 108,000 deliveries arrived, each once, unchanged and in order."},
		{func(r *Run) { r.fail(KindInvalid) }, Caution, "1 of 24 measurements invalid, whose figures are marked ! (reactor in push)"},
		{func(r *Run) { r.fail(KindInvalid); r.fail(KindFailed) }, NotWhole, "1 of 24 measurements failed (reactor in push)"},
		{func(r *Run) { r.Interrupted = true; r.fail(KindFailed) }, NotWhole, "interrupted after 24 measurements"},
		{func(r *Run) { r.Interrupted = true; r.fail(KindWrong) }, Wrong, "1 of 24 measurements wrong (reactor in push); 0 deliveries lost, 0 duplicated"},
	}
	for _, test := range tests {
		r := sampleRun()
		test.change(r)
		if got, why := r.Standing(); got != test.want || !strings.Contains(why, test.say) {
			t.Errorf("%s: %s; want %s: %s", got, why, test.want, test.say)
		}
	}
}

func (r *Run) fail(kind string) {
	r.Failures = append(r.Failures, Failure{Kind: kind, Variant: "reactor", Scenario: "push", Round: 1})
}

// TestMemoryAddsUp: the parts of a bar are what the connections take.
func TestMemoryAddsUp(t *testing.T) {
	r := smallRun(t)
	all := r.memory()
	if len(all.bars) != 4 {
		t.Fatalf("bars %+v", all.bars)
	}
	for _, bar := range all.bars {
		m := highest(r.measured(bar.variant, idleScenario))[0]
		total := 0.0
		for _, of := range []sloped{{of: residentBytes, afterGC: bar.afterGC}, {of: slabBytes, afterGC: bar.afterGC}} {
			bytes, err := m.difference(of)
			if err != nil {
				t.Fatal(err)
			}
			total += bytes / float64(m.Connections)
		}
		if !near(bar.total(), total) || len(bar.parts) != len(all.names) {
			t.Errorf("the parts of %s, %s add up to %v, not %v", bar.variant, bar.moment(), bar.total(), total)
		}
	}
}

func TestHistogramsAreMerged(t *testing.T) {
	all, err := smallRun(t).distributions(pushScenario, responseTime)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d distributions, %v", len(all), err)
	}
	for _, d := range all {
		sum := int64(0)
		for _, h := range d.rounds {
			sum += h.TotalCount()
		}
		low, high := d.rangeAt(0.5)
		if middle := valueAt(d.all, 0.5); d.all.TotalCount() != sum || len(d.rounds) != 2 || low > middle || middle > high {
			t.Errorf("%s: %d of %d samples; p50 %v, of the rounds %v to %v", d.variant, d.all.TotalCount(), sum, middle, low, high)
		}
	}
}

func TestABrokenHistogramIsTold(t *testing.T) {
	r := sampleRun()
	m := &r.Measurements[len(r.Measurements)-1]
	m.Loadgen = bytes.Replace(m.Loadgen, []byte(`"valid"`), []byte(`"histograms":{"response":{"hdr":"nonsense"}},"valid"`), 1)
	if err := r.WriteHTML(io.Discard); err == nil || !strings.Contains(err.Error(), `histogram "response" of goroutine-plain, push, round 3`) {
		t.Errorf("error %v", err)
	}
}

func TestCompare(t *testing.T) {
	a, b := sampleRun(), sampleRun()
	b.ID = "20261124T010000Z-ba9876543210"
	b.Environment.Commit = "ba9876543210"
	b.Environment.Machine.Cores = 64
	b.Configuration.Scenarios[2].RatePerSecond = 8
	for i := range b.Measurements {
		m := &b.Measurements[i]
		if m.Scenario == pushScenario { // three times as slow, all variants alike
			m.Loadgen = slower(t, m.Loadgen, 3)
		}
		if m.Scenario == pushScenario && m.Variant == "reactor" { // and that one by itself
			m.Loadgen = slower(t, m.Loadgen, 2)
		}
	}
	b.DeriveFigures()
	b.Figure("floor", pushScenario, PushP50).Valid = false
	b.Figure("floor", pushScenario, PushP50).Invalid = []string{"round 1 invalid: the sender lagged"}
	var out bytes.Buffer
	c := Compare(a, b)
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", out.String())
	for _, compared := range c.Compared {
		if compared.Line.name != PushP99 || compared.Variant != "reactor" {
			continue
		}
		if !near(compared.Ratio.Value, 6) || !near(compared.OverBase.Value, 2) || !near(compared.Ratio.Coverage, 0.9) {
			t.Errorf("push p99: %+v, over the base %+v", compared.Ratio, compared.OverBase)
		}
	}
}

// slower multiplies the response times.
func slower(t *testing.T, text json.RawMessage, factor float64) json.RawMessage {
	t.Helper()
	var result map[string]any
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	response := result["latency"].(map[string]any)["response"].(map[string]any)
	for name, value := range response {
		if name != "count" {
			response[name] = value.(float64) * factor
		}
	}
	out, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A commit that is unknown, or has changes, does not say what was run.
func TestCompareOtherProgramsOfOneCommit(t *testing.T) {
	a, b := sampleRun(), sampleRun()
	a.Environment.Binaries = []Binary{{Name: "server", SHA256: "aa"}, {Name: "loadgen", SHA256: "cc"}, {Name: "floor"}}
	b.Environment.Binaries = []Binary{{Name: "loadgen", SHA256: "cc"}, {Name: "server", SHA256: "bb"}, {Name: "floor", SHA256: "dd"}}
	want := []Difference{{"program server", "sha256 aa", "sha256 bb"}}
	if got := Compare(a, b).Differs; !reflect.DeepEqual(got, want) {
		t.Errorf("differs in %v, want %v", got, want)
	}
}

func TestCompareARunWithItself(t *testing.T) {
	r := smallRun(t)
	c := Compare(r, r)
	if len(c.Differs) != 0 || len(c.Compared) < 10 {
		t.Errorf("differs in %v; %d figures compared", c.Differs, len(c.Compared))
	}
	for _, compared := range c.Compared {
		if compared.Ratio.Value != 1 {
			t.Errorf("%s of %s: %+v", compared.Line.name, compared.Variant, compared.Ratio)
		}
	}
}
