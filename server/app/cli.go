package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

const envPrefix = "CHATMONITOR"

const nullTag = "!!null" // YAML's, of a key without a value

// flags that say where settings come from, and are no settings
var metaFlags = []string{"help", "config", "check-config"}

// commandLine reads the configuration. done reports that the command line asked for something that
// has been printed.
func commandLine(n Network, args []string, stdout, stderr io.Writer) (c Config, done bool, err error) {
	about := n.Describe()
	helped := false
	file := &configFile{}
	parser, err := kong.New(&c,
		kong.Name(about.Program),
		kong.Description(about.Text),
		kong.Embed(n),
		kong.DefaultEnvars(envPrefix),
		kong.Resolvers(file),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100}),
	)
	if err != nil {
		return c, false, fmt.Errorf("app: command line: %w", err)
	}
	ctx, err := parser.Parse(args)
	if helped {
		return c, true, nil
	}
	if err = errors.Join(file.err, err); err != nil {
		return c, false, err
	}
	if err := unknownEnvironment(parser.Model.Node.Flags); err != nil {
		return c, false, err
	}
	if err := c.validate(); err != nil {
		return c, false, err
	}
	if c.CheckConfig {
		return c, true, printConfig(stdout, ctx)
	}
	return c, false, nil
}

// configFile resolves flags from the YAML file that --config names.
type configFile struct {
	loaded bool
	err    error // kong would blame the first flag that it resolves
	values map[string]yaml.Node
}

// Validate is kong's; the keys are checked when the file is read.
func (f *configFile) Validate(*kong.Application) error { return nil }

// Resolve gives the file's value for a flag, unless the environment has one.
func (f *configFile) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !f.loaded {
		f.loaded = true
		f.err = f.load(ctx)
	}
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	value, set := f.values[yamlKey(flag.Name)]
	if !set {
		return nil, nil
	}
	return asWritten(&value), nil
}

// asWritten is a value as a flag would bear it: its text, which flags then read in their own way. As
// numbers of YAML's, "drain: 5" would be 5 nanoseconds, and "max_rules: 1.5" would be 2.
func asWritten(value *yaml.Node) any {
	switch value.Kind {
	case yaml.ScalarNode:
		return value.Value
	case yaml.SequenceNode:
		list := make([]any, len(value.Content))
		for i, each := range value.Content {
			list[i] = asWritten(each)
		}
		return list
	case yaml.AliasNode:
		return asWritten(value.Alias)
	}
	return map[string]any{} // of which there is no flag
}

func (f *configFile) load(ctx *kong.Context) error {
	path := os.Getenv(envPrefix + "_CONFIG")
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			path, _ = ctx.FlagValue(p.Flag).(string)
		}
	}
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the configuration file cannot be read: %w", err)
	}
	if err := yaml.Unmarshal(text, &f.values); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	known := settings(ctx.Model.Node.Flags)
	for key, value := range f.values {
		if !slices.ContainsFunc(known, func(flag *kong.Flag) bool { return yamlKey(flag.Name) == key }) {
			return fmt.Errorf("%s: unknown key %q; the keys are the flags' names with underscores (--check-config prints them all)", path, key)
		}
		if value.Tag == nullTag {
			return fmt.Errorf("%s: %s has no value", path, key)
		}
	}
	return nil
}

func settings(flags []*kong.Flag) []*kong.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f *kong.Flag) bool { return slices.Contains(metaFlags, f.Name) })
}

func yamlKey(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

func unknownEnvironment(flags []*kong.Flag) error {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix+"_") {
			continue
		}
		if !slices.ContainsFunc(flags, func(f *kong.Flag) bool { return slices.Contains(f.Envs, name) }) {
			return fmt.Errorf("unknown environment variable %s; the names are the flags' in capitals with underscores, after %s_", name, envPrefix)
		}
	}
	return nil
}

// printConfig prints every setting in the form of the configuration file.
func printConfig(stdout io.Writer, ctx *kong.Context) error {
	doc := yaml.Node{Kind: yaml.MappingNode}
	for _, flag := range settings(ctx.Model.Node.Flags) {
		var key, value yaml.Node
		if err := key.Encode(yamlKey(flag.Name)); err != nil {
			return err
		}
		if err := value.Encode(visible(flag)); err != nil {
			return err
		}
		doc.Content = append(doc.Content, &key, &value)
	}
	text, err := yaml.Marshal(&doc)
	if err != nil {
		return err
	}
	_, err = stdout.Write(text)
	return err
}

// visible is what is printed of a setting.
func visible(flag *kong.Flag) any {
	if secret, ok := flag.Target.Interface().(Secret); ok {
		return secret.String()
	}
	return flag.Target.Interface()
}
