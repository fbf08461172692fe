// Package report is what a run leaves behind: the type of run.json, the figures
// that are derived from its measurements, and how they are printed.
//
//	Measurement (raw: snapshots, the load generator's result)
//	    -> Figure (samples, median, spread, whether it is valid)
//	        -> comparative table, bench.txt
//
// It works on that type only: it starts nothing and measures nothing, so every
// report can be made again from run.json.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"chatmonitor/harness/probe"
)

// Schema is the version of run.json. It rises when a field changes its meaning or
// goes; new fields don't raise it.
const Schema = 1

// FileName is the run's file in its folder.
const FileName = "run.json"

// Run is one execution of scenarios over variants.
type Run struct {
	Schema        int           `json:"schema"`
	ID            string        `json:"id"` // the name of its folder
	Started       time.Time     `json:"started"`
	Seconds       float64       `json:"seconds"`
	Interrupted   bool          `json:"interrupted"` // it was ended before its time
	Environment   Environment   `json:"environment"`
	Configuration Configuration `json:"configuration"`
	Calibration   []Calibration `json:"calibration,omitempty"` // what rates follow from
	Figures       []Figure      `json:"figures"`
	Failures      []Failure     `json:"failures"`
	Repeated      []Failure     `json:"repeated,omitempty"` // of measurements that were invalid, and made again
	Measurements  []Measurement `json:"measurements"`
	Benchmarks    string        `json:"benchmarks,omitempty"` // of the same code, in Go's benchmark format
	Million       *Million      `json:"million,omitempty"`    // of a run up to very many connections
}

// Environment is where the run took place, and what was run.
type Environment struct {
	Machine   probe.Machine     `json:"machine"`
	GoVersion string            `json:"go_version"` // that built the harness
	Commit    string            `json:"commit"`     // of the harness' build; "unknown" without version control
	Dirty     bool              `json:"dirty"`      // files differed from the commit
	Binaries  []Binary          `json:"binaries"`
	Variables map[string]string `json:"variables"` // of the environment, those that change how Go programs run
}

// Binary is a program that took part.
type Binary struct {
	Name      string            `json:"name"`
	SHA256    string            `json:"sha256"`
	GoVersion string            `json:"go_version,omitempty"`
	Settings  map[string]string `json:"settings,omitempty"` // of its build, version control included
	Unknown   string            `json:"unknown,omitempty"`  // why the build is not known
}

// Configuration is what was asked for, and what it came to on this machine.
type Configuration struct {
	Broker          Broker     `json:"broker"`
	Variants        []Variant  `json:"variants"`
	Scenarios       []Scenario `json:"scenarios"`
	Connections     int        `json:"connections"`
	ConnectionsFrom []Bound    `json:"connections_from"` // what decided how many
	RatePerSecond   float64    `json:"rate_per_second"`
	DurationSeconds float64    `json:"duration_seconds"`
	WarmupSeconds   float64    `json:"warmup_seconds"`
	CalibrateShare  float64    `json:"calibrate_share,omitempty"` // of what the weakest variant sustains; 0: rates were given
	Rounds          int        `json:"rounds"`
	Retries         int        `json:"retries,omitempty"` // of a measurement that was invalid
	Seed            uint64     `json:"seed"`
	Order           string     `json:"order"` // in which order the variants took turns
	Base            string     `json:"base"`  // the variant that ratios divide by
}

// Broker is the Kafka of the run.
type Broker struct {
	Kind       string   `json:"kind"`
	Addresses  []string `json:"addresses"`
	Topic      string   `json:"topic"`
	Partitions int      `json:"partitions,omitempty"` // of the embedded one
	Note       string   `json:"note,omitempty"`
}

// Variant is a server that was measured.
type Variant struct {
	Name    string   `json:"name"`
	Note    string   `json:"note,omitempty"` // what must be known to compare it with the others
	Command []string `json:"command"`        // as started; addresses of the run included
}

