package chart

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// drawing is an SVG under way.
type drawing struct{ strings.Builder }

// begin opens the drawing with what it is for those who do not see it.
func begin(id, title, description string, width, height float64) *drawing {
	d := &drawing{}
	id = safe(id)
	d.printf(`<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" role="img" aria-labelledby="%s-t %s-d">`,
		px(width), px(height), id, id)
	d.printf(`<title id="%s-t">%s</title><desc id="%s-d">%s</desc>`, id, safe(title), id, safe(description))
	return d
}

func (d *drawing) end() string {
	d.WriteString("</svg>")
	return d.String()
}

// printf takes text that is safe.
func (d *drawing) printf(format string, args ...any) {
	fmt.Fprintf(&d.Builder, format, args...)
}

// Where a text begins.
const (
	atStart  = "start"
	atMiddle = "middle"
	atEnd    = "end"
)

func (d *drawing) text(class, anchor string, x, y float64, text string) {
	d.printf(`<text class="%s" x="%s" y="%s" text-anchor="%s">%s</text>`, class, px(x), px(y), anchor, safe(text))
}

// upward writes a text from below, its middle at the place.
func (d *drawing) upward(class string, x, y float64, text string) {
	d.printf(`<text class="%s" text-anchor="middle" transform="translate(%s %s) rotate(-90)">%s</text>`, class, px(x), px(y), safe(text))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	d.printf(`<path class="%s" d="M%s %sL%s %s"/>`, class, px(x1), px(y1), px(x2), px(y2))
}

// safe escapes a text, and replaces what is no character of XML or turns others around.
func safe(text string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if r != ' ' && !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text))
}

// px writes a place to a tenth of a unit, which nobody sees.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// letterWidth is about the width of a letter of a tick or a label.
const letterWidth = 6.9

// fitting shortens a text to the width.
func fitting(text string, width float64) string {
	letters := []rune(text)
	if most := max(1, int(width/letterWidth)); len(letters) > most {
		return string(letters[:most-1]) + "…"
	}
	return text
}

func textWidth(text string) float64 { return float64(len([]rune(text))) * letterWidth }
