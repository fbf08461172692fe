package chart

import (
	"fmt"
	"strings"
)

// Plot is lines and points over two axes.
type Plot struct {
	ID                 string // unique in the page
	Title, Description string
	Width, Height      float64
	X, Y               Axis
	Series             []Series
}

// Form is how a series is drawn.
type Form int

// The forms.
const (
	Line  Form = iota // through its points
	Steps             // from each point level to the next
	Dots              // points alone
	Fit               // a thin line: computed, not measured
)

// Series is points that belong together.
type Series struct {
	Name   string // "" : not in the legend
	Style  int    // colour, dash and marker
	Form   Form
	Dashed bool
	// Faint: what should be read with care.
	Faint  bool
	Points []Point
}

// Point is one value. Low and High, if they differ, are its spread.
type Point struct{ X, Y, Low, High float64 }

// Margins of the frame.
const (
	right, bottom = 20., 42.
	legendRow     = 19.
	above         = 12.
	besideTicks   = 28. // left of the ticks: the axis' label
)

// SVG draws the plot.
func (p Plot) SVG() string {
	d := begin(p.ID, p.Title, p.Description, p.Width, p.Height)
	top := p.legend(d) + above
	f := p.frame(top)
	f.draw(d, p)
	for _, s := range p.Series {
		f.band(d, s)
	}
	for _, s := range p.Series {
		f.series(d, s)
	}
	return d.end()
}

// legend names the series in rows at the top and returns where it ends.
func (p Plot) legend(d *drawing) float64 {
	const sample, gap = 24., 16.
	x, y := besideTicks, 0.
	named := 0
	for _, s := range p.Series {
		if s.Name == "" {
			continue
		}
		name := fitting(s.Name, p.Width-besideTicks-right-sample-5)
		width := sample + 5 + textWidth(name)
		if named == 0 || x+width > p.Width-right {
			x, y = besideTicks, y+legendRow
		}
		named++
		d.printf(`<g class="s%d">`, s.Style)
		if s.Form != Dots {
			d.line(s.class(), x, y-4, x+sample, y-4)
		}
		if s.Form != Fit {
			d.marker(s, x+sample/2, y-4)
		}
		d.printf(`</g>`)
		d.text("label", atStart, x+sample+5, y, name)
		x += width + gap
	}
	return y
}

func (s Series) class() string {
	class := "line"
	if s.Form == Fit {
		class = "fit"
	}
	if s.Dashed {
		class += " dashed"
	}
	if s.Faint {
		class += " faint"
	}
	return class
}

// frame is the place between the axes.
type frame struct {
	x, y           scale
	xTicks, yTicks []Tick
	xAxis, yAxis   Axis
}

func (p Plot) frame(top float64) frame {
	var xs, ys []float64
	for _, s := range p.Series {
		for _, point := range s.Points {
			xs, ys = append(xs, point.X), append(ys, point.Y)
			if point.Low != point.High {
				ys = append(ys, point.Low, point.High)
			}
		}
	}
	f := frame{xAxis: p.X, yAxis: p.Y}
	low, high, ticks := p.Y.fit(ys)
	f.y, f.yTicks = newScale(p.Y, low, high, p.Height-bottom, top), ticks
	left := 0.
	for _, t := range ticks {
		left = min(max(left, besideTicks+textWidth(t.Label)), p.Width/2)
	}
	low, high, ticks = p.X.fit(xs)
	f.x, f.xTicks = newScale(p.X, low, high, left, p.Width-right), ticks
	return f
}

func (f frame) draw(d *drawing, p Plot) {
	for _, t := range f.yTicks {
		y := f.y.place(t.At)
		d.line("grid", f.x.from, y, f.x.to, y)
		d.text("tick", atEnd, f.x.from-6, y+4, t.Label)
	}
	for _, t := range f.xTicks {
		x := f.x.place(t.At)
		d.line("grid", x, f.y.from, x, f.y.to)
		d.text("tick", atMiddle, x, f.y.from+15, t.Label)
	}
	d.line("axis", f.x.from, f.y.from, f.x.to, f.y.from)
	d.text("label", atEnd, f.x.to, p.Height-6, p.X.Label)
	d.upward("label", 11, (f.y.from+f.y.to)/2, p.Y.Label)
}

