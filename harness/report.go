package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"chatmonitor/harness/report"
)

// reportCommand makes a run's reports again.
type reportCommand struct {
	Format string `default:"text" enum:"text,markdown,html" help:"text: the run's table; markdown: all numbers; html: one page with charts, which needs no network (${enum})."`
	Folder string `arg:"" name:"rundir" help:"The run's folder, or its run.json."`
}

// Help is shown with --help.
func (c *reportCommand) Help() string {
	return `Reports are made from run.json alone, and written to stdout.

Examples:
  harness report results/runs/20261123T090000Z-53af2dc
  harness report --format=html results/runs/20261123T090000Z-53af2dc > report.html`
}

// Run prints what the run itself printed, or one of the files that it left.
func (c *reportCommand) Run(std streams) error {
	run, err := report.Read(c.Folder)
	if err != nil {
		return err
	}
	switch c.Format {
	case "markdown":
		return run.WriteMarkdown(std.stdout)
	case "html":
		return run.WriteHTML(std.stdout)
	}
	return run.Print(std.stdout)
}

// reportFiles are what a run leaves beside run.json, all made from it.
func reportFiles(r *report.Run) map[string]func(io.Writer) error {
	return map[string]func(io.Writer) error{
		"bench.txt":   r.WriteBench,
		"metrics.om":  r.WriteOpenMetrics,
		"report.md":   r.WriteMarkdown,
		"report.html": r.WriteHTML,
	}
}

// saveReports writes them; what one of them can't be made of does not keep the others.
func saveReports(folder string, r *report.Run) error {
	var all error
	for name, write := range reportFiles(r) {
		file, err := os.Create(filepath.Join(folder, name))
		if err == nil {
			err = errors.Join(write(file), file.Close())
		}
		all = errors.Join(all, err)
	}
	return all
}
