package conformance

import (
	"net"
	"os"
	"path/filepath"
	"strings"
)

func configCases() []testCase {
	var cases []testCase
	for _, row := range usageErrors {
		cases = append(cases, testCase{name: "usage error: " + row.name, own: true, run: func(tr *trial) {
			tr.wantUsageError(row.mentions, nil, row.flags...)
			tr.wantUsageError(row.mentions, nil, append(row.flags, "--check-config")...)
		}})
	}
	for _, row := range fileErrors {
		cases = append(cases, testCase{name: "file error: " + row.name, own: true, run: func(tr *trial) {
			tr.wantUsageError(row.mentions, nil, "--config="+tr.file(row.text))
		}})
	}
	return append(cases, []testCase{
		{name: "file error: there is none", own: true, run: noFile},
		{name: "usage error: a bad value in the environment", own: true, run: badEnvironment},
		{name: "--help teaches", own: true, run: help},
		{name: "--check-config prints the defaults", own: true, run: defaults},
		{name: "--check-config prints what --config reads", own: true, run: roundTrip},
		{name: "--check-config does not need the port", own: true, run: checkWithoutPort},
		{name: "the flag is before the environment, before the file, before the default", own: true, run: precedence},
		{name: "every kind of value, from each source", own: true, run: sources},
		{name: "several brokers", own: true, run: severalBrokers},
		{name: "the environment configures a running server", own: true, run: configuredServer},
	}...)
}

// usageErrors end the program with 2 and a message that mentions what is wrong.
var usageErrors = []struct {
	name, mentions string
	flags          []string
}{
	{"an unknown flag", "--no-such-flag", []string{"--no-such-flag"}},
	{"an argument", "surplus", []string{"surplus"}},
	{"a word for a number", "max-rules", []string{"--max-rules=many"}},
	{"a fraction for a number", "max-rules", []string{"--max-rules=1.5"}},
	{"a number without a unit for a time", "drain", []string{"--drain=ten"}},
	{"no value", "max-rules", []string{"--max-rules"}},
	{"negative --max-connections", "max-connections", []string{"--max-connections=-1"}},
	{"negative --max-message-bytes", "max-message-bytes", []string{"--max-message-bytes=-1"}},
	{"negative --max-record-bytes", "max-record-bytes", []string{"--max-record-bytes=-1"}},
	{"negative --outbound-budget-bytes", "outbound-budget-bytes", []string{"--outbound-budget-bytes=-1"}},
	{"negative --socket-send-buffer", "socket-send-buffer", []string{"--socket-send-buffer=-1"}},
	{"negative --max-connections-per-address", "max-connections-per-address", []string{"--max-connections-per-address=-1"}},
	{"negative --max-messages-per-second", "max-messages-per-second", []string{"--max-messages-per-second=-1"}},
	{"a head that no browser's fits", "max-head-bytes", []string{"--max-head-bytes=100"}},
	{"negative --max-rules", "max-rules", []string{"--max-rules=-1"}},
	{"negative --max-rule-entries", "max-rule-entries", []string{"--max-rule-entries=-1"}},
	{"negative --max-keywords", "max-keywords", []string{"--max-keywords=-1"}},
	{"no heap growth at all", "gc-percent", []string{"--gc-percent=0"}},
	{"negative --handshake-timeout", "handshake-timeout", []string{"--handshake-timeout=-1s"}},
	{"negative --idle-ping", "idle-ping", []string{"--idle-ping=-1s"}},
	{"negative --drain", "drain", []string{"--drain=-1s"}},
	{"records longer than the outbound budget", "max-record-bytes", []string{"--max-record-bytes=2000", "--outbound-budget-bytes=1000"}},
	{"records as long as the outbound budget", "max-record-bytes", []string{"--max-record-bytes=1000", "--outbound-budget-bytes=1000"}},
	{"an address without a port", "listen", []string{"--listen=127.0.0.1"}},
	{"a port that is none", "listen", []string{"--listen=127.0.0.1:70000"}},
	{"an admin listener for everybody", "admin-listen", []string{"--admin-listen=0.0.0.0:0"}},
	{"no broker", "kafka", []string{"--kafka="}},
	{"a broker without a port", "kafka", []string{"--kafka=127.0.0.1"}},
	{"no topic", "topic", []string{"--topic="}},
}

