package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "chatmonitor"

// Import paths that rules name.
const (
	gnetPath           = "github.com/panjf2000/gnet"
	gobwasPath         = "github.com/gobwas/ws"
	gorillaPath        = "github.com/gorilla/websocket"
	saramaPath         = "github.com/IBM/sarama"
	prometheusPath     = "github.com/prometheus"
	kongPath           = "github.com/alecthomas/kong"
	yamlPath           = "go.yaml.in/yaml"
	jsontextPath       = "github.com/go-json-experiment/json/jsontext"
	franzPath          = "github.com/twmb/franz-go/pkg"
	kgoPath            = franzPath + "/kgo"
	kadmPath           = franzPath + "/kadm"
	kerrPath           = franzPath + "/kerr" // the errors and requests of kgo: one client
	kmsgPath           = franzPath + "/kmsg"
	kfakePath          = franzPath + "/kfake"
	scramPath          = "github.com/xdg-go/scram"
	unixPath           = "golang.org/x/sys/unix"
	termPath           = "golang.org/x/term"
	xsyncPath          = "golang.org/x/sync"
	hdrPath            = "github.com/HdrHistogram/hdrhistogram-go"
	testcontainersPath = "github.com/testcontainers/testcontainers-go"
	mobyPath           = "github.com/moby/moby" // Docker's own client, which testcontainers brings
	perfPath           = "golang.org/x/perf"
)

// importRule says what the packages of a folder may import. An import path in a
// rule stands for itself and what is below it; ours are written without the
// module's name. The standard library, and what lies in the folder itself, may
// always be imported, unless mustNot says otherwise.
type importRule struct {
	folder string // "*" stands for one name
	below  bool   // the rule is for folders below it too
	may    []string
	reason string // why may ends where it does
	// mustNot holds for test files too, where may does not.
	mustNot []ban
}

type ban struct{ path, reason string }

var (
	noGnet       = ban{gnetPath, "the network layer under it is a variant's business"}
	noGorilla    = ban{gorillaPath, "the network layer under it is a variant's business"}
	noSarama     = ban{saramaPath, "Kafka reaches the application through server/feed alone"}
	noPrometheus = ban{prometheusPath, "metrics are counted in monitor.Stats and read by server/metrics"}
	noHTTP       = ban{"net/http", "HTTP is served by server/web, whatever the network layer"}
	noInternal   = ban{"server/internal", "the reactor is one variant; what is shared must not know it"}
	noMonitor    = ban{"server/monitor", "it looks at the server from outside, over a socket"}
	noFeed       = ban{"server/feed", "it looks at the server from outside, over a socket"}
	noLoadgen    = ban{"loadgen", "the harness runs binaries: what it measures is what users run"}
	noServer     = ban{"server", "the harness runs binaries: what it measures is what users run"}
)

