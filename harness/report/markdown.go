package report

import (
	"fmt"
	"html"
	"io"
	"strings"
	"unicode"
)

// WriteMarkdown writes the run as Markdown: what the page has, without the drawings.
func (r *Run) WriteMarkdown(w io.Writer) error {
	grids, err := r.grids()
	if err != nil {
		return err
	}
	out := &markdown{}
	standing, why := r.Standing()
	out.line("# %s", escaped(r.title()))
	out.line("**%s**: %s", escaped(string(standing)), escaped(why))
	out.list(r.findings())
	out.list(r.troubles())
	if climbs := r.climbGrid(); len(climbs.Rows) > 0 {
		out.grid("## "+escaped(climbs.Title), climbs)
	}
	out.line("## Figures")
	out.sections(r)
	out.list(r.legend())
	out.line("## Environment")
	var facts [][]string
	for _, f := range r.facts() {
		facts = append(facts, []string{f.Name, f.Value})
	}
	out.table([]string{"what", "found"}, 2, facts)
	out.line("## How it was measured")
	out.list(r.method())
	out.fence(append([]string{r.again(), ""}, r.commands()...))
	out.line("## Raw tables")
	for _, g := range grids {
		out.grid("<details><summary>"+html.EscapeString(g.Title)+"</summary>", g) // not Markdown until the next empty line
		out.line("</details>")
	}
	out.line("Everything else is in `%s` beside this file; `report.html` has the charts.", FileName)
	if _, err := io.WriteString(w, strings.TrimRight(out.String(), "\n")+"\n"); err != nil {
		return fmt.Errorf("report: write Markdown: %w", err)
	}
	return nil
}

// markdown is a text under way. Its parts are set apart by empty lines.
type markdown struct{ strings.Builder }

func (m *markdown) line(format string, args ...any) {
	fmt.Fprintf(&m.Builder, format+"\n\n", args...)
}

func (m *markdown) list(lines []string) {
	for _, line := range lines {
		fmt.Fprintf(&m.Builder, "- %s\n", escaped(line))
	}
	if len(lines) > 0 {
		m.WriteString("\n")
	}
}

// grid is a plain table under its heading, which is Markdown.
func (m *markdown) grid(heading string, g grid) {
	m.line("%s", heading)
	m.line("%s", escaped(g.Note))
	m.table(g.Head, g.Columns, g.Rows)
}

// table has cells that are escaped; the first columns hold text, the others numbers.
func (m *markdown) table(head []string, texts int, rows [][]string) {
	m.row(head)
	for i := range head {
		if i < texts {
			m.WriteString("| --- ")
		} else {
			m.WriteString("| ---: ")
		}
	}
	m.WriteString("|\n")
	for _, row := range rows {
		m.row(row)
	}
	m.WriteString("\n")
}

func (m *markdown) row(cells []string) {
	for _, cell := range cells {
		m.WriteString("| " + escaped(cell) + " ")
	}
	m.WriteString("|\n")
}

// sections are the figures: a table for each scenario.
func (m *markdown) sections(r *Run) {
	head := []string{"figure", "unit", "n"}
	for _, v := range r.Configuration.Variants {
		head = append(head, v.Name)
	}
	for _, s := range r.usedSections() {
		m.line("### %s", escaped(s.title))
		var rows [][]string
		for _, l := range s.lines {
			rows = append(rows, r.markdownRows(l)...)
		}
		m.table(head, 3, rows)
	}
}

func (r *Run) markdownRows(l line) [][]string {
	cells := r.cells(l)
	row, ratios := []string{l.label, l.unit, commonN(cells)}, []string{"/ " + r.base(), "", ""}
	hasRatio := false
	for _, c := range cells {
		row, ratios = append(row, c.figure()), append(ratios, c.ratioText())
		hasRatio = hasRatio || c.Ratio != ""
	}
	if hasRatio {
		return [][]string{row, ratios}
	}
	return [][]string{row}
}

// fence writes lines as they are, between marks that none of them contains.
func (m *markdown) fence(lines []string) {
	text := printable(strings.Join(lines, "\n"))
	mark := "```"
	for strings.Contains(text, mark) {
		mark += "`"
	}
	m.line("%s\n%s\n%s", mark, text, mark)
}

// escaped takes from a text what Markdown, or HTML within it, would make of it.
func escaped(text string) string {
	var out strings.Builder
	for i, c := range text {
		switch {
		case !unicode.IsPrint(c): // ends of lines too: a table has one line a row
			c = ' '
		case strings.ContainsRune("\\`*_[]<>|~#&", c):
			out.WriteByte('\\')
		case strings.ContainsRune("+-", c) && i == 0 && len(text) > 1:
			out.WriteByte('\\')
		}
		out.WriteRune(c)
	}
	return out.String()
}