// Scenario is a kind of load that took place.
type Scenario struct {
	Name            string  `json:"name"`
	Shows           string  `json:"shows"`
	Connections     []int   `json:"connections"` // the counts that are measured, rising
	Rounds          int     `json:"rounds"`
	RatePerSecond   float64 `json:"rate_per_second,omitempty"` // of records, where there are any
	Events          string  `json:"events,omitempty"`          // what comes at that rate; absent: records
	With            string  `json:"with,omitempty"`            // what else there is to the load
	RateFrom        string  `json:"rate_from,omitempty"`       // what the rate follows from, if it was not given
	DurationSeconds float64 `json:"duration_seconds,omitempty"`
	WarmupSeconds   float64 `json:"warmup_seconds,omitempty"`
	Receivers       int     `json:"receivers,omitempty"` // of each record
	// LeftOut are the variants that it means nothing for, each with the reason.
	LeftOut map[string]string `json:"left_out,omitempty"`
}

// Calibration is what a variant sustains of a scenario.
type Calibration struct {
	Scenario           string  `json:"scenario"`
	Variant            string  `json:"variant"`
	Connections        int     `json:"connections"`
	SustainedPerSecond float64 `json:"sustained_per_second"` // to a factor of 1.4; 0: none of the rates
	Tries              []Try   `json:"tries"`                // in their order
}

// Try is one rate with a fresh server.
type Try struct {
	RatePerSecond float64 `json:"rate_per_second"`
	Sustained     bool    `json:"sustained"`
	P99Ns         float64 `json:"p99_ns,omitempty"` // due to received
	Because       string  `json:"because,omitempty"`
}

// Bound is one limit on the number of connections.
type Bound struct {
	Name        string `json:"name"`
	Connections int    `json:"connections"` // what it allows
	Found       string `json:"found"`       // what was read
	Lift        string `json:"lift,omitempty"`
	Decides     bool   `json:"decides"`
}

// Measurement is one server under one load: everything as it was read.
type Measurement struct {
	Variant        string           `json:"variant"`
	Scenario       string           `json:"scenario"`
	Round          int              `json:"round"` // from 1
	Connections    int              `json:"connections"`
	Started        time.Time        `json:"started"`
	Seconds        float64          `json:"seconds"`
	ServerCommand  []string         `json:"server_command"`
	LoadgenCommand []string         `json:"loadgen_command"`
	Logs           []string         `json:"logs"` // in the run's folder
	Snapshots      []probe.Snapshot `json:"snapshots"`
	Loadgen        json.RawMessage  `json:"loadgen,omitempty"` // its result object
	LoadgenExit    *int             `json:"loadgen_exit,omitempty"`
}

// What can go wrong with a measurement.
const (
	KindFailed  = "failed"  // a process or the machine failed
	KindInvalid = "invalid" // the load generator could not keep its promise: the figures must not be used
	KindWrong   = "wrong"   // the server lost records or gave wrong answers
)

// Failure is something that went wrong.
type Failure struct {
	Kind     string `json:"kind"`
	Variant  string `json:"variant"`
	Scenario string `json:"scenario"`
	Round    int    `json:"round"`
	Reason   string `json:"reason"`
}

// String is the failure in one line, more if the reason has more.
func (f Failure) String() string {
	return fmt.Sprintf("%s: %s, %s, round %d: %s", f.Kind, f.Variant, f.Scenario, f.Round, f.Reason)
}

