package chart

import "slices"

// Bars is stacked bars, one below the other.
type Bars struct {
	ID                 string // unique in the page
	Title, Description string
	Width              float64
	Axis               Axis
	Parts              []string // names, in the order in which they are stacked
	Rows               []Row
}

// Row is one bar.
type Row struct {
	Label string
	Parts []float64 // as many as Bars has names; below zero counts as zero
	Total string    // written behind the bar
}

const (
	barHeight  = 18.
	barSpace   = 10.
	inBarWidth = 34. // from which on a part bears its number
	partSample = 11.
)

// Longer texts are shortened to these shares of the width.
const (
	labelShare  = 0.55
	totalShare  = 0.2
	legendShare = 0.9
)

// shortened is the same with texts that leave room for the bars.
func (b Bars) shortened() Bars {
	b.Parts, b.Rows = slices.Clone(b.Parts), slices.Clone(b.Rows)
	for i := range b.Parts {
		b.Parts[i] = fitting(b.Parts[i], b.Width*legendShare)
	}
	for i := range b.Rows {
		b.Rows[i].Label = fitting(b.Rows[i].Label, b.Width*labelShare)
		b.Rows[i].Total = fitting(b.Rows[i].Total, b.Width*totalShare)
	}
	return b
}

// SVG draws the bars.
func (b Bars) SVG() string {
	b = b.shortened()
	labels, totals := b.margins()
	top := b.legendHeight() + above
	bottomOfBars := top + float64(len(b.Rows))*(barHeight+barSpace)
	height := bottomOfBars + bottom
	d := begin(b.ID, b.Title, b.Description, b.Width, height)
	b.legend(d)
	b.Axis.Max = max(b.Axis.Max, slices.Max(append(b.sums(), 1))) // the longest bar may end between two ticks
	low, high, ticks := b.Axis.fit(nil)
	x := newScale(b.Axis, low, high, labels, b.Width-totals)
	for _, t := range ticks {
		d.line("grid", x.place(t.At), top-4, x.place(t.At), bottomOfBars)
		d.text("tick", atMiddle, x.place(t.At), bottomOfBars+15, t.Label)
	}
	for i, row := range b.Rows {
		b.row(d, row, x, top+float64(i)*(barHeight+barSpace))
	}
	d.line("axis", x.from, top-4, x.from, bottomOfBars)
	d.text("label", atEnd, x.to, height-6, b.Axis.Label)
	return d.end()
}

// margins are the room for the labels and for the totals.
func (b Bars) margins() (labels, totals float64) {
	for _, row := range b.Rows {
		labels, totals = max(labels, textWidth(row.Label)), max(totals, textWidth(row.Total))
	}
	return labels + 10, totals + 12
}

func (b Bars) sums() []float64 {
	var sums []float64
	for _, row := range b.Rows {
		sum := 0.
		for _, part := range row.Parts {
			sum += max(part, 0)
		}
		sums = append(sums, sum)
	}
	return sums
}

func (b Bars) row(d *drawing, row Row, x scale, y float64) {
	d.text("label", atEnd, x.from-8, y+13, row.Label)
	sum := 0.
	for i, part := range row.Parts {
		if part <= 0 {
			continue
		}
		from, to := x.place(sum), x.place(sum+part)
		sum += part
		d.printf(`<rect class="part p%d" x="%s" y="%s" width="%s" height="%s"/>`, i, px(from), px(y), px(to-from), px(barHeight))
		if label := b.Axis.tick(part).Label; to-from >= max(inBarWidth, textWidth(label)+6) {
			d.text("inbar t"+plain(float64(i)), atMiddle, (from+to)/2, y+13, label)
		}
	}
	d.text("label", atStart, x.place(sum)+6, y+13, row.Total)
}

// places are where the names of the parts stand: in rows at the top.
func (b Bars) places() (xs, ys []float64, height float64) {
	x, y := 0., legendRow
	for _, name := range b.Parts {
		width := partSample + 5 + textWidth(name)
		if x > 0 && x+width > b.Width-right {
			x, y = 0, y+legendRow
		}
		xs, ys = append(xs, x), append(ys, y)
		x += width + 14
	}
	return xs, ys, y
}

func (b Bars) legendHeight() float64 {
	_, _, height := b.places()
	return height
}

func (b Bars) legend(d *drawing) {
	xs, ys, _ := b.places()
	for i, name := range b.Parts {
		d.printf(`<rect class="part p%d" x="%s" y="%s" width="%s" height="%s"/>`, i, px(xs[i]), px(ys[i]-10), px(partSample), px(partSample))
		d.text("label", atStart, xs[i]+partSample+5, ys[i], name)
	}
}
