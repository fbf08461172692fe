package main

import "chatmonitor/harness/report"

// reportCommand prints a run's table again.
type reportCommand struct {
	Folder string `arg:"" name:"rundir" help:"The run's folder, or its run.json."`
}

// Run prints the same table that the run printed.
func (c *reportCommand) Run(std streams) error {
	run, err := report.Read(c.Folder)
	if err != nil {
		return err
	}
	return run.Print(std.stdout)
}
