package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sampleOfOthers is a run of the scenarios that a short run leaves out.
func sampleOfOthers() *Run {
	r := sampleRun()
	r.Measurements = []Measurement{pinging(0.05, 1, 40_000)}
	r.Configuration.Scenarios = []Scenario{
		{Name: "ping", Connections: []int{5000}, Rounds: 1, LeftOut: map[string]string{"floor": "it sends none"}},
		{Name: "request", Connections: []int{500}, Rounds: 2, RatePerSecond: 2000, Events: "requests", DurationSeconds: 5, WarmupSeconds: 1},
		{Name: "connect", Connections: []int{500}, Rounds: 2, RatePerSecond: 1000, Events: "connects"},
		{Name: "churn", Connections: []int{500}, Rounds: 2, RatePerSecond: 20, Receivers: 100, With: "while others come", DurationSeconds: 5, WarmupSeconds: 1,
			LeftOut: map[string]string{"floor": "it has no rules"}},
		{Name: "slow", Connections: []int{100}, Rounds: 2, RatePerSecond: 20, Receivers: 100, With: "of ten one reads nothing", DurationSeconds: 5, WarmupSeconds: 1},
	}
	latency := func(name string, p50 float64) string {
		return fmt.Sprintf(`"%s":{"count":100,"p50_ns":%g,"p90_ns":%g,"p99_ns":%g}`, name, p50, 2*p50, 10*p50)
	}
	for _, variant := range []string{"floor", "reactor", "goroutine-plain"} {
		slower := map[string]float64{"floor": 1, "reactor": 1.5, "goroutine-plain": 3}[variant] * 1e6
		for round := 1; round <= 2; round++ {
			for scenario, result := range map[string]string{
				"request": `"connections":{"held":500},"requests":{"sent":1000,"lost":1},"latency":{` + latency("response", slower) + "," + latency("service", slower/2) + `}`,
				"connect": `"connections":{"held":500,"connect_seconds":1},"latency":{` + latency("response", slower) + "," + latency("prepared", 2*slower) + `}`,
				"churn":   `"connections":{"held":500},"records":{"deliveries_expected":2000,"deliveries":2000},"latency":{` + latency("response", slower) + "," + latency("connect", 3*slower) + `}`,
				"slow":    `"connections":{"held":100},"records":{"deliveries_expected":1800,"deliveries":1800},"slow":{"paused":10,"closed_by_server":9},"latency":{` + latency("response", slower) + `}`,
			} {
				if variant == "floor" && scenario == "churn" {
					continue
				}
				r.Measurements = append(r.Measurements, Measurement{Variant: variant, Scenario: scenario, Round: round, Connections: 500,
					Loadgen: json.RawMessage(`{"schema":1,"valid":true,` + result + `}`)})
			}
		}
	}
	r.DeriveFigures()
	return r
}

func TestOtherScenariosInPrint(t *testing.T) {
	var out bytes.Buffer
	if err := sampleOfOthers().Print(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "others.txt", out.String())
}

func TestOtherScenariosInTheRawTable(t *testing.T) {
	want := map[string][]string{ // arrived, lost, p50, p99, lag p99
		"request": {"999", "1", "1.50", "15.0", "0.00"},
		"connect": {noFigure, noFigure, "1.50", "15.0", "0.00"},
		"churn":   {"2,000", "0", "1.50", "15.0", "0.00"},
		"slow":    {"1,800", "0", "1.50", "15.0", "0.00"},
	}
	seen := 0
	for _, row := range sampleOfOthers().measurementGrid().Rows {
		cells, known := want[row[0]]
		if !known || row[1] != "reactor" {
			continue
		}
		seen++
		if got := row[len(row)-len(cells):]; !slices.Equal(got, cells) {
			t.Errorf("%s: %q, want %q", row[0], got, cells)
		}
	}
	if seen != 2*len(want) {
		t.Errorf("%d rows", seen)
	}
}

func TestOtherScenariosInBench(t *testing.T) {
	var out bytes.Buffer
	if err := sampleOfOthers().WriteBench(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"BenchmarkRequest/variant=reactor/connections=500-2\t1\t1.5e+06 p50-ns\t1.5e+07 p99-ns\t750000 service-p50-ns\n",
		"BenchmarkConnect/variant=floor/connections=500-2\t1\t1e+06 upgrade-p50-ns\t1e+07 upgrade-p99-ns\t2e+06 prepared-p50-ns\t2e+07 prepared-p99-ns\n",
		"BenchmarkChurn/variant=reactor/connections=500-2\t1\t1.5e+06 p50-ns\t1.5e+07 p99-ns\t4.5e+06 newcomer-p50-ns\t4.5e+07 newcomer-p99-ns\n",
		"BenchmarkSlow/variant=reactor/connections=500-2\t1\t1.5e+06 p50-ns\t1.5e+07 p99-ns\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "BenchmarkChurn/variant=floor") {
		t.Error("the floor is in churn")
	}
}
