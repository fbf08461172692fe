package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// planCommand runs scenarios from a file.
type planCommand struct {
	Plan  string `required:"" placeholder:"FILE" help:"YAML file: \"defaults\", flags for all, and \"scenarios\", a list of flags with \"scenario\" for the name."`
	JSON  bool   `name:"json" help:"Print each result as one line of JSON."`
	Quiet bool   `help:"No progress on stderr."`
	steps []step
}

// planFile is a plan as it is written. Flags are those of the command line, without the dashes.
type planFile struct {
	Defaults  map[string]any   `yaml:"defaults"`
	Scenarios []map[string]any `yaml:"scenarios"`
}

const scenarioKey = "scenario"

// step is one scenario of a plan.
type step struct {
	args    []string
	command command
	files   []string // what it writes to; histograms have the scenario in their names
}

func (c *planCommand) validate() error {
	_, err := os.Stat(c.Plan)
	if err != nil {
		return fmt.Errorf("--plan: %w", err)
	}
	return nil
}

// run goes through all scenarios; a later one runs although an earlier one was invalid or wrong, but not after one
// that failed. The exit code is the worst.
func (c *planCommand) run(ctx context.Context, p *program, _ []string) (int, error) {
	if err := c.read(p); err != nil {
		return exitFailed, fmt.Errorf("--plan %s: %w", c.Plan, err)
	}
	worst := exitFine
	for i, s := range c.steps {
		if !c.Quiet {
			fmt.Fprintf(p.stderr, "plan: %d of %d: %s\n", i+1, len(c.steps), s.args[0])
		}
		code, err := s.command.run(ctx, p, s.args)
		if err != nil {
			return exitFailed, fmt.Errorf("scenario %d (%s): %w", i+1, s.args[0], err)
		}
		worst = max(worst, code)
	}
	return worst, nil
}

// read checks the whole plan before the first scenario runs.
func (c *planCommand) read(p *program) error {
	file, err := os.Open(c.Plan)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = file.Close() }() // was only read
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	var plan planFile
	if err := decoder.Decode(&plan); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read: %w", err)
	}
	if len(plan.Scenarios) == 0 {
		return errors.New("no scenarios in it")
	}
	known, err := p.flagsByScenario()
	if err != nil {
		return err
	}
	if err := plan.checkDefaults(known); err != nil {
		return err
	}
	for i, flags := range plan.Scenarios {
		s, err := c.step(p, known, plan.Defaults, flags)
		if err != nil {
			return fmt.Errorf("scenario %d: %w", i+1, err)
		}
		c.steps = append(c.steps, s)
	}
	return c.checkFiles()
}

// checkDefaults wants flags that some scenario has, whether or not it is one of the plan's.
func (f *planFile) checkDefaults(known map[string]map[string]bool) error {
	for _, flag := range slices.Sorted(maps.Keys(f.Defaults)) {
		isKnown := false
		for _, flags := range known {
			isKnown = isKnown || flags[flag]
		}
		if !isKnown {
			return fmt.Errorf("defaults: no scenario has a flag --%s", flag)
		}
	}
	return nil
}

// checkFiles wants no scenario to replace the files of an earlier one.
func (c *planCommand) checkFiles() error {
	writers := map[string]int{}
	for i, s := range c.steps {
		for _, files := range s.files {
			if earlier, taken := writers[files]; taken {
				return fmt.Errorf("scenario %d would replace what scenario %d writes to %s", i+1, earlier, files)
			}
			writers[files] = i + 1
		}
	}
	return nil
}

func (c *planCommand) step(p *program, known map[string]map[string]bool, defaults, flags map[string]any) (s step, err error) {
	name, _ := flags[scenarioKey].(string)
	if known[name] == nil {
		return step{}, fmt.Errorf("%q must be one of %s, not %v", scenarioKey, strings.Join(slices.Sorted(maps.Keys(known)), ", "), flags[scenarioKey])
	}
	s.args = []string{name}
	all := map[string]any{}
	for flag, value := range defaults {
		if known[name][flag] { // a rate, say, means nothing to idle connections
			all[flag] = value
		}
	}
	maps.Copy(all, flags)
	delete(all, scenarioKey)
	if _, driven := all["control"]; driven {
		return step{}, errors.New("a scenario of a plan cannot be under --control")
	}
	if raw, writes := all["raw"]; writes {
		s.files = append(s.files, fmt.Sprintf("--raw=%v", raw))
	}
	if dir, writes := all["hgrm"]; writes {
		s.files = append(s.files, fmt.Sprintf("--hgrm=%v (%s)", dir, name))
	}
	for _, flag := range slices.Sorted(maps.Keys(all)) {
		s.args = append(s.args, fmt.Sprintf("--%s=%s", flag, asFlag(all[flag])))
	}
	if c.JSON {
		s.args = append(s.args, "--json")
	}
	if c.Quiet {
		s.args = append(s.args, "--quiet")
	}
	s.command, err = p.parse(s.args)
	return s, err
}

// asFlag writes a list as the command line has it.
func asFlag(value any) string {
	list, isList := value.([]any)
	if !isList {
		return fmt.Sprint(value)
	}
	texts := make([]string, len(list))
	for i, element := range list {
		texts[i] = fmt.Sprint(element)
	}
	return strings.Join(texts, ",")
}
