package report

import (
	"fmt"
	"math"
	"slices"

	"chatmonitor/harness/report/chart"
	"chatmonitor/harness/verdict"
)

// figure is one drawing of the page with what must be known to read it.
type figure struct {
	Title, Caption string
	Drawings       []string // SVG
	Small          bool     // several small ones beside each other
}

const (
	plotWidth, plotHeight   = 480, 300
	smallWidth, smallHeight = 300, 210
)

// figures are all drawings, those without data left out.
func (r *Run) figures() ([]figure, error) {
	var all []figure
	for _, l := range shownLatencies {
		percentiles, err := r.percentileFigure(l.scenario, l.latency, l.title+": latency by percentile", "From "+l.fromTo+".")
		if err != nil {
			return nil, err
		}
		all = append(all, percentiles)
	}
	all = append(all, r.memoryFigure(), r.rampFigure(), r.ladderFigure(), r.secondsFigure())
	return slices.DeleteFunc(all, func(f figure) bool { return len(f.Drawings) == 0 }), nil
}

// styles is how many the page has.
const styles = 8

// style is the variant's place in the page's colours.
func (r *Run) style(variant string) int {
	return slices.IndexFunc(r.Configuration.Variants, func(v Variant) bool { return v.Name == variant }) % styles
}

// pointsPerDecade is how finely a distribution is drawn.
const pointsPerDecade = 12

func (r *Run) percentileFigure(scenario, latency, title, caption string) (figure, error) {
	all, err := r.distributions(scenario, latency)
	if err != nil || len(all) == 0 {
		return figure{}, err
	}
	p := chart.Plot{
		ID: scenario + "-percentiles", Title: title, Width: plotWidth, Height: plotHeight,
		X: chart.Axis{Label: "percentile", Log: true, Min: 1, Ticks: percentileTicks},
		Y: chart.Axis{Label: "ms", Log: true, Format: short},
	}
	for _, d := range all {
		p.X.Max = max(p.X.Max, float64(d.all.TotalCount()))
		solid, faint := d.curve()
		style := r.style(d.variant)
		p.Series = append(p.Series, chart.Series{Name: fmt.Sprintf("%s, n = %s", d.variant, count(float64(d.all.TotalCount()))), Style: style, Points: solid},
			chart.Series{Style: style, Points: faint, Faint: true})
		p.Description += fmt.Sprintf("%s: p50 %s ms, p99 %s ms. ", d.variant, milliseconds(valueAt(d.all, 0.5)), milliseconds(valueAt(d.all, 0.99)))
	}
	p.X.Ticks = slices.DeleteFunc(slices.Clone(percentileTicks), func(t chart.Tick) bool { return t.At > p.X.Max })
	return figure{Title: title, Drawings: []string{p.SVG()}, Caption: caption +
		fmt.Sprintf(" Lines: all rounds together; areas: the range of the rounds. Faint: fewer than %d samples lie beyond.", trustedBeyond)}, nil
}

// percentileTicks are at 1/(1-q): each step to the right is ten times as rare.
var percentileTicks = []chart.Tick{
	{At: 1, Label: "min"}, {At: 2, Label: "p50"}, {At: 10, Label: "p90"}, {At: 100, Label: "p99"}, {At: 1000, Label: "p99.9"},
	{At: 1e4, Label: "p99.99"}, {At: 1e5, Label: "p99.999"},
}

// curve is the distribution over 1/(1-q), in ms: what many samples stand behind, and
// the rest.
func (d distribution) curve() (solid, faint []chart.Point) {
	n := float64(d.all.TotalCount())
	for i := 0; ; i++ {
		x := math.Pow(10, float64(i)/pointsPerDecade)
		if x > n {
			break
		}
		share := 1 - 1/x
		low, high := d.rangeAt(share)
		p := chart.Point{X: x, Y: valueAt(d.all, share) / 1e6, Low: low / 1e6, High: high / 1e6}
		if isTrusted(d.all, share) {
			if low == high {
				p.Low, p.High = p.Y, p.Y
			}
			solid = append(solid, p)
			continue
		}
		p.Low, p.High = 0, 0
		faint = append(faint, p)
	}
	if len(solid) > 0 {
		last := solid[len(solid)-1]
		last.Low, last.High = 0, 0
		faint = append([]chart.Point{last}, faint...)
	}
	return solid, append(faint, chart.Point{X: n, Y: float64(d.all.Max()) / 1e6})
}

