// Package chart draws small charts as SVG for a page that embeds them: lines and
// points over two axes, and stacked bars.
//
// What belongs to the page stays in the page: colours, fonts and strokes are CSS
// classes and variables, so that one drawing serves light, dark and paper. A series
// differs from the others by dash and marker too, never by colour alone. Every
// drawing has a title and a description for those who do not see it; every text
// that comes from outside is escaped.
//
//	class       what
//	chart       the drawing
//	grid, axis  lines of the frame
//	tick, label texts
//	s0 .. s7    a series: the page sets --series for each
//	p0 .. p11   a part of a stacked bar: the page sets --part for each
//
// It computes nothing that a reader would quote: what is drawn comes as numbers.
package chart
