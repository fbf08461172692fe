package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// A line of OpenMetrics that this package may write.
var openMetricsLine = regexp.MustCompile(`^(# TYPE [a-z_0-9]+ gauge|# EOF|[a-z_0-9]+\{([a-z]+="([^"\\\n]|\\\\|\\"|\\n)*",?)+\} [-+0-9.e]+ [0-9]+)$`)

func TestOpenMetrics(t *testing.T) {
	for name, r := range map[string]*Run{"made up": sampleRun(), "hostile": hostileRun(), "climbs": sampleClimbs(), "many rounds": sampleOfRounds(6)} {
		var out bytes.Buffer
		if err := r.WriteOpenMetrics(&out); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		seen := map[string]bool{}
		family := ""
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if !openMetricsLine.MatchString(line) {
				t.Errorf("%s: %q", name, line)
			}
			series, _, _ := strings.Cut(line, "} ")
			if seen[series] {
				t.Errorf("%s: twice: %q", name, line)
			}
			seen[series] = true
			if is := strings.HasPrefix(line, "# TYPE "); is {
				family = strings.Fields(line)[2]
			} else if family != "" && !strings.HasPrefix(line, family+"{") && line != "# EOF" {
				t.Errorf("%s: %q stands under %s", name, line, family)
			}
		}
		if !strings.HasSuffix(text, "# EOF\n") {
			t.Errorf("%s: it does not end", name)
		}
	}
}

func TestOpenMetricsHasWhatMayBeUsed(t *testing.T) {
	r := sampleRun()
	r.Failures = []Failure{{Kind: KindInvalid, Variant: "reactor", Scenario: "push", Round: 1, Reason: "because"}}
	r.DeriveFigures()
	var out bytes.Buffer
	if err := r.WriteOpenMetrics(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `chatmonitor_run_push_p50_ns{variant="goroutine-plain",scenario="push",stat="value",run="20261123T010000Z-0123456789ab",commit="0123456789ab",broker="embedded"} 600000 1795395600`) {
		t.Errorf("a figure is missing:\n%s", &out)
	}
	if strings.Contains(out.String(), `push_p50_ns{variant="reactor"`) {
		t.Error("a figure that must not be used is there")
	}
}