// importRules are in the order of the design's table. The most specific one
// holds for a folder.
var importRules = []importRule{
	{folder: "server", may: []string{"server/app", "server/internal/reactor"},
		reason: "main hands the reactor to the application, and that is all"},
	{folder: "server/chat", may: []string{jsontextPath},
		reason: "the domain is pure: records, rules and messages, with a JSON decoder and nothing else",
		mustNot: []ban{
			{"net", "the domain has no sockets"}, {"os", "the domain has no files and no environment"},
			noGnet, noGorilla, noSarama, noPrometheus,
			{"server", "everything depends on the domain, so it depends on nothing"},
		}},
	{folder: "server/monitor", may: []string{"server/chat"},
		reason:  "the core takes messages and gives effects; it runs under every network layer",
		mustNot: []ban{noHTTP, noGnet, noGorilla, noSarama, noPrometheus}},
	{folder: "server/feed", may: []string{saramaPath, scramPath, "server/monitor", "server/chat"},
		reason:  "the feed is Kafka to hub and nothing else",
		mustNot: []ban{noGnet, noHTTP}},
	{folder: "server/metrics", may: []string{prometheusPath, "server/monitor", "server/chat"},
		reason:  "metrics read the core's statistics at scrape time",
		mustNot: []ban{noGnet, noGorilla, noSarama}},
	{folder: "server/web", may: []string{"server/monitor", "server/metrics"},
		reason:  "web is handlers of net/http; the Prometheus handler comes from server/metrics",
		mustNot: []ban{noGnet, noGorilla, noSarama}},
	{folder: "server/app",
		may:     []string{"server/chat", "server/monitor", "server/feed", "server/metrics", "server/web", kongPath, yamlPath},
		reason:  "app wires the shared parts and reads the configuration",
		mustNot: []ban{noGnet, noGorilla, noInternal}},
	{folder: "server/internal/reactor", below: true,
		may:     []string{gnetPath, gobwasPath, unixPath, "server/app", "server/monitor", "server/chat"},
		reason:  "the reactor is a network layer under app",
		mustNot: []ban{noGorilla, noSarama, noPrometheus}},
	{folder: "server/conformance", below: true, may: []string{gorillaPath, kgoPath, kadmPath, unixPath, "server/chat"},
		reason:  "the suite speaks to any variant over a real socket, with socket options where the peer is hostile",
		mustNot: []ban{noMonitor, noFeed, noInternal}},
	{folder: "variants/*", below: true,
		may: []string{gorillaPath, unixPath, "server/app", "server/chat", "server/monitor", "server/feed", "server/metrics",
			"server/web", "server/conformance"},
		reason: "a variant is another network layer under the same application",
		mustNot: []ban{noGnet, noInternal,
			{"variants", "variants are compared, so they share only what the server shares"}}},
	{folder: "variants/floor", below: true,
		may:     []string{unixPath, kongPath, "server/chat", "server/monitor", "server/feed", "server/web"},
		reason:  "the floor is raw epoll: it shares the feed, and has no network layer and no application",
		mustNot: []ban{noGnet, noInternal, {"server/app", "the floor is not the application"}, {"variants", "variants are compared, so they share only what the server shares"}}},
	{folder: "loadgen", below: true,
		may:     []string{"server/chat", jsontextPath, gorillaPath, kgoPath, kerrPath, kmsgPath, unixPath, hdrPath, kongPath, yamlPath, termPath, xsyncPath},
		reason:  "the load generator is a client: of the server it knows the messages",
		mustNot: []ban{noMonitor, noFeed, noInternal}},
	{folder: "harness", may: []string{"harness", kongPath, kgoPath, gorillaPath},
		reason:  "commands: a Kafka client for the demo's chat, a WebSocket client to watch",
		mustNot: []ban{noLoadgen, noServer}},
	{folder: "harness/*", below: true, may: []string{"harness", unixPath},
		reason:  "the harness measures from outside and needs the standard library",
		mustNot: []ban{noLoadgen, noServer}},
	{folder: "harness/report", may: []string{"harness", hdrPath},
		reason:  "reports follow from run.json alone, in which latencies are histograms",
		mustNot: []ban{noLoadgen, noServer}},
	{folder: "harness/stack", below: true,
		may:     []string{kfakePath, testcontainersPath, mobyPath, kgoPath, kadmPath, kerrPath},
		reason:  "only stack starts brokers, and asks them whether they serve",
		mustNot: []ban{noLoadgen, noServer}},
	{folder: "harness/verdict", below: true, may: []string{perfPath},
		reason:  "only verdict does statistics",
		mustNot: []ban{noLoadgen, noServer}},
}

func TestImportRules(t *testing.T) {
	tree := os.DirFS("..")
	if text, err := fs.ReadFile(tree, "go.mod"); err != nil || !strings.Contains(string(text), "module "+module+"\n") {
		t.Fatalf("this is not the root of module %s: %v", module, err)
	}
	violations, files, err := checkImports(tree)
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d Go files were found: the check looks in the wrong place", files)
	}
	for _, v := range violations {
		t.Error(v)
	}
}