func (r *Run) memoryFigure() figure {
	all := r.memory()
	if len(all.bars) == 0 {
		return figure{}
	}
	b := chart.Bars{
		ID: "memory", Title: "Memory of a connection, by part", Width: plotWidth, Parts: all.names,
		Axis: chart.Axis{Label: "B per connection", Format: count},
	}
	for _, bar := range all.bars {
		b.Rows = append(b.Rows, chart.Row{Label: all.label(bar), Parts: bar.parts, Total: count(bar.total())})
		b.Description += fmt.Sprintf("%s: %s bytes. ", all.label(bar), count(bar.total()))
	}
	return figure{Title: b.Title, Drawings: []string{b.SVG()}, Caption: fmt.Sprintf("B per connection at %s connections, where nothing else is said: "+
		"growth since the server was ready, by their number; n = 1 measurement a bar. Kernel slabs hold both ends of a loopback connection, the load generator's too. "+
		"As left: as the load left it, garbage included; after GC: after a full collection that returns free memory.", count(float64(all.bars[0].connections)))}
}

// ladderFigure has a small plot for each variant: their scales differ by a thousand.
func (r *Run) ladderFigure() figure {
	point := "a fresh server"
	if r.Million != nil {
		point = "a step of the same server"
	}
	f := figure{Title: "Ladder: resident memory over connections", Small: true,
		Caption: "MiB of growth since the server was ready, as the load left it; each point " + point + ". Line: Theil-Sen. The scales differ."}
	for _, variant := range r.Configuration.Variants {
		ladder := r.Figure(variant.Name, idleScenario, ResidentBytes)
		if ladder == nil || ladder.Value == nil {
			continue
		}
		style := r.style(variant.Name)
		p := chart.Plot{
			ID: fmt.Sprintf("ladder-%d", style), Title: variant.Name + ": resident memory over connections", Width: smallWidth, Height: smallHeight,
			Description: fmt.Sprintf("%s bytes per connection, slopes between two points from %s to %s.", count(*ladder.Value), count(*ladder.Min), count(*ladder.Max)),
			X:           chart.Axis{Label: "connections", Format: thousands}, Y: chart.Axis{Label: "MiB"},
			Series: []chart.Series{
				{Style: style, Form: chart.Fit, Points: fitLine(ladder)},
				{Name: fmt.Sprintf("%s, %s B/conn", variant.Name, count(*ladder.Value)), Style: style, Form: chart.Dots, Points: ladderPoints(ladder.Points)},
			},
		}
		f.Drawings = append(f.Drawings, p.SVG())
	}
	return f
}

// thousands prints a count where there is little room: 250k, 1M.
func thousands(v float64) string {
	switch {
	case v >= 1e6:
		return short(v/1e6) + "M"
	case v >= 1e3:
		return short(v/1e3) + "k"
	}
	return short(v)
}

func ladderPoints(points []verdict.Point) []chart.Point {
	var out []chart.Point
	for _, p := range points {
		out = append(out, chart.Point{X: p.X, Y: p.Y / (1 << 20)})
	}
	return out
}

// fitLine is the slope through the middle of what it leaves over.
func fitLine(f *Figure) []chart.Point {
	var rests []float64
	most := 0.0
	for _, p := range f.Points {
		rests = append(rests, p.Y-*f.Value*p.X)
		most = max(most, p.X)
	}
	from := verdict.Median(rests)
	return ladderPoints([]verdict.Point{{X: 0, Y: from}, {X: most, Y: from + *f.Value*most}})
}

