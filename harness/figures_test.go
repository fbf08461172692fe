package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The pages that quote figures quote those of their runs.
func TestPagesHaveTheFiguresOfTheirRuns(t *testing.T) {
	check := figuresCommand{Check: true, Pages: []string{"../README.md", "../results/README.md"}}
	var said bytes.Buffer
	if err := check.Run(streams{stderr: &said}); err != nil {
		t.Error(err)
	}
}

func TestFiguresArePutBetweenTheMarks(t *testing.T) {
	table := func(run string) (string, error) {
		if run == "gone" {
			return "", errors.New("no such run")
		}
		return "\nfigures of " + run + "\n\n", nil
	}
	mark := func(run string) string { return figuresBegin + run + figuresMark }
	block := func(run string) string {
		return mark(run) + "\n\n```text\nfigures of " + run + "\n```\n\n" + figuresEnd
	}
	for _, c := range []struct{ name, page, want, problem string }{
		{"new", "a\n" + mark("one") + "\n" + figuresEnd + "\nb\n", "a\n" + block("one") + "\nb\n", ""},
		{"old", "a\n" + mark("one") + "\n\nother figures\n" + figuresEnd + "\nb\n", "a\n" + block("one") + "\nb\n", ""},
		{"right already", block("one"), block("one"), ""},
		{"two", mark("one") + figuresEnd + "and" + mark("two") + figuresEnd, block("one") + "and" + block("two"), ""},
		{"none", "no figures\n", "", "no line marks"},
		{"without an end", "a" + mark("one") + "b", "", figuresEnd},
		{"a mark that does not end", "a" + figuresBegin + "one\n" + figuresMark + figuresEnd, "", "does not end"},
		{"of no run", mark("gone") + figuresEnd, "", "no such run"},
	} {
		got, err := withFigures(c.page, table)
		if c.problem != "" {
			if err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s: the error is %v, want one that mentions %q", c.name, err, c.problem)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, got, c.want)
		}
	}
}

func TestFiguresAreCheckedAndWritten(t *testing.T) {
	folder := t.TempDir()
	data, err := os.ReadFile(filepath.Join("report", "testdata", "run", "run.json"))
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(folder, "page.md")
	for name, text := range map[string]string{
		filepath.Join(folder, "run.json"): string(data),
		page:                              figuresBegin + "." + figuresMark + figuresEnd,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	std := streams{stderr: &said}
	if err := (&figuresCommand{Check: true, Pages: []string{page}}).Run(std); err == nil {
		t.Error("a page without its figures is content")
	}
	for range 2 {
		if err := (&figuresCommand{Pages: []string{page}}).Run(std); err != nil {
			t.Fatal(err)
		}
	}
	if err := (&figuresCommand{Check: true, Pages: []string{page}}).Run(std); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "reactor") {
		t.Errorf("%v, the page is\n%s", err, text)
	}
	if err := os.WriteFile(filepath.Join(folder, "report.md"), []byte("of another version"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&figuresCommand{Check: true, Pages: []string{page}}).Run(std); err == nil || !strings.Contains(err.Error(), "report.md") {
		t.Errorf("of an old report is said: %v", err)
	}
}
