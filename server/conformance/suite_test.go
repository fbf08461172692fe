package conformance

import (
	"slices"
	"strings"
	"testing"
)

// The machinery for deviations is tried on cases that fail on purpose.
func TestDeviantKeepsFailures(t *testing.T) {
	d := &deviant{TB: t}
	reached := false
	d.watch(func() {
		tr := (&suite{t: t}).newTrial(d)
		tr.Errorf("first %d", 1)
		tr.Error("second")
		tr.Fatalf("third")
		reached = true
	})
	if reached || !slices.Equal(d.failures, []string{"first 1", "second", "third"}) {
		t.Errorf("kept %q, went on %v", d.failures, reached)
	}
	content := &deviant{TB: t}
	content.watch(func() {})
	if len(content.failures) > 0 {
		t.Errorf("of a case without failure it kept %q", content.failures)
	}
}

func TestCaseNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, g := range groups() {
		for _, c := range g.cases {
			name := g.name + "/" + c.name
			if seen[name] || c.name == "" || c.run == nil {
				t.Errorf("the case %q is double or empty", name)
			}
			seen[name] = true
		}
	}
}

func TestParseMetrics(t *testing.T) {
	good := "# HELP a_total What it counts.\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"\\\\\\n,}\"} 3\na_total{x=\"2\",y=\"\"} 4.5e1\n" +
		"# TYPE h histogram\nh_bucket{le=\"1\"} 0\nh_bucket{le=\"+Inf\"} 2\nh_sum 8\nh_count 2\n# TYPE s summary\ns{quantile=\"0\"} NaN\ns_sum 0\ns_count 0\n"
	m, err := parseMetrics(good)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.sum("a_total"); got != 48 {
		t.Errorf("the sum is %v, want 48", got)
	}
	if got := m.sum("a_total", "y", "q\"\\\n,}"); got != 3 {
		t.Errorf("the sum for an escaped label is %v, want 3", got)
	}
	for _, bad := range []string{
		"a_total 1\n", "# TYPE a counter\na 1", "# TYPE a counter\na one\n", "# TYPE a counter\na 1\na 2\n", "# TYPE a counter\n# TYPE a gauge\n",
		"# TYPE a counter\na{x=1} 1\n", "# TYPE a counter\na{x=\"1\" 1\n", "# TYPE a counter\na_sum 1\n", "# TYPE a strange\n", "\n",
	} {
		if _, err := parseMetrics(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// A frame of the suite's own must be what the RFC says, or the suite tests something else.
func TestFrames(t *testing.T) {
	for _, row := range []struct{ got, want string }{
		{frame(fin|opText, ""), "\x81\x80\x9d\x13\xf0\x6a"},
		{frame(opBinary, "ab\x00cd"), "\x02\x85\x9d\x13\xf0\x6a\xfcq\xf0\x09\xf9"},
		{frameHead(fin|opText, 126), "\x81\xfe\x00\x7e\x9d\x13\xf0\x6a"},
		{frameHead(fin|opText, 1<<16), "\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00\x9d\x13\xf0\x6a"},
		{closePayload(1000, "x"), "\x03\xe8x"},
		{acceptKey(nonce), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, // RFC 6455 1.3
	} {
		if row.got != row.want {
			t.Errorf("%q, want %q", row.got, row.want)
		}
	}
	if hello := tlsHello(); !strings.HasPrefix(hello, "\x16\x03") {
		t.Errorf("the TLS hello begins with %.5q", hello)
	}
}
