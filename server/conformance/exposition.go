package conformance

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// metrics is one scrape.
type metrics struct {
	types   map[string]string // of the families
	samples []sample
}

// sample is one line: for a histogram, the name has its suffix.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// family is the name without the suffix that a histogram or a summary has.
func (m *metrics) family(sampleName string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, has := strings.CutSuffix(sampleName, suffix)
		if kind := m.types[base]; has && (kind == "histogram" || kind == "summary" && suffix != "_bucket") {
			return base
		}
	}
	return sampleName
}

// scrape gets and parses /metrics.
func (tr *trial) scrape() *metrics {
	tr.Helper()
	m, err := tr.tryScrape()
	if err != nil {
		tr.Fatalf("GET /metrics: %v", err)
	}
	return m
}

func (tr *trial) tryScrape() (*metrics, error) {
	r, err := try(http.MethodGet, tr.address, "/metrics", "")
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %.300q", r.Status, r.body)
	}
	return parseMetrics(r.body)
}

var (
	metricName = `[a-zA-Z_:][a-zA-Z0-9_:]*`
	typeLine   = regexp.MustCompile(`^# TYPE (` + metricName + `) (counter|gauge|histogram|summary|untyped)$`)
	helpLine   = regexp.MustCompile(`^# HELP (` + metricName + `) (.+)$`)
	sampleLine = regexp.MustCompile(`^(` + metricName + `)(?:\{(.*)\})? (\S+)$`)
	oneLabel   = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)`)
)

// parseMetrics reads Prometheus' text format, and takes nothing that the format does not have: each
// sample has a type before it, and no series occurs twice.
func parseMetrics(body string) (*metrics, error) {
	m := &metrics{types: make(map[string]string)}
	if !strings.HasSuffix(body, "\n") {
		return nil, fmt.Errorf("the last line has no end")
	}
	seen := make(map[string]bool)
	for number, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		if err := m.line(line, seen); err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", number+1, line, err)
		}
	}
	return m, nil
}

func (m *metrics) line(line string, seen map[string]bool) error {
	if found := typeLine.FindStringSubmatch(line); found != nil {
		if _, double := m.types[found[1]]; double {
			return fmt.Errorf("a second type")
		}
		m.types[found[1]] = found[2]
		return nil
	}
	if helpLine.MatchString(line) {
		return nil
	}
	found := sampleLine.FindStringSubmatch(line)
	if found == nil {
		return fmt.Errorf("neither comment nor sample")
	}
	s := sample{name: found[1]}
	var err error
	if s.labels, err = parseLabels(found[2]); err != nil {
		return err
	}
	if s.value, err = strconv.ParseFloat(found[3], 64); err != nil {
		return err
	}
	if m.types[m.family(s.name)] == "" {
		return fmt.Errorf("no type before it")
	}
	if seen[s.key()] {
		return fmt.Errorf("a second time")
	}
	seen[s.key()] = true
	m.samples = append(m.samples, s)
	return nil
}

func parseLabels(text string) (map[string]string, error) {
	labels := make(map[string]string)
	for text != "" {
		found := oneLabel.FindStringSubmatch(text)
		if found == nil {
			return nil, fmt.Errorf("labels %q", text)
		}
		labels[found[1]] = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n").Replace(found[2])
		text = text[len(found[0]):]
	}
	return labels, nil
}

// key is the series: its name and its labels in order.
func (s *sample) key() string {
	key := s.name
	for _, label := range slices.Sorted(maps.Keys(s.labels)) {
		key += fmt.Sprintf(",%s=%q", label, s.labels[label])
	}
	return key
}

// sum adds up the samples of that name whose labels have the given values, in pairs.
func (m *metrics) sum(name string, labels ...string) (total float64) {
	for _, s := range m.named(name, labels...) {
		total += s.value
	}
	return total
}

func (m *metrics) named(name string, labels ...string) (list []sample) {
	for _, s := range m.samples {
		fits := s.name == name
		for i := 0; i < len(labels); i += 2 {
			value, has := s.labels[labels[i]]
			fits = fits && has && value == labels[i+1]
		}
		if fits {
			list = append(list, s)
		}
	}
	return list
}

// want gives an error unless sum gives the value.
func (m *metrics) want(value float64, name string, labels ...string) error {
	if got := m.sum(name, labels...); got != value {
		return fmt.Errorf("%s%q is %v, want %v", name, labels, got, value)
	}
	return nil
}

// since is how far every series has moved since an earlier scrape.
func (m *metrics) since(earlier *metrics) *metrics {
	before := make(map[string]float64)
	for _, s := range earlier.samples {
		before[s.key()] = s.value
	}
	moved := &metrics{types: m.types}
	for _, s := range m.samples {
		s.value -= before[s.key()]
		moved.samples = append(moved.samples, s)
	}
	return moved
}
