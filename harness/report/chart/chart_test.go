package chart

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

func TestTicks(t *testing.T) {
	tests := []struct {
		name   string
		axis   Axis
		values []float64
		want   string
	}{
		{"linear begins at zero", Axis{}, []float64{3, 19}, "0..20: 0 5 10 15 20"},
		{"small steps stay short", Axis{}, []float64{0.31}, "0..0.4: 0 0.1 0.2 0.3 0.4"},
		{"below zero too", Axis{}, []float64{-4, 7}, "-5..10: -5 0 5 10"},
		{"a little below zero", Axis{}, []float64{-0.2, 10}, "0..10: 0 2 4 6 8 10"},
		{"ends between ticks", Axis{Min: 0.5, Max: 4.4}, nil, "0.5..4.4: 1 2 3 4"},
		{"all zero", Axis{}, []float64{0, 0}, "0..1: 0 0.2 0.4 0.6 0.8 1"},
		{"nothing", Axis{}, nil, "0..10: 0 2 4 6 8 10"},
		{"what is no number is not shown", Axis{}, []float64{math.NaN(), math.Inf(1), 5}, "0..5: 0 1 2 3 4 5"},
		{"log, two decades", Axis{Log: true}, []float64{0.4, 33}, "0.2..50: 0.2 0.5 1 2 5 10 20 50"},
		{"log, many decades", Axis{Log: true}, []float64{0.4, 3300}, "0.2..5000: 1 10 100 1000"},
		{"log has no zero", Axis{Log: true}, []float64{0, -3, 1, 5}, "1..5: 1 2 5"},
		{"log, one value", Axis{Log: true}, []float64{2}, "2..4: 2"},
		{"fixed ends", Axis{Min: 1, Max: 3}, []float64{900}, "1..3: 1 1.5 2 2.5 3"},
		{"given ticks", Axis{Ticks: []Tick{{2, "two"}}}, []float64{4}, "0..4: two"},
		{"a format", Axis{Format: func(v float64) string { return fmt.Sprintf("%g B", v) }}, []float64{1}, "0..1: 0 B 0.2 B 0.4 B 0.6 B 0.8 B 1 B"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			low, high, ticks := test.axis.fit(test.values)
			var labels []string
			for _, tick := range ticks {
				labels = append(labels, tick.Label)
			}
			if got := fmt.Sprintf("%s..%s: %s", plain(low), plain(high), strings.Join(labels, " ")); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestPlace(t *testing.T) {
	linear := newScale(Axis{}, 0, 10, 100, 200)
	log := newScale(Axis{Log: true}, 1, 100, 300, 100)
	tests := []struct{ got, want float64 }{
		{linear.place(0), 100}, {linear.place(5), 150}, {linear.place(11), 200}, {linear.place(-1), 100},
		{log.place(1), 300}, {log.place(10), 200}, {log.place(1000), 100},
	}
	for i, test := range tests {
		if math.Abs(test.got-test.want) > 1e-9 {
			t.Errorf("place %d is %v, want %v", i, test.got, test.want)
		}
	}
}

// elements parses the drawing, which must be well-formed, and counts what it has.
func elements(t *testing.T, svg string) (counts map[string]int, texts string) {
	t.Helper()
	counts = map[string]int{}
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return counts, texts
		}
		if err != nil {
			t.Fatalf("no XML: %v:\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			counts[token.Name.Local]++
		case xml.CharData:
			texts += string(token) + "|"
		}
	}
}

const hostile = `"><script>alert('x')</script>&`

func TestPlot(t *testing.T) {
	points := []Point{{X: 1, Y: 2, Low: 1, High: 3}, {X: 2, Y: 4, Low: 3, High: 5}, {X: 3, Y: math.NaN()}}
	p := Plot{
		ID: hostile, Title: hostile, Description: hostile, Width: 480, Height: 300,
		X: Axis{Label: hostile}, Y: Axis{Label: hostile, Format: func(float64) string { return hostile }},
		Series: []Series{
			{Name: hostile, Style: 0, Points: points},
			{Name: "dots", Style: 1, Form: Dots, Points: points},
			{Name: "steps", Style: 2, Form: Steps, Points: points},
			{Style: 3, Form: Fit, Faint: true, Points: points},
			{Name: "empty"},
		},
	}
	counts, texts := elements(t, p.SVG())
	if counts["script"] != 0 || counts["title"] != 1 || counts["desc"] != 1 || counts["svg"] != 1 {
		t.Errorf("elements %v", counts)
	}
	if strings.Count(texts, "<script>") < 6 || !strings.Contains(texts, "steps") {
		t.Errorf("texts %s", texts)
	}
	svg := p.SVG()
	for _, want := range []string{`class="band s0"`, `class="fit faint"`, `class="mark"`, "NaN"} {
		if strings.Contains(svg, want) != (want != "NaN") {
			t.Errorf("%s in\n%s", want, svg)
		}
	}
	if first, again := svg, p.SVG(); first != again {
		t.Error("the same plot is drawn in two ways")
	}
}

func TestBars(t *testing.T) {
	b := Bars{
		ID: "b", Title: hostile, Description: hostile, Width: 480, Axis: Axis{Label: "B"},
		Parts: []string{hostile, "stacks", "slabs"},
		Rows:  []Row{{hostile, []float64{100, -3, 50}, "150"}, {"none", []float64{0, 0, 0}, "0"}},
	}
	svg := b.SVG()
	counts, texts := elements(t, svg)
	if counts["script"] != 0 || counts["rect"] != 3+2 {
		t.Errorf("elements %v in\n%s", counts, svg)
	}
	for _, want := range []string{"100|", "50|", "150|", "stacks|"} {
		if !strings.Contains(texts, want) {
			t.Errorf("no text %s in %s", want, texts)
		}
	}
}