// checkImports parses every Go file of the tree and returns what breaks a rule.
func checkImports(tree fs.FS) (violations []string, files int, err error) {
	unruled := map[string]bool{}
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipFolder(name)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		files++
		folder := path.Dir(name)
		rule := ruleFor(folder)
		if rule == nil {
			if !unruled[folder] {
				violations = append(violations, fmt.Sprintf("%s: no rule says what it may import: add one to importRules in harness/imports_test.go", folder))
			}
			unruled[folder] = true
			return nil
		}
		found, err := rule.check(tree, name)
		violations = append(violations, found...)
		return err
	})
	return violations, files, err
}

// skipFolder leaves out what the go command leaves out, and what is not source.
func skipFolder(name string) error {
	base := path.Base(name)
	hidden := name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_"))
	if hidden || base == "testdata" || name == "bin" || name == "results" {
		return fs.SkipDir
	}
	return nil
}

// ruleFor returns the most specific rule: the longest folder, a name before "*".
func ruleFor(folder string) *importRule {
	var best *importRule
	for i := range importRules {
		rule := &importRules[i]
		if _, holds := rule.own(folder); !holds {
			continue
		}
		if best == nil || specificity(rule.folder) > specificity(best.folder) {
			best = rule
		}
	}
	return best
}

func specificity(folder string) int {
	return 2*strings.Count(folder, "/") - strings.Count(folder, "*")
}

// own returns the folder that the rule's folder stands for here, such as
// variants/goroutine for variants/*, and whether the rule holds for folder.
func (r *importRule) own(folder string) (string, bool) {
	want, have := strings.Split(r.folder, "/"), strings.Split(folder, "/")
	if len(have) < len(want) || len(have) > len(want) && !r.below {
		return "", false
	}
	own := path.Join(have[:len(want)]...)
	matched, err := path.Match(r.folder, own)
	if err != nil {
		panic(err) // a pattern in importRules is wrong
	}
	return own, matched
}

func (r *importRule) check(tree fs.FS, name string) ([]string, error) {
	source, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	own, _ := r.own(path.Dir(name))
	var violations []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if reason := r.refuse(own, imported, strings.HasSuffix(name, "_test.go")); reason != "" {
			violations = append(violations, fmt.Sprintf("%s must not import %s: %s", name, imported, reason))
		}
	}
	return violations, nil
}

// refuse returns why a file in own must not import the path, "" if it may.
func (r *importRule) refuse(own, imported string, isTest bool) string {
	imported = strings.TrimPrefix(imported, module+"/")
	if imported == own || r.below && within(imported, own) {
		return ""
	}
	for _, b := range r.mustNot {
		if within(imported, b.path) && !slices.Contains(r.may, imported) {
			return b.reason
		}
	}
	allowed := slices.ContainsFunc(r.may, func(p string) bool { return within(imported, p) })
	if allowed || isTest || isStandard(imported) {
		return ""
	}
	return "it is not on the list: " + r.reason
}

func within(imported, top string) bool {
	return imported == top || strings.HasPrefix(imported, top+"/")
}

// isStandard tells the standard library: the first element of its paths has no
// dot, and is none of our folders.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	ours := []string{"server", "variants", "loadgen", "harness", module}
	return !strings.Contains(first, ".") && !slices.Contains(ours, first)
}

