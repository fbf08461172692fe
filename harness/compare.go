package main

import (
	"chatmonitor/harness/report"
)

// compareCommand puts two runs side by side.
type compareCommand struct {
	A string `arg:"" name:"a" help:"The run to divide by: its folder, or its run.json."`
	B string `arg:"" name:"b" help:"The run to compare with it."`
}

// Help is shown with --help.
func (c *compareCommand) Help() string {
	return `Prints what both runs measured, B divided by A with an interval, and in what else they differ: machine, commit,
broker, load. It judges nothing and always ends with 0 if it could read both.

Example:
  harness compare results/runs/20261123T090000Z-53af2dc results/runs/20261124T090000Z-7be01f3`
}

// Run prints the comparison.
func (c *compareCommand) Run(std streams) error {
	a, err := report.Read(c.A)
	if err != nil {
		return err
	}
	b, err := report.Read(c.B)
	if err != nil {
		return err
	}
	return report.Compare(a, b).Print(std.stdout)
}
