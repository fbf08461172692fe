package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// page is what the template shows. Text of a run is escaped by the template; what is
// template.HTML here was drawn, and escaped, by package chart.
type page struct {
	Style    template.CSS
	Title    string
	Started  string
	Standing Standing
	Class    string // of the standing
	Why      string
	Findings []string
	Troubles []string
	Base     string
	Variants []Variant
	Climbs   grid // of a run up to very many connections
	Sections []pageSection
	Legend   []string
	Figures  []pageFigure
	Facts    []fact
	Method   []string
	Again    string
	Commands []string
	Grids    []grid
	Data     template.URL
	DataSize string
	FileName string
	ID       string
}

type pageSection struct {
	Title, Shows string
	Rows         []pageRow
}

type pageRow struct {
	Label, Unit, N string
	Cells          []cell
}

type pageFigure struct {
	Title, Caption string
	Small          bool
	Drawings       []template.HTML
}

// WriteHTML writes the run as one page that needs nothing else: no network, no script.
func (r *Run) WriteHTML(w io.Writer) error {
	p, err := r.page()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		return fmt.Errorf("report: make the page: %w", err)
	}
	if _, err := io.WriteString(w, printable(out.String())); err != nil {
		return fmt.Errorf("report: write the page: %w", err)
	}
	return nil
}

var standingClasses = map[Standing]string{Sound: "sound", Caution: "caution", NotWhole: "notwhole", Wrong: "wrong"}

func (r *Run) page() (*page, error) {
	grids, err := r.grids()
	if err != nil {
		return nil, err
	}
	figures, err := r.figures()
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("report: encode the run: %w", err)
	}
	standing, why := r.Standing()
	p := &page{
		Style: template.CSS(pageStyle), Title: r.title(), Started: r.Started.UTC().Format("2 January 2006, 15:04 UTC"),
		Standing: standing, Class: standingClasses[standing], Why: why,
		Findings: r.findings(), Troubles: r.troubles(), Base: r.base(), Variants: r.Configuration.Variants,
		Legend: r.legend(), Facts: r.facts(), Method: r.method(), Again: r.again(), Commands: r.commands(), Grids: grids, Climbs: r.climbGrid(),
		Data:     template.URL("data:application/json;base64," + base64.StdEncoding.EncodeToString(data)),
		DataSize: fmt.Sprintf("%.0f KiB", float64(len(data))/1024), FileName: FileName, ID: r.ID,
	}
	for _, s := range r.usedSections() {
		p.Sections = append(p.Sections, r.pageSection(s))
	}
	for _, f := range figures {
		drawn := pageFigure{Title: f.Title, Caption: f.Caption, Small: f.Small}
		for _, drawing := range f.Drawings {
			drawn.Drawings = append(drawn.Drawings, template.HTML(drawing))
		}
		p.Figures = append(p.Figures, drawn)
	}
	return p, nil
}

func (r *Run) pageSection(s usedSection) pageSection {
	out := pageSection{Title: s.title, Shows: s.shows}
	for _, l := range s.lines {
		cells := r.cells(l)
		out.Rows = append(out.Rows, pageRow{l.label, l.unit, commonN(cells), cells})
	}
	return out
}