// TestImportRulesCanFail holds the rules against files that break them, and
// against neighbours that don't.
func TestImportRulesCanFail(t *testing.T) {
	tests := []struct {
		file, imported string
		want           string // in the violation; "" for none
	}{
		{"server/chat/a.go", "os", "no files"},
		{"server/chat/a.go", "net/netip", "no sockets"},
		{"server/chat/a.go", "chatmonitor/server/monitor", "depends on nothing"},
		{"server/chat/a.go", jsontextPath, ""},
		{"server/chat/a.go", "github.com/someone/else", "not on the list"},
		{"server/monitor/a.go", "net/http", "whatever the network layer"},
		{"server/monitor/a.go", "chatmonitor/server/chat", ""},
		{"server/monitor/a.go", "chatmonitor/server/feed", "not on the list"},
		{"server/monitor/a_test.go", gnetPath + "/v2", "variant's business"},
		{"server/monitor/a_test.go", kfakePath, ""},
		{"server/feed/a.go", saramaPath, ""},
		{"server/feed/a.go", kfakePath, "not on the list"},
		{"server/feed/a_test.go", kfakePath, ""},
		{"server/web/a.go", prometheusPath + "/client_golang/prometheus/promhttp", "comes from server/metrics"},
		{"server/app/a.go", "chatmonitor/server/internal/reactor", "one variant"},
		{"server/internal/reactor/a.go", gnetPath + "/v2/pkg/logging", ""},
		{"server/internal/reactor/a.go", gorillaPath, "variant's business"},
		{"server/conformance/a.go", "chatmonitor/server/monitor", "from outside"},
		{"server/conformance/a_test.go", "chatmonitor/server/feed", "from outside"},
		{"server/novel/a.go", "fmt", "add one to importRules"},
		{"server/internal/novel/a.go", "fmt", "add one to importRules"},
		{"tools/a.go", "fmt", "add one to importRules"},
		{"variants/goroutine/a.go", gorillaPath, ""},
		{"variants/goroutine/a.go", gnetPath + "/v2", "variant's business"},
		{"variants/goroutine/a.go", "chatmonitor/variants/floor", "share only"},
		{"variants/goroutine/a.go", "chatmonitor/variants/goroutine/queue", ""},
		{"variants/goroutine/a.go", "chatmonitor/server/internal/reactor", "one variant"},
		{"loadgen/client/a.go", "chatmonitor/server/monitor", "from outside"},
		{"loadgen/client/a.go", "chatmonitor/loadgen/pace", ""},
		{"harness/a.go", kgoPath, ""},
		{"harness/a.go", kfakePath, "not on the list"},
		{"harness/a.go", "chatmonitor/harness/stack", ""},
		{"harness/stack/a.go", kfakePath, ""},
		{"harness/stack/a.go", testcontainersPath + "/wait", ""},
		{"harness/stack/a.go", mobyPath + "/client", ""},
		{"harness/probe/a.go", mobyPath + "/client", "not on the list"},
		{"harness/stack/a.go", "chatmonitor/loadgen/pace", "runs binaries"},
		{"harness/report/a.go", perfPath + "/benchmath", "not on the list"},
		{"harness/verdict/a.go", perfPath + "/benchmath", ""},
		{"harness/probe/a_test.go", "chatmonitor/server/monitor", "runs binaries"},
		{"results/old/a.go", "chatmonitor/server", ""},
		{"harness/testdata/a.go", "chatmonitor/server", ""},
	}
	for _, test := range tests {
		t.Run(test.file+" "+test.imported, func(t *testing.T) {
			source := fmt.Sprintf("package a\n\nimport _ %q\n", test.imported)
			tree := fstest.MapFS{test.file: &fstest.MapFile{Data: []byte(source)}}
			violations, _, err := checkImports(tree)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(violations, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("violations %q, want one with %q", got, test.want)
			}
		})
	}
}

func TestEveryRuleSaysWhy(t *testing.T) {
	seen := map[string]bool{}
	for _, rule := range importRules {
		if seen[rule.folder] {
			t.Errorf("there are two rules for %s", rule.folder)
		}
		seen[rule.folder] = true
		if rule.reason == "" {
			t.Errorf("the rule for %s has no reason", rule.folder)
		}
		for _, b := range rule.mustNot {
			if b.path == "" || b.reason == "" {
				t.Errorf("the rule for %s bans %q because %q", rule.folder, b.path, b.reason)
			}
		}
	}
}
