package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// metricPrefix begins the names of a run's metrics, so that they stand apart from the
// server's own.
const metricPrefix = "chatmonitor_run_"

// WriteOpenMetrics writes the figures as OpenMetrics text, each with the time at which
// the run began: promtool tsdb create-blocks-from openmetrics puts past runs into a
// Prometheus. A figure has up to three samples, by label stat: its value, and where its
// spread begins and ends. Figures that must not be used are left out: the format has no
// way to mark them.
func (r *Run) WriteOpenMetrics(w io.Writer) error {
	var out strings.Builder
	var names []string
	for _, f := range r.Figures {
		if f.Value != nil && f.Valid && !slices.Contains(names, f.Name) {
			names = append(names, f.Name)
		}
	}
	for _, name := range names { // the samples of a metric have to stand together
		fmt.Fprintf(&out, "# TYPE %s%s gauge\n", metricPrefix, name)
		for _, f := range r.Figures {
			if f.Name == name && f.Value != nil && f.Valid {
				r.writeSamples(&out, f)
			}
		}
	}
	out.WriteString("# EOF\n")
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("report: write the metrics: %w", err)
	}
	return nil
}

func (r *Run) writeSamples(out *strings.Builder, f Figure) {
	sample := func(stat string, value float64) {
		fmt.Fprintf(out, "%s%s{variant=%s,scenario=%s,stat=%s,run=%s,commit=%s,broker=%s} %s %d\n", metricPrefix, f.Name,
			label(f.Variant), label(f.Scenario), label(stat), label(r.ID), label(r.Environment.Commit), label(r.Configuration.Broker.Kind),
			strconv.FormatFloat(value, 'g', -1, 64), r.Started.Unix())
	}
	sample("value", *f.Value)
	if len(f.Samples) > 1 {
		low, high := spread(f.Interval, *f.Min, *f.Max)
		sample("low", low)
		sample("high", high)
	}
}

// label is a label's value in quotes (OpenMetrics 1.0, "escaped-string").
func label(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}