// secondsFigure has a small plot for each variant, all with the same scale.
func (r *Run) secondsFigure() figure {
	f := figure{Title: "Push, second by second", Small: true,
		Caption: "ms from due to received, p50 and p99 of each second of receipt; the rounds one after the other, with the other variants' turns in between. One scale for all."}
	type strip struct {
		variant  string
		p50, p99 []chart.Series
	}
	var strips []strip
	var values []float64
	for _, variant := range r.Configuration.Variants {
		s := strip{variant: variant.Name}
		from := 0.0
		for _, m := range r.measured(variant.Name, pushScenario) {
			p50, p99, last := m.seconds(from, r.style(variant.Name))
			s.p50, s.p99, from = append(s.p50, p50), append(s.p99, p99), last+2
			for _, point := range slices.Concat(p50.Points, p99.Points) {
				values = append(values, point.Y)
			}
		}
		if from > 0 {
			strips = append(strips, s)
		}
	}
	values = slices.DeleteFunc(values, func(v float64) bool { return v <= 0 })
	if len(values) == 0 {
		return figure{}
	}
	for i, s := range strips {
		s.p50[0].Name, s.p99[0].Name = s.variant+" p50", "p99"
		p := chart.Plot{
			ID: fmt.Sprintf("seconds-%d", i), Title: s.variant + ": push latency by the second", Width: smallWidth, Height: smallHeight,
			Description: fmt.Sprintf("p50 and p99 of each second of %d rounds.", len(s.p50)),
			X:           chart.Axis{Label: "s of measured time"}, Y: chart.Axis{Label: "ms", Log: true, Format: short, Min: slices.Min(values), Max: slices.Max(values)},
			Series: slices.Concat(s.p50, s.p99),
		}
		f.Drawings = append(f.Drawings, p.SVG())
	}
	return f
}

// seconds are a round's, from a place on the axis, and where they end.
func (m Measurement) seconds(from float64, style int) (p50, p99 chart.Series, last float64) {
	p50.Style, p99.Style, p99.Dashed = style, style, true
	last = from
	result, err := m.Result()
	if err != nil || result == nil {
		return p50, p99, last
	}
	for _, s := range result.Series {
		last = from + float64(s.Second)
		p50.Points = append(p50.Points, chart.Point{X: last, Y: s.P50Ns / 1e6})
		p99.Points = append(p99.Points, chart.Point{X: last, Y: s.P99Ns / 1e6})
	}
	return p50, p99, last
}

func (r *Run) rampFigure() figure {
	p := chart.Plot{
		ID: "ramp", Title: "Connect ramp", Width: plotWidth, Height: plotHeight,
		X: chart.Axis{Label: "s"}, Y: chart.Axis{Label: "connections ready", Format: count},
	}
	for _, variant := range r.Configuration.Variants {
		for _, m := range highest(r.measured(variant.Name, idleScenario)) {
			result, err := m.Result()
			if err != nil || result == nil || len(result.Connections.Ramp) == 0 {
				continue
			}
			points := []chart.Point{{}}
			for _, at := range result.Connections.Ramp {
				points = append(points, chart.Point{X: at.Seconds, Y: float64(at.Connections)})
			}
			p.Series = append(p.Series, chart.Series{Name: variant.Name, Style: r.style(variant.Name), Points: points})
			p.Description += fmt.Sprintf("%s: %s connections in %s s. ", variant.Name, count(float64(result.Connections.Held)), seconds(result.Connections.ConnectSeconds))
		}
	}
	if len(p.Series) == 0 {
		return figure{}
	}
	return figure{Title: p.Title, Drawings: []string{p.SVG()}, Caption: "Connections that were upgraded, had their rule confirmed and one ping answered, over the time since the first began; " +
		"idle scenario, highest count, n = 1 ramp a variant. The load generator keeps 128 under way, so its speed and the kernel's are in it."}
}
