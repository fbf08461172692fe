package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"chatmonitor/harness/report"
)

// figuresCommand writes the tables of reference runs into pages, so that nobody copies a figure by hand, and
// makes those runs' reports anew.
type figuresCommand struct {
	Check bool     `help:"Write nothing; fail if a page's figures, or the reports of its runs, are not what the runs give."`
	Pages []string `arg:"" name:"page" help:"Markdown files."`
}

// Help is shown with --help.
func (c *figuresCommand) Help() string {
	return `A page marks the place of a table with the run that it is of, relative to the page:

  ` + figuresBegin + `results/runs/20261123T090000Z-53af2dc` + figuresMark + `
  ` + figuresEnd + `

What stands between the two lines is replaced by the table that the run printed. Another run's folder in the first line
gives its table. The reports in the folder are made from its run.json again, as this version makes them.`
}

const (
	figuresBegin = "<!-- figures of "
	figuresMark  = " (written by harness figures) -->"
	figuresEnd   = "<!-- end of figures -->"
)

// Run writes or checks the pages.
func (c *figuresCommand) Run(std streams) error {
	var all error
	for _, page := range c.Pages {
		all = errors.Join(all, c.page(std.stderr, page))
	}
	return all
}

func (c *figuresCommand) page(w io.Writer, path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("figures: %w", err)
	}
	page, err := withFigures(string(old), func(run string) (string, error) {
		return c.quote(filepath.Join(filepath.Dir(path), run))
	})
	switch {
	case err != nil:
		return fmt.Errorf("figures: %s: %w", path, err)
	case page == string(old):
		fmt.Fprintf(w, "%s has the figures of its runs\n", path)
		return nil
	case c.Check:
		return fmt.Errorf("figures: %s has not the figures of its runs; harness figures %s writes them", path, path)
	}
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
		return fmt.Errorf("figures: %w", err)
	}
	fmt.Fprintf(w, "%s is written\n", path)
	return nil
}

// withFigures puts tables between the marks of a page.
func withFigures(page string, table func(run string) (string, error)) (string, error) {
	var out strings.Builder
	for tables := 0; ; tables++ {
		before, rest, found := strings.Cut(page, figuresBegin)
		out.WriteString(before)
		if !found {
			if tables == 0 {
				return "", errors.New("no line marks a place for figures")
			}
			return out.String(), nil
		}
		run, rest, found := strings.Cut(rest, figuresMark)
		if !found || strings.Contains(run, "\n") {
			return "", fmt.Errorf("a mark does not end with %q", figuresMark)
		}
		_, rest, found = strings.Cut(rest, figuresEnd)
		if !found {
			return "", fmt.Errorf("there is no %q behind the mark of %s", figuresEnd, run)
		}
		text, err := table(run)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s%s%s\n\n```text\n%s\n```\n\n%s", figuresBegin, run, figuresMark, strings.TrimSpace(text), figuresEnd)
		page = rest
	}
}

// quote gives what the run of a folder printed, when its reports are seen to.
func (c *figuresCommand) quote(folder string) (string, error) {
	run, err := report.Read(folder)
	if err != nil {
		return "", err
	}
	if c.Check {
		err = checkReports(folder, run)
	} else {
		err = saveReports(folder, run)
	}
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := run.Print(&out); err != nil {
		return "", err
	}
	return out.String(), nil
}

// checkReports finds the reports in a folder that run.json does not give, or not any more.
func checkReports(folder string, run *report.Run) error {
	var all error
	for name, write := range reportFiles(run) {
		var want bytes.Buffer
		if err := write(&want); err != nil {
			return err
		}
		path := filepath.Join(folder, name)
		got, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(got, want.Bytes()) {
			err = fmt.Errorf("%s is not what run.json gives; without --check it is made anew", path)
		}
		all = errors.Join(all, err)
	}
	return all
}