var fileErrors = []struct{ name, text, mentions string }{
	{"an unknown key", "listen: 127.0.0.1:0\nmax_rulez: 3\n", "max_rulez"},
	{"a flag's name instead of the key", "max-rules: 3\n", "max-rules"},
	{"a capital", "Topic: chat\n", "Topic"},
	{"a word for a number", "max_rules: many\n", "max"},
	{"a negative number", "max_rules: -1\n", "max-rules"},
	{"no YAML", "listen: [\n", ""},
	{"a list", "- listen\n", ""},
	{"a key twice", "topic: a\ntopic: b\n", "topic"},
}

func (tr *trial) wantUsageError(mentions string, settings []string, flags ...string) {
	tr.Helper()
	outcome := tr.Program.Exec(tr.TB, settings, flags...)
	if outcome.Code != 2 {
		tr.Errorf("%v %v exits %d, want 2; stderr:\n%s", settings, flags, outcome.Code, outcome.Stderr)
	}
	if !strings.Contains(outcome.Stderr, mentions) || outcome.Stderr == "" {
		tr.Errorf("%v %v: stderr does not mention %q:\n%s", settings, flags, mentions, outcome.Stderr)
	}
	if outcome.Stdout != "" {
		tr.Errorf("%v %v: the error comes with stdout:\n%s", settings, flags, outcome.Stdout)
	}
}

// file writes a configuration file.
func (tr *trial) file(text string) string {
	tr.Helper()
	path := filepath.Join(tr.TempDir(), "server.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tr.Fatal(err)
	}
	return path
}

func noFile(tr *trial) {
	path := filepath.Join(tr.TempDir(), "missing.yaml")
	tr.wantUsageError(path, nil, "--config="+path)
}

func badEnvironment(tr *trial) {
	tr.wantUsageError("", []string{envPrefix + "MAX_RULES=many"})
	tr.wantUsageError("max-rules", []string{envPrefix + "MAX_RULES=-1"})
}

// designed are the flags of the design, with their defaults in the form of the file where it names
// them.
var designed = []struct{ flag, value string }{
	{"listen", "127.0.0.1:8080"}, {"admin-listen", ""}, {"kafka", ""}, {"topic", "chat"}, {"max-connections", ""},
	{"max-message-bytes", "65536"}, {"max-record-bytes", "262144"}, {"outbound-budget-bytes", "1048576"},
	{"max-connections-per-address", "0"}, {"max-messages-per-second", "0"}, {"max-head-bytes", "16384"}, {"socket-send-buffer", "65536"}, {"max-rules", "1000"}, {"max-rule-entries", "256"}, {"max-keywords", ""},
	{"handshake-timeout", ""}, {"idle-ping", ""}, {"drain", "10s"}, {"metrics-max-series", ""}, {"echo", "false"},
}

func help(tr *trial) {
	outcome := tr.Program.Exec(tr.TB, nil, "--help")
	if outcome.Code != 0 || outcome.Stderr != "" {
		tr.Errorf("--help exits %d, stderr:\n%s", outcome.Code, outcome.Stderr)
	}
	for _, f := range designed {
		if !strings.Contains(outcome.Stdout, "--"+f.flag) {
			tr.Errorf("--help does not mention --%s", f.flag)
		}
	}
	for _, flag := range []string{"--config", "--check-config"} {
		if !strings.Contains(outcome.Stdout, flag) {
			tr.Errorf("--help does not mention %s", flag)
		}
	}
}

// check prints the effective configuration, and gives its lines by key.
func (tr *trial) check(settings []string, flags ...string) (text string, values map[string]string) {
	tr.Helper()
	outcome := tr.Program.Exec(tr.TB, settings, append(flags, "--check-config")...)
	if outcome.Code != 0 {
		tr.Fatalf("--check-config exits %d; stderr:\n%s", outcome.Code, outcome.Stderr)
	}
	values = make(map[string]string)
	for line := range strings.Lines(outcome.Stdout) {
		if key, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "-") {
			values[key] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return outcome.Stdout, values
}

func yamlKey(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

func defaults(tr *trial) {
	text, values := tr.check(nil)
	for _, f := range designed {
		value, has := values[yamlKey(f.flag)]
		if !has {
			tr.Errorf("there is no %s in:\n%s", yamlKey(f.flag), text)
		}
		if f.value != "" && value != f.value {
			tr.Errorf("%s is %q by default, want %q", yamlKey(f.flag), value, f.value)
		}
	}
	for _, no := range []string{"config", "check_config", "help"} {
		if _, has := values[no]; has {
			tr.Errorf("%s is printed, which is no setting", no)
		}
	}
}

func roundTrip(tr *trial) {
	flags := []string{"--listen=127.0.0.1:7", "--kafka=a:1,b:2", "--topic=t", "--max-rules=3", "--drain=90s", "--idle-ping=1m30s", "--echo"}
	printed, _ := tr.check(nil, flags...)
	if again, _ := tr.check(nil, "--config="+tr.file(printed)); again != printed {
		tr.Errorf("printed was\n%s\nread again and printed again\n%s", printed, again)
	}
}

func checkWithoutPort(tr *trial) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tr.Fatal(err)
	}
	defer func() { _ = taken.Close() }() // nobody connected
	if _, values := tr.check(nil, "--listen="+taken.Addr().String()); values["listen"] != taken.Addr().String() {
		tr.Errorf("listen is %q, want %s", values["listen"], taken.Addr())
	}
}