// shown are the points that have a place.
func (f frame) shown(s Series) []Point {
	var points []Point
	for _, p := range s.Points {
		if f.xAxis.shows(p.X) && f.yAxis.shows(p.Y) {
			points = append(points, p)
		}
	}
	return points
}

// band draws the spread of a line as an area behind all lines.
func (f frame) band(d *drawing, s Series) {
	points := f.shown(s)
	if s.Form != Line || len(points) < 2 || points[0].Low == points[0].High && points[len(points)-1].Low == points[len(points)-1].High {
		return
	}
	var path strings.Builder
	for i, p := range points {
		fmt.Fprintf(&path, "%s%s %s", moveOrLine(i), px(f.x.place(p.X)), px(f.y.place(p.High)))
	}
	for i := len(points) - 1; i >= 0; i-- {
		fmt.Fprintf(&path, "L%s %s", px(f.x.place(points[i].X)), px(f.y.place(points[i].Low)))
	}
	d.printf(`<path class="band s%d" d="%sZ"/>`, s.Style, path.String())
}

func moveOrLine(i int) string {
	if i == 0 {
		return "M"
	}
	return "L"
}

func (f frame) series(d *drawing, s Series) {
	points := f.shown(s)
	d.printf(`<g class="s%d">`, s.Style)
	if s.Form != Dots && len(points) > 1 {
		d.printf(`<path class="%s" d="%s"/>`, s.class(), f.path(s, points))
	}
	for i, p := range points {
		if s.isMarked(i, len(points)) {
			f.bar(d, s, p)
			d.marker(s, f.x.place(p.X), f.y.place(p.Y))
		}
	}
	d.printf(`</g>`)
}

// markersALine is about how many markers a line has, besides points alone.
const markersALine = 8

// isMarked tells whether a point has a marker: of a long line some, each style's at
// other places.
func (s Series) isMarked(i, of int) bool {
	switch {
	case s.Form == Dots:
		return true
	case s.Form != Line || s.Faint:
		return false
	}
	every := max(1, of/markersALine)
	return i%every == s.Style%every
}

// bar is the spread of a single point.
func (f frame) bar(d *drawing, s Series, p Point) {
	if s.Form == Dots && p.Low != p.High {
		x := f.x.place(p.X)
		d.line("line", x, f.y.place(p.Low), x, f.y.place(p.High))
	}
}

func (f frame) path(s Series, points []Point) string {
	var path strings.Builder
	for i, p := range points {
		if i > 0 && s.Form == Steps {
			fmt.Fprintf(&path, "H%s", px(f.x.place(p.X)))
		}
		fmt.Fprintf(&path, "%s%s %s", moveOrLine(i), px(f.x.place(p.X)), px(f.y.place(p.Y)))
	}
	return path.String()
}

// Markers, by style: circle, square, diamond, triangle, and so on again.
const markers = 4

func (d *drawing) marker(s Series, x, y float64) {
	const r = 3.2
	class := "mark"
	if s.Faint {
		class += " faint"
	}
	switch s.Style % markers {
	case 0:
		d.printf(`<circle class="%s" cx="%s" cy="%s" r="%s"/>`, class, px(x), px(y), px(r))
	case 1:
		d.printf(`<path class="%s" d="M%s %sh6v6h-6Z"/>`, class, px(x-3), px(y-3))
	case 2:
		d.printf(`<path class="%s" d="M%s %sl4 4l-4 4l-4 -4Z"/>`, class, px(x), px(y-4))
	default:
		d.printf(`<path class="%s" d="M%s %sl4 7h-8Z"/>`, class, px(x), px(y-4))
	}
}