// LoadgenResult is what the harness itself needs of the load generator's result
// object.
type LoadgenResult struct {
	Schema      int `json:"schema"`
	Connections struct {
		Asked          int     `json:"asked"`
		Held           int     `json:"held"`
		Failed         int     `json:"failed"`
		Dropped        int     `json:"dropped"`
		PingsAnswered  int     `json:"pings_answered"`
		ConnectSeconds float64 `json:"connect_seconds"`
		Ramp           []struct {
			Connections int     `json:"connections"`
			Seconds     float64 `json:"seconds"`
		} `json:"ramp"`
	} `json:"connections"`
	Records struct {
		DeliveriesExpected int `json:"deliveries_expected"`
		Deliveries         int `json:"deliveries"`
		Lost               int `json:"lost"`
		Duplicated         int `json:"duplicated"`
		Wrong              int `json:"wrong"`
		Reordered          int `json:"reordered"`
	} `json:"records"`
	Requests struct {
		Sent       int `json:"sent"`
		Lost       int `json:"lost"`
		Duplicated int `json:"duplicated"`
		Wrong      int `json:"wrong"`
	} `json:"requests"`
	Slow struct {
		Paused         int `json:"paused"`
		ClosedByServer int `json:"closed_by_server"`
	} `json:"slow"`
	Rate struct {
		AchievedPerSecond float64 `json:"achieved_per_second"`
	} `json:"rate"`
	Latency struct {
		Response      Quantiles `json:"response"`       // due to received
		Service       Quantiles `json:"service"`        // sent to received
		Lag           Quantiles `json:"lag"`            // due to sent
		FirstReceiver Quantiles `json:"first_receiver"` // due to received by the first of a record's receivers
		LastReceiver  Quantiles `json:"last_receiver"`  // by the last
		Prepared      Quantiles `json:"prepared"`       // due to upgraded, rule confirmed and a ping answered
		Connect       Quantiles `json:"connect"`        // the same, of those that come while others are pushed to
	} `json:"latency"`
	Histograms map[string]struct {
		HDR string `json:"hdr"` // HdrHistogram's V2 form, compressed, in base64
	} `json:"histograms"`
	Series []struct {
		Second int `json:"second"` // of the measured time, by receipt
		Quantiles
	} `json:"series"`
	Self struct {
		BytesPerConnection float64 `json:"bytes_per_connection"`
		CPUSeconds         float64 `json:"cpu_seconds"`
	} `json:"self"`
	Valid          bool     `json:"valid"`
	InvalidBecause []string `json:"invalid_because"`
	WrongBecause   []string `json:"wrong_because"`
}

// Expected are the deliveries and answers that were to come.
func (l *LoadgenResult) Expected() int { return l.Records.DeliveriesExpected + l.Requests.Sent }

// Lost are those that did not come.
func (l *LoadgenResult) Lost() int { return l.Records.Lost + l.Requests.Lost }

// Unsound are those that came more than once, changed or in another order.
func (l *LoadgenResult) Unsound() int {
	return l.Records.Duplicated + l.Records.Wrong + l.Records.Reordered + l.Requests.Duplicated + l.Requests.Wrong
}

// Quantiles are a histogram's.
type Quantiles struct {
	Count  int64   `json:"count"`
	P50Ns  float64 `json:"p50_ns"`
	P90Ns  float64 `json:"p90_ns"`
	P99Ns  float64 `json:"p99_ns"`
	P999Ns float64 `json:"p999_ns"`
	MaxNs  float64 `json:"max_ns"`
}

// loadgenSchema is the version of the result object that this package reads.
const loadgenSchema = 1

// Result reads the load generator's result object; nil if there is none.
func (m Measurement) Result() (*LoadgenResult, error) {
	if len(m.Loadgen) == 0 {
		return nil, nil
	}
	var result LoadgenResult
	if err := json.Unmarshal(m.Loadgen, &result); err != nil {
		return nil, fmt.Errorf("report: the load generator's result: %w", err)
	}
	if result.Schema != loadgenSchema {
		return nil, fmt.Errorf("report: the load generator's result has schema %d; this harness reads %d: build both from one commit",
			result.Schema, loadgenSchema)
	}
	return &result, nil
}

// Write writes run.json into the folder, whole or not at all.
func (r *Run) Write(folder string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report: encode the run: %w", err)
	}
	path := filepath.Join(folder, FileName)
	if err := os.WriteFile(path+".part", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.Rename(path+".part", path); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// Read reads a run from its folder, or from its file.
func Read(path string) (*Run, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, FileName)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("report: %s is not there: name a run's folder, such as results/runs/20261123T090000Z-53af2dc", path)
	}
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	var run Run
	if err := json.Unmarshal(text, &run); err != nil {
		return nil, fmt.Errorf("report: %s: %w", path, err)
	}
	if run.Schema != Schema {
		return nil, fmt.Errorf("report: %s has schema %d; this harness reads %d", path, run.Schema, Schema)
	}
	return &run, nil
}