// Three settings, of which the first is in one source, the second in two, and the third in all.
func precedence(tr *trial) {
	file := tr.file("max_rules: 11\nmax_rule_entries: 12\nmax_keywords: 13\n")
	environment := []string{envPrefix + "MAX_RULE_ENTRIES=22", envPrefix + "MAX_KEYWORDS=23"}
	_, values := tr.check(environment, "--config="+file, "--max-keywords=33")
	for key, want := range map[string]string{"max_rules": "11", "max_rule_entries": "22", "max_keywords": "33", "topic": "chat"} {
		if values[key] != want {
			tr.Errorf("%s is %q, want %s", key, values[key], want)
		}
	}
	if _, values := tr.check(append(environment, envPrefix+"CONFIG="+file)); values["max_rules"] != "11" {
		tr.Errorf("max_rules is %q with the file named in the environment, want 11", values["max_rules"])
	}
}

func sources(tr *trial) {
	_, fromFile := tr.check(nil, "--config="+tr.file("drain: 3s\nlisten: 127.0.0.1:3\necho: true\nmax_message_bytes: 3\n"))
	_, fromEnvironment := tr.check([]string{envPrefix + "DRAIN=3s", envPrefix + "LISTEN=127.0.0.1:3", envPrefix + "ECHO=true", envPrefix + "MAX_MESSAGE_BYTES=3"})
	_, fromFlags := tr.check(nil, "--drain=3s", "--listen=127.0.0.1:3", "--echo", "--max-message-bytes=3")
	for source, values := range map[string]map[string]string{"file": fromFile, "environment": fromEnvironment, "flags": fromFlags} {
		for key, want := range map[string]string{"drain": "3s", "listen": "127.0.0.1:3", "echo": "true", "max_message_bytes": "3"} {
			if values[key] != want {
				tr.Errorf("%s from %s is %q, want %s", key, source, values[key], want)
			}
		}
	}
}

func severalBrokers(tr *trial) {
	fromFlag, _ := tr.check(nil, "--kafka=a:1,b:2")
	fromEnvironment, _ := tr.check([]string{envPrefix + "KAFKA=a:1,b:2"})
	fromFile, _ := tr.check(nil, "--config="+tr.file("kafka:\n  - a:1\n  - b:2\n"))
	fromLine, _ := tr.check(nil, "--config="+tr.file("kafka: a:1,b:2\n"))
	if fromFlag != fromEnvironment || fromFlag != fromFile || fromFlag != fromLine {
		tr.Errorf("two brokers are\n%s\nfrom the flag,\n%s\nfrom the environment,\n%s\nfrom a list,\n%s\nfrom a line", fromFlag, fromEnvironment, fromFile, fromLine)
	}
	if !strings.Contains(fromFlag, "a:1") || !strings.Contains(fromFlag, "b:2") {
		tr.Errorf("two brokers are printed as\n%s", fromFlag)
	}
}

func configuredServer(tr *trial) {
	file := tr.file("max_rules: 1\necho: true\ngc_percent: 77\n")
	away := tr.on(tr.start("--config=" + file))
	s := away.session()
	s.listen(`{}`)
	s.refused("too_many_rules", "/listen", `{"rule":{}}`)
	echo := away.open("/echo")
	echo.write(text("x"))
	echo.wantFrame(opText, "x")
	if n := away.scrape().sum(metricPrefix + "server_gogc"); n != 77 {
		tr.Errorf("server_gogc is %v", n)
	}
}
