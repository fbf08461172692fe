package report

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../../results/run.schema.json"

// readSchema compiles the schema of run.json. Strict, an object may have no fields
// that the schema does not name: so it can't fall behind the types.
func readSchema(t *testing.T, strict bool) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if strict {
		closeObjects(document)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("run.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("run.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		if _, has := node["properties"]; has {
			node["additionalProperties"] = false
		}
		for value := range maps.Values(node) {
			closeObjects(value)
		}
	case []any:
		for _, value := range node {
			closeObjects(value)
		}
	}
}

func validate(t *testing.T, schema *jsonschema.Schema, text []byte) error {
	t.Helper()
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(instance)
}

func encode(t *testing.T, r *Run) []byte {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSchemaHoldsForRuns(t *testing.T) {
	small, err := os.ReadFile(filepath.Join("testdata", "run", FileName))
	if err != nil {
		t.Fatal(err)
	}
	broken := sampleRun()
	broken.Failures = []Failure{{Kind: KindInvalid, Variant: "reactor", Scenario: "push", Round: 1, Reason: "because"}}
	broken.Measurements = broken.Measurements[:3]
	broken.Interrupted = true
	broken.DeriveFigures()
	strict := readSchema(t, true)
	for name, text := range map[string][]byte{"a real run": small, "made up": encode(t, sampleRun()), "broken": encode(t, broken), "hostile": encode(t, hostileRun()), "climbs": encode(t, sampleClimbs()), "many rounds": encode(t, sampleOfRounds(6)), "calibrated": encode(t, calibratedRun()), "others": encode(t, sampleOfOthers())} {
		if err := validate(t, strict, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := readSchema(t, false)
	text := string(encode(t, sampleRun()))
	if err := validate(t, schema, []byte(strings.Replace(text, `"schema":1`, `"news":[],"schema":1`, 1))); err != nil {
		t.Errorf("a new field: %v", err)
	}
	for _, change := range [][2]string{
		{`"schema":1`, `"schema":2`},
		{`"interrupted":false`, `"interrupted":"no"`},
		{`"valid":true`, `"valid":1`},
		{`"rss_bytes":1e+07`, `"rss_bytes":"10 MB"`},
		{`"started":"2026-11-23T01:00:00Z"`, `"started":"yesterday"`},
		{`"base":"floor"`, `"bass":"floor"`},
	} {
		broken := strings.Replace(text, change[0], change[1], 1)
		if broken == text {
			broken = strings.Replace(text, strings.Replace(change[0], "1e+07", "10000000", 1), change[1], 1)
		}
		if broken == text {
			t.Fatalf("there is no %s", change[0])
		}
		if err := validate(t, schema, []byte(broken)); err == nil {
			t.Errorf("%s is accepted", change[1])
		}
	}
}
