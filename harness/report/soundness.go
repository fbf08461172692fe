package report

import (
	"fmt"
	"strings"
)

// Standing is how far a run's figures may be used.
type Standing string

// The standings, the best first.
const (
	Sound    Standing = "sound"     // every figure may be used
	Caution  Standing = "caution"   // some may not, and are marked
	NotWhole Standing = "not whole" // something failed or was not measured
	Wrong    Standing = "wrong"     // a server lost records or gave wrong answers
)

// Standing judges the run as a whole, with a sentence that says why.
func (r *Run) Standing() (Standing, string) {
	counts := map[string]int{}
	for _, f := range r.Failures {
		counts[f.Kind]++
	}
	expected, lost, unsound := r.account()
	deliveries := ""
	if expected > 0 {
		deliveries = fmt.Sprintf("; %s of %s %s arrived", count(expected-lost), count(expected), r.arrivals())
		if unsound == 0 && lost == 0 {
			deliveries += ", each once, unchanged and in order"
		}
	}
	if n := len(r.Repeated); n > 0 {
		deliveries += fmt.Sprintf("; %s invalid and made again", pluralWere(n, "attempt"))
	}
	measured := plural(len(r.Measurements), "measurement")
	of := func(kind, what string) string {
		return fmt.Sprintf("%d of %s %s%s", counts[kind], measured, what, r.whereabouts(kind))
	}
	switch {
	case counts[KindWrong] > 0:
		return Wrong, fmt.Sprintf("%s; %s deliveries lost, %s duplicated, changed or reordered.", of(KindWrong, "wrong"), count(lost), count(unsound))
	case r.Interrupted:
		return NotWhole, fmt.Sprintf("interrupted after %s%s.", measured, deliveries)
	case counts[KindFailed] > 0:
		return NotWhole, of(KindFailed, "failed") + deliveries + "."
	case counts[KindInvalid] > 0:
		return Caution, of(KindInvalid, "invalid, whose figures are marked "+invalid) + deliveries + "."
	}
	return Sound, fmt.Sprintf("all %s valid%s.", measured, deliveries)
}

// arrivals is what the account counts.
func (r *Run) arrivals() string {
	if r.scenario(requestScenario) != nil {
		return "deliveries and answers"
	}
	return "deliveries"
}

// account adds up the deliveries of all scenarios.
func (r *Run) account() (expected, lost, unsound float64) {
	for _, f := range r.Figures {
		if f.Value == nil {
			continue
		}
		switch f.Name {
		case DeliveriesExpected:
			expected += *f.Value
		case RecordsLost:
			lost += *f.Value
		case RecordsUnsound:
			unsound += *f.Value
		}
	}
	return expected, lost, unsound
}

// whereabouts names the variants and scenarios with such a failure.
func (r *Run) whereabouts(kind string) string {
	var places []string
	seen := map[string]bool{}
	for _, f := range r.Failures {
		place := f.Variant + " in " + f.Scenario
		if f.Kind == kind && !seen[place] {
			places = append(places, place)
			seen[place] = true
		}
	}
	return " (" + strings.Join(places, ", ") + ")"
}

func pluralWere(n int, what string) string {
	if n == 1 {
		return "1 " + what + " was"
	}
	return plural(n, what) + " were"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
